"""The command `docker` of a host: names of services become those of ECS's containers, all else goes through as it was typed."""

from __future__ import annotations

import json
import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SCRIPT = ROOT / "roles/ecs-agent/files/docker"

# Stands for Docker's own command: it knows some containers, says what it was called with, and ends as it is told.
FAKE = """#!/bin/sh
case "$*" in
  "ps --all --filter label=com.amazonaws.ecs.container-name=web "*)
    cat; printf 'ecs-web-2-web-b Up 3 minutes (healthy)\\necs-web-1-web-a Exited (1) 4 minutes ago\\n'; exit ;;
  "ps --all --filter label=com.amazonaws.ecs.container-name=gone "*)
    printf 'ecs-gone-2-gone-b Exited (137) 1 minute ago\\necs-gone-1-gone-a Exited (0) 4 minutes ago\\n'; exit ;;
  "ps --all --filter label=com.amazonaws.ecs.container-name=twice "*)
    printf 'new Created\\nsecond Up 1 second\\nfirst Up 2 hours\\n'; exit ;;
  "ps --all --filter label=com.amazonaws.ecs.container-name=db "*) printf 'ecs-db-1-db-a Up 2 hours\\n'; exit ;;
  "ps --all "*) exit ;;
  "container inspect db") echo '[]'; exit ;;
  "container inspect web" | "container inspect gone" | "container inspect twice") exit 1 ;;
esac
for argument in "$@"; do printf '%s\\0' "$argument"; done >> @CALLS@
[ "${SHOW-}" = tty ] && tty
[ "${SHOW-}" = stdin ] && cat
exit "${CODE-0}"
"""


@pytest.fixture
def docker(tmp_path: Path) -> Path:
    """The script as it is installed, before the stand-in."""
    fake, script = tmp_path / "real", tmp_path / "docker"
    fake.write_text(FAKE.replace("@CALLS@", str(tmp_path / "calls")))
    assert SCRIPT.read_text().count("/usr/bin/docker") == 1
    script.write_text(SCRIPT.read_text().replace("/usr/bin/docker", str(fake)))
    for path in (fake, script):
        path.chmod(0o755)
    return script


def run(docker: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [docker, *arguments],
        env={"PATH": os.environ["PATH"]} | environment,
        input="typed\n",
        capture_output=True,
        text=True,
        timeout=30,
    )


def called(docker: Path, *arguments: str) -> list[str]:
    """What Docker was called with in the end."""
    assert run(docker, *arguments).returncode == 0
    calls = docker.parent / "calls"
    return calls.read_text().split("\0")[:-1]


WEB = "ecs-web-2-web-b"


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        (["exec", "-it", "web", "sh", "-c", "echo web"], ["exec", "-it", WEB, "sh", "-c", "echo web"]),
        (["exec", "--user", "web", "-w", "web", "-e", "A=web", "web", "ls", "web"],
         ["exec", "--user", "web", "-w", "web", "-e", "A=web", WEB, "ls", "web"]),
        (["exec", "-itu", "web", "web", "id"], ["exec", "-itu", "web", WEB, "id"]),
        (["exec", "-uweb", "--env=web", "web", "id"], ["exec", "-uweb", "--env=web", WEB, "id"]),
        (["container", "exec", "web", "id"], ["container", "exec", WEB, "id"]),
        (["logs", "-f", "--tail", "web", "web"], ["logs", "-f", "--tail", "web", WEB]),
        (["logs", "-n", "5", "gone"], ["logs", "-n", "5", "ecs-gone-2-gone-b"]),
        (["inspect", "-f", "web", "web", "db"], ["inspect", "-f", "web", WEB, "db"]),
        (["inspect", "-s", "--format={{.Id}}", "web"], ["inspect", "-s", "--format={{.Id}}", WEB]),
        (["inspect", "--type", "image", "web"], ["inspect", "--type", "image", "web"]),
        (["inspect", "--type=volume", "web"], ["inspect", "--type=volume", "web"]),
        (["inspect", "--type", "container", "web"], ["inspect", "--type", "container", WEB]),
        (["inspect", "--type=container", "-f", "web", "web"], ["inspect", "--type=container", "-f", "web", WEB]),
        (["top", "web", "-o", "web"], ["top", WEB, "-o", "web"]),
        (["stop", "-t", "3", "web", "other", "gone"], ["stop", "-t", "3", WEB, "other", "ecs-gone-2-gone-b"]),
        (["restart", "--time", "3", "web"], ["restart", "--time", "3", WEB]),
        (["kill", "-s", "HUP", "web"], ["kill", "-s", "HUP", WEB]),
        (["stats", "--no-stream", "web"], ["stats", "--no-stream", WEB]),
        (["port", "web", "80"], ["port", WEB, "80"]),
        (["cp", "web:/etc/hosts", "web"], ["cp", f"{WEB}:/etc/hosts", "web"]),
        (["cp", "./web:a", "web:/a b"], ["cp", "./web:a", f"{WEB}:/a b"]),
        (["exec", "db", "psql"], ["exec", "db", "psql"]),
        (["exec", "0123456789ab", "ls"], ["exec", "0123456789ab", "ls"]),
        (["exec", "--", "web", "ls"], ["exec", "--", WEB, "ls"]),
    ],
    ids=lambda arguments: " ".join(arguments),
)  # fmt: skip
def test_a_service_is_found_by_its_name(docker: Path, typed: list[str], meant: list[str]) -> None:
    assert called(docker, *typed) == meant


@pytest.mark.parametrize(
    "typed",
    [
        [],
        ["ps", "--filter", "name=web"],
        ["run", "--rm", "-it", "web", "sh", "-c", "a 'b'  \"c\" $d \\ *\n"],
        ["rm", "--force", "web"],
        ["image", "inspect", "web"],
        ["container", "ls"],
        ["--host", "unix:///x", "exec", "web", "ls"],
        ["exec", "", " ", "a  b"],
        ["logs", "--since", "web"],
    ],
    ids=lambda arguments: " ".join(arguments) or "nothing",
)
def test_all_else_goes_through_as_it_was_typed(docker: Path, typed: list[str]) -> None:
    run(docker, *typed)
    calls = docker.parent / "calls"
    assert (calls.read_text().split("\0")[:-1] if calls.exists() else []) == typed


def test_of_several_the_newest_that_runs_is_meant_and_it_is_said(docker: Path) -> None:
    done = run(docker, "exec", "twice", "ls")
    assert "several containers of ECS are called twice" in done.stderr and "second" in done.stderr
    assert done.stdout == ""
    assert called(docker, "exec", "twice", "ls")[:3] == ["exec", "second", "ls"]
    assert run(docker, "exec", "web", "ls").stderr == "", "one that has ended is no second one"


def test_exit_code_and_input_are_dockers(docker: Path) -> None:
    for typed in (["exec", "-i", "web", "cat"], ["run", "-i", "x"]):
        done = run(docker, *typed, SHOW="stdin", CODE="42")
        assert (done.returncode, done.stdout) == (42, "typed\n")


def test_a_terminal_is_handed_on(docker: Path) -> None:
    program = f"import os; os.execve({str(docker)!r}, ['docker', 'exec', '-it', 'web', 'sh'], {json.dumps({'SHOW': 'tty'})})"
    ours, theirs = pty.openpty()
    done = subprocess.run(
        [sys.executable, "-c", program], stdin=theirs, capture_output=True, text=True, timeout=30
    )
    os.close(ours)
    os.close(theirs)
    assert done.stdout.startswith("/dev/pts/")
