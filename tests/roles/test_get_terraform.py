"""tools/machine brings Terraform where it is missing or too old: the pinned one, whole, or nothing."""

from __future__ import annotations

import hashlib
import io
import os
import re
import subprocess
import zipfile
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest

import get_terraform

ROOT = Path(__file__).parents[2]
PROGRAM = b"#!/bin/sh\necho Terraform v1.11.4\n"


def archive(content: bytes = PROGRAM) -> bytes:
    """Return a release as it is published: one program in a zip."""
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as file:
        file.writestr("terraform", content)
    return packed.getvalue()


@pytest.fixture
def releases(tmp_path: Path) -> Iterator[str]:
    """A server of releases on the loopback, whose archives are not the pinned ones."""
    folder = tmp_path / "releases" / get_terraform.VERSION
    folder.mkdir(parents=True)
    for name in get_terraform.SHA256:
        (folder / f"terraform_{get_terraform.VERSION}_{name}.zip").write_bytes(archive())
    handler = partial(SimpleHTTPRequestHandler, directory=str(folder.parent))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def run_step(tmp_path: Path, releases: str, own: str = "") -> subprocess.CompletedProcess[str]:
    """Run the step `terraform` of tools/machine on a machine whose own Terraform prints `own`; "" is none."""
    tools = tmp_path / "tools"
    tools.mkdir()
    for name in ("bash", "sh", "sed", "sort", "head", "find", "mkdir", "dirname"):
        (tools / name).symlink_to(f"/usr/bin/{name}")
    if own:
        (tools / "terraform").write_text(f"#!/bin/sh\necho '{own}'\n")
        (tools / "terraform").chmod(0o755)
    script = f"source {ROOT}/tools/machine; cache={tmp_path}/cache; terraform"
    environment = {
        "PATH": f"{tmp_path}/cache/bin:{tools}",
        "HOME": str(tmp_path),
        "RETAILFLOW_ENVIRONMENT": str(ROOT.resolve()),
        "TERRAFORM_RELEASES": releases,
        "NO_PROXY": "127.0.0.1",
    }
    return subprocess.run(["bash", "-c", script], env=environment, capture_output=True, text=True, timeout=60)


def test_the_pinned_archive_becomes_a_program(releases: str, tmp_path: Path) -> None:
    pinned = {"linux_amd64": hashlib.sha256(archive()).hexdigest()}
    program = get_terraform.bring(tmp_path / "bin", releases + "/", "linux_amd64", pinned)
    assert program == tmp_path / "bin/terraform" and program.read_bytes() == PROGRAM
    assert os.access(program, os.X_OK)
    assert list(program.parent.iterdir()) == [program], "nothing else is left behind"


@pytest.mark.parametrize("own", ["", "Terraform v1.9.8", "OpenTofu v1.10.0"])
def test_another_archive_is_thrown_away(own: str, releases: str, tmp_path: Path) -> None:
    done = run_step(tmp_path, releases, own)
    assert done.returncode == 1
    assert re.search(r"is not the pinned archive \(SHA-256 [0-9a-f]{64} instead of", done.stderr), done.stderr
    assert "Nothing was changed: install Terraform 1.10 or newer yourself" in done.stderr
    assert list((tmp_path / "cache/bin").iterdir()) == []


@pytest.mark.parametrize(
    "own", ["Terraform v1.10.0", "Terraform v1.11.4\\non linux_amd64", "Terraform v2.0.0-beta1"]
)
def test_one_that_fits_is_used(own: str, tmp_path: Path) -> None:
    done = run_step(tmp_path, "http://127.0.0.1:1", own)
    assert done.returncode == 0, done.stderr
    assert not (tmp_path / "cache").exists()


@pytest.mark.parametrize(
    ("address", "reason"),
    [
        ("http://127.0.0.1:1", "Connection refused"),
        ("{releases}/elsewhere", "File not found"),
        ("nonsense", "unknown url type"),
    ],
)
def test_where_it_cannot_be_had_one_sentence_says_so(
    address: str, reason: str, releases: str, tmp_path: Path
) -> None:
    done = run_step(tmp_path, address.format(releases=releases))
    assert done.returncode == 1 and "Traceback" not in done.stderr
    assert "error: Terraform is missing, and" in done.stderr and reason in done.stderr
    assert "TERRAFORM_RELEASES" in done.stderr


def test_a_processor_without_an_archive_is_named(tmp_path: Path) -> None:
    with pytest.raises(get_terraform.CannotBeHadError, match="no archive for linux_riscv64 is pinned"):
        get_terraform.bring(tmp_path, "http://127.0.0.1:1", "linux_riscv64", get_terraform.SHA256)


def test_a_broken_archive_leaves_the_program_that_was_there(releases: str, tmp_path: Path) -> None:
    (tmp_path / "terraform").write_text("the one before")
    with pytest.raises(get_terraform.CannotBeHadError, match="thrown away"):
        get_terraform.bring(tmp_path, releases, "linux_arm64", get_terraform.SHA256)
    assert (tmp_path / "terraform").read_text() == "the one before"


def test_the_oldest_version_is_the_one_of_the_code() -> None:
    required = re.search(r'required_version = ">= ([0-9.]+)"', (ROOT / "terraform/versions.tf").read_text())
    assert required and f"terraform_oldest={required[1]} " in (ROOT / "tools/machine").read_text()
