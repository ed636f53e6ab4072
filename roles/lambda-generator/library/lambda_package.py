"""Ansible module: build the zip of a Python Lambda function, reproducibly."""

from __future__ import annotations

DOCUMENTATION = r"""
module: lambda_package
short_description: Build the zip of a Python Lambda function, reproducibly
description:
  - Puts pinned and hashed wheels for the Lambda platform and the function's own packages into one zip.
  - Equal inputs give an equal zip; the digest of the inputs is kept in the zip's comment, so that a second run
    builds nothing.
  - Byte code is compiled ahead, because the function's folder is read-only and a cold start would compile again.
options:
  dest: {description: The zip file., type: path, required: true}
  source: {description: Folder of the function's own packages., type: path, required: true}
  requirements: {description: Requirements file with a hash for every pin., type: path, required: true}
  python_version: {description: Python of the Lambda runtime., type: str, required: true}
  platform: {description: Platform of the wheels in uv's words., type: str, default: x86_64-manylinux2014}
  strip: {description: Patterns of paths inside the zip that the function does not need., type: list, elements: str}
  uv: {description: The uv program., type: path, required: true}
  cache_dir: {description: uv's cache., type: path, required: true}
  max_mb: {description: Largest size of the zip in MB (AWS takes 50 in one request)., type: int, default: 40}
author: [RetailFlow]
"""

EXAMPLES = r"""
- name: Build the zip
  lambda_package:
    dest: build/generator.zip
    source: lambda/src
    requirements: lambda/requirements.txt
    python_version: "3.11"
    uv: .venv/bin/uv
    cache_dir: .cache/uv
"""

RETURN = r"""
dest: {description: The zip file., type: str, returned: always}
digest: {description: SHA-256 of the inputs., type: str, returned: always}
size: {description: Bytes of the zip., type: int, returned: when it exists}
"""

import compileall
import fnmatch
import hashlib
import os
import py_compile
import shutil
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path
from typing import Any

from ansible.module_utils.basic import AnsibleModule

FORMAT = "2"  # raise it when the way of building changes
ALWAYS_STRIPPED = ["bin/*", ".lock", "*/__pycache__/*", "*.pyi", "*.a", "*.h", "*.pxd"]
ALWAYS_STRIPPED += ["*.dist-info/RECORD", "*.dist-info/INSTALLER", "*.dist-info/REQUESTED"]


def own_files(source: Path) -> list[Path]:
    """The function's own files, sorted, without what Python leaves behind."""
    found = (p for p in source.rglob("*") if p.is_file() and p.suffix != ".pyc")
    return sorted(p for p in found if not any(part.endswith(".egg-info") for part in p.parts))


def digest_of(params: dict[str, Any]) -> str:
    """SHA-256 over everything that decides what is in the zip."""
    digest = hashlib.sha256()

    def add(*values: object) -> None:
        for value in values:
            data = value if isinstance(value, bytes) else str(value).encode()
            digest.update(len(data).to_bytes(8) + data)

    add(FORMAT, params["python_version"], params["platform"], *(params["strip"] or []))
    add(Path(params["requirements"]).read_bytes())
    source = Path(params["source"])
    for file in own_files(source):
        add(file.relative_to(source), file.read_bytes())
    return digest.hexdigest()


def digest_in(dest: Path) -> str:
    """The digest kept in the zip's comment; empty when there is no such zip."""
    try:
        with zipfile.ZipFile(dest) as archive:
            return archive.comment.decode()
    except (OSError, UnicodeDecodeError, zipfile.BadZipFile):
        return ""


def strip_tree(root: Path, patterns: list[str]) -> None:
    """Remove the files under ``root`` whose relative path matches a pattern."""
    for file in sorted(root.rglob("*")):
        if file.is_file() and any(fnmatch.fnmatch(str(file.relative_to(root)), p) for p in patterns):
            file.unlink()


def write_zip(root: Path, dest: Path, comment: str) -> None:
    """Zip ``root``: sorted, without times, everything readable by every user."""
    with zipfile.ZipFile(dest, "w", zipfile.ZIP_DEFLATED, compresslevel=6) as archive:
        archive.comment = comment.encode()
        for file in sorted(p for p in root.rglob("*") if p.is_file()):
            entry = zipfile.ZipInfo(str(file.relative_to(root)), (1980, 1, 1, 0, 0, 0))
            entry.external_attr = 0o100644 << 16
            entry.compress_type = zipfile.ZIP_DEFLATED
            archive.writestr(entry, file.read_bytes(), compresslevel=6)


def build(params: dict[str, Any], comment: str) -> int:
    """Build the zip next to its place and move it there whole; returns its size in bytes."""
    dest, source = Path(params["dest"]), Path(params["source"])
    dest.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=dest.parent, prefix=".build-") as scratch:
        root = Path(scratch, "root")
        command = [
            params["uv"],
            "pip",
            "install",
            "--quiet",
            "--target",
            str(root),
            "--no-deps",
            "--require-hashes",
        ]
        command += ["--python", sys.executable, "--python-version", params["python_version"]]
        command += ["--python-platform", params["platform"], "--only-binary", ":all:"]
        command += ["--requirements", params["requirements"]]
        env = os.environ | {"UV_CACHE_DIR": params["cache_dir"]}
        subprocess.run(command, check=True, env=env, capture_output=True, text=True)
        for file in own_files(source):
            target = root / file.relative_to(source)
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(file, target)
        strip_tree(root, ALWAYS_STRIPPED + (params["strip"] or []))
        if params["python_version"] == f"{sys.version_info.major}.{sys.version_info.minor}":
            compileall.compile_dir(
                root,
                quiet=2,
                stripdir=str(root),
                prependdir="/var/task",
                invalidation_mode=py_compile.PycInvalidationMode.UNCHECKED_HASH,
            )
        finished = Path(scratch, "finished.zip")
        write_zip(root, finished, comment)
        size = finished.stat().st_size
        if size > params["max_mb"] * 1_000_000:
            raise ValueError(
                f"the zip is {size / 1e6:.1f} MB, more than {params['max_mb']} MB: strip more or drop a package"
            )
        finished.replace(dest)
    return size


def main() -> None:
    """Run as an Ansible module."""
    module = AnsibleModule(
        argument_spec={
            "dest": {"type": "path", "required": True},
            "source": {"type": "path", "required": True},
            "requirements": {"type": "path", "required": True},
            "python_version": {"type": "str", "required": True},
            "platform": {"type": "str", "default": "x86_64-manylinux2014"},
            "strip": {"type": "list", "elements": "str"},
            "uv": {"type": "path", "required": True},
            "cache_dir": {"type": "path", "required": True},
            "max_mb": {"type": "int", "default": 40},
        },
        supports_check_mode=True,
    )
    params = module.params
    try:
        digest = digest_of(params)
        changed = digest_in(Path(params["dest"])) != digest
        result: dict[str, Any] = {"changed": changed, "dest": params["dest"], "digest": digest}
        if changed and not module.check_mode:
            build(params, digest)
        if Path(params["dest"]).exists():
            result["size"] = Path(params["dest"]).stat().st_size
        module.exit_json(**result)
    except subprocess.CalledProcessError as error:
        module.fail_json(msg=f"uv could not install {params['requirements']}: {error.stderr.strip()}")
    except (OSError, ValueError) as error:
        module.fail_json(msg=f"cannot build {params['dest']}: {error}")


if __name__ == "__main__":
    main()
