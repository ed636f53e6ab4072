"""Bring the pinned Terraform into a folder: `python tools/get_terraform.py FOLDER RELEASES`.

RELEASES is the address of a folder that is laid out as HashiCorp publishes its releases:
`<version>/terraform_<version>_<platform>.zip`. An archive that is not the pinned one, byte for byte, is thrown away. Exits
with 1 and one sentence where Terraform cannot be had.
"""

from __future__ import annotations

import hashlib
import platform
import shutil
import sys
import tempfile
import urllib.error
import urllib.request
import zipfile
from pathlib import Path

VERSION = "1.11.4"
# The sums of terraform_1.11.4_SHA256SUMS, which HashiCorp publishes beside the archives.
SHA256 = {
    "linux_amd64": "1ce994251c00281d6845f0f268637ba50c0005657eb3cf096b92f753b42ef4dc",
    "linux_arm64": "a43d1d0da9b9bab214a8305a39db0e40869572594ccf50c416a7756499143633",
    "darwin_amd64": "a56d5002b9f7647291faccc3dd1a70350e60fb61e4c45037629508b8fdc2575b",
    "darwin_arm64": "867e0808fa971217043e25b7a792b10720c79b1546f8a68479b74f138be73e18",
}
MACHINES = {"x86_64": "amd64", "aarch64": "arm64"}
ADVICE = (
    "install Terraform 1.10 or newer yourself (https://developer.hashicorp.com/terraform/install), "
    "or name a mirror of the releases in TERRAFORM_RELEASES, and run make again"
)


class CannotBeHadError(Exception):
    """Why there is no Terraform afterwards, as a sentence."""


def this_platform() -> str:
    """Return the system and the processor as the archives are named, such as `linux_amd64`."""
    machine = platform.machine().lower()
    return f"{platform.system().lower()}_{MACHINES.get(machine, machine)}"


def bring(folder: Path, releases: str, platform_name: str, sha256: dict[str, str]) -> Path:
    """Download, compare, unpack; return the program. What was there before stays until the new one is whole."""
    if platform_name not in sha256:
        raise CannotBeHadError(f"Terraform is missing, and no archive for {platform_name} is pinned here")
    address = f"{releases.rstrip('/')}/{VERSION}/terraform_{VERSION}_{platform_name}.zip"
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder) as temporary:
        archive = Path(temporary, "terraform.zip")
        try:
            with urllib.request.urlopen(address, timeout=30) as answer, archive.open("wb") as file:
                shutil.copyfileobj(answer, file)
        except (OSError, urllib.error.URLError, ValueError) as error:
            reason = getattr(error, "reason", error)
            raise CannotBeHadError(
                f"Terraform is missing, and {address} could not be downloaded ({reason})"
            ) from error
        found = hashlib.sha256(archive.read_bytes()).hexdigest()
        if found != sha256[platform_name]:
            raise CannotBeHadError(
                f"Terraform is missing, and what {address} holds is not the pinned archive "
                f"(SHA-256 {found} instead of {sha256[platform_name]}); it was thrown away"
            )
        with zipfile.ZipFile(archive) as content:
            program = Path(content.extract("terraform", temporary))
        program.chmod(0o755)
        return program.rename(folder / "terraform")


def main() -> None:
    """Print what is brought, or why it cannot be."""
    folder, releases = sys.argv[1:]
    print(f"==> Downloading Terraform {VERSION} from {releases} into {folder} (about 27 MB)", flush=True)
    try:
        bring(Path(folder), releases, this_platform(), SHA256)
    except CannotBeHadError as reason:
        sys.exit(f"error: {reason}. Nothing was changed: {ADVICE}")


if __name__ == "__main__":
    main()
