"""What a lost control node needs, in a bucket: Terraform's state, and a bundle of files."""

from __future__ import annotations

import base64
import json
import os
from pathlib import Path
from typing import Any, NamedTuple

try:
    from cryptography.exceptions import InvalidTag
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM
    from cryptography.hazmat.primitives.kdf.scrypt import Scrypt
except ImportError:
    InvalidTag = Exception

from ansible.module_utils.retailflow_bucket import found

MAGIC = b"RETAILFLOW-BUNDLE-1\n"
SALT_BYTES, NONCE_BYTES = 16, 12


class RecoveryError(Exception):
    """Nothing was changed; the message says why and what to do."""


class State:
    """Terraform's state as an object: https://developer.hashicorp.com/terraform/language/backend/s3"""

    def __init__(self, s3: Any, bucket: str, key: str) -> None:
        self.s3, self.bucket, self.key = s3, bucket, key

    def read(self) -> dict[str, Any] | None:
        """Return the state; None where there is none."""
        answer = found(self.s3.get_object, Bucket=self.bucket, Key=self.key)
        state: dict[str, Any] | None = json.loads(answer["Body"].read()) if answer else None
        return state

    def outputs(self) -> dict[str, Any]:
        """Return the outputs, as `terraform output` has them."""
        return {name: one["value"] for name, one in ((self.read() or {}).get("outputs") or {}).items()}

    def take_over(self, file: Path, check_mode: bool = False) -> bool:
        """Move a state from a file into the bucket, unless it is there; RecoveryError where another one is.

        The file stays under another name. A state has a lineage for its life and a serial that grows with each change.
        """
        if not file.is_file():
            return False
        text = file.read_bytes()
        mine, theirs = json.loads(text), self.read()
        if found(self.s3.head_object, Bucket=self.bucket, Key=f"{self.key}.tflock"):
            raise RecoveryError(
                f"a run of Terraform holds {self.key}.tflock in the bucket {self.bucket}: wait for its end"
            )
        if theirs and theirs["lineage"] != mine["lineage"] and theirs.get("resources"):
            raise RecoveryError(
                f"the bucket {self.bucket} has the state of another site under {self.key} (lineage {theirs['lineage']}, not "
                f"{mine['lineage']}): choose another retailflow_state_bucket, or move that object away"
            )
        newer = theirs and theirs["lineage"] == mine["lineage"] and theirs["serial"] >= mine["serial"]
        if not check_mode:
            if not newer:
                self.s3.put_object(
                    Bucket=self.bucket, Key=self.key, Body=text, ContentType="application/json"
                )
            file.rename(file.with_suffix(file.suffix + ".moved"))
        return True


def seal(content: bytes, passphrase: str) -> bytes:
    """Encrypt by a passphrase: scrypt (RFC 7914) makes the key, AES-256-GCM keeps secret and proves."""
    salt, nonce = os.urandom(SALT_BYTES), os.urandom(NONCE_BYTES)
    return MAGIC + salt + nonce + AESGCM(_key(passphrase, salt)).encrypt(nonce, content, MAGIC)


def unseal(sealed: bytes, passphrase: str) -> bytes:
    """Return what was sealed; RecoveryError for another passphrase or changed bytes."""
    salt, nonce = sealed[len(MAGIC) :][:SALT_BYTES], sealed[len(MAGIC) + SALT_BYTES :][:NONCE_BYTES]
    try:
        return AESGCM(_key(passphrase, salt)).decrypt(
            nonce, sealed[len(MAGIC) + SALT_BYTES + NONCE_BYTES :], MAGIC
        )
    except InvalidTag as error:
        raise RecoveryError(
            "the passphrase is not the one that the bundle was made with, or its bytes were changed"
        ) from error


def _key(passphrase: str, salt: bytes) -> bytes:
    return Scrypt(salt=salt, length=32, n=2**15, r=8, p=1).derive(passphrase.encode())


class File(NamedTuple):
    """A file of the bundle, with the bits of its mode."""

    content: bytes
    mode: int

    @classmethod
    def read(cls, kept: dict[str, str] | str) -> File:
        """Return one of a bundle; earlier ones hold the content alone."""
        if isinstance(kept, str):
            return cls(base64.b64decode(kept), 0o600)
        return cls(base64.b64decode(kept["content"]), int(kept["mode"], 8))


class Bundle:
    """Files by their path below a root, in one object; encrypted where there is a passphrase."""

    def __init__(self, s3: Any, bucket: str, key: str, root: Path, passphrase: str = "") -> None:
        self.s3, self.bucket, self.key, self.root, self.passphrase = s3, bucket, key, root, passphrase

    def kept(self) -> dict[str, File] | None:
        """Return the files of the bundle; None where there is none."""
        answer = found(self.s3.get_object, Bucket=self.bucket, Key=self.key)
        if answer is None:
            return None
        body = answer["Body"].read()
        if body.startswith(MAGIC):
            if not self.passphrase:
                raise RecoveryError(f"the bundle {self.key} is encrypted: give its passphrase")
            body = unseal(body, self.passphrase)
        return {name: File.read(one) for name, one in json.loads(body).items()}

    def here(self, patterns: list[str]) -> dict[str, File]:
        """Return the files of this control node that match, hidden ones aside."""
        files = {path for pattern in patterns for path in self.root.glob(pattern)}
        return {
            str(path.relative_to(self.root)): File(path.read_bytes(), path.stat().st_mode & 0o777)
            for path in sorted(files)
            if path.is_file() and not path.name.startswith(".")
        }

    def store(self, patterns: list[str], check_mode: bool = False) -> bool:
        """Store the files, unless the bundle has them; old versions stay in the bucket."""
        here = self.here(patterns)
        try:
            same = self.kept() == here
        except RecoveryError:
            same = False  # another passphrase from now on
        if same or not here:
            return False
        if not check_mode:
            content = json.dumps(
                {
                    name: {"mode": f"{one.mode:o}", "content": base64.b64encode(one.content).decode()}
                    for name, one in here.items()
                }
            ).encode()
            body = seal(content, self.passphrase) if self.passphrase else content
            self.s3.put_object(Bucket=self.bucket, Key=self.key, Body=body)
        return True

    def fetch(self, check_mode: bool = False) -> list[str]:
        """Write the files that are missing; RecoveryError, and nothing is written, where one differs or none was kept."""
        kept = self.kept()
        if kept is None:
            raise RecoveryError(
                f"the bucket {self.bucket} has no {self.key}: no site of this name was kept there"
            )
        outside = [name for name in kept if Path(name).is_absolute() or ".." in Path(name).parts]
        if outside:
            raise RecoveryError(f"the bundle names files outside of the project: {', '.join(outside)}")
        differing = [
            name
            for name, one in kept.items()
            if (self.root / name).exists() and (self.root / name).read_bytes() != one.content
        ]
        if differing:
            raise RecoveryError(f"{', '.join(differing)} differ from what was kept: move them away first")
        missing = [name for name in kept if not (self.root / name).exists()]
        for name in missing if not check_mode else []:
            path = self.root / name
            for folder in reversed(path.relative_to(self.root).parents[:-1]):
                (self.root / folder).mkdir(mode=0o700, exist_ok=True)
            with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
                file.write(kept[name].content)
            path.chmod(kept[name].mode)
        return missing
