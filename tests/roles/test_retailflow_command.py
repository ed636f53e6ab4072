"""./retailflow and the dev container: make in a control node next to the Docker engine, against a stand-in of docker."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from itertools import pairwise
from pathlib import Path

import pytest
import yaml

import clone as clones

ROOT = Path(__file__).parents[2]
# Writes down every call, one argument a line; images that were built are there.
DOCKER = """
printf '%s\\n' "$@" '' >> "$CLONE/calls"
case $1 in
  info) [ -z "${FAULT:-}" ] || { echo "$FAULT" >&2; exit 1; }; echo "${SYSTEM:-Debian GNU/Linux 13 (trixie)}" ;;
  image) [ "$2" = rm ] || grep -qxF "$3" "$CLONE/built" 2> /dev/null ;;
  build)
    tar -tf - > "$CLONE/context"
    while [ "$1" != --tag ]; do shift; done
    echo "$2" >> "$CLONE/built" ;;
  run)
    case "$*" in
      *http.server*) echo probe ;;
      *create_connection*) exit "${PROBE:-0}" ;;
      *' make '*) exit "${STATUS:-0}" ;;
    esac ;;
esac
"""


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """A clone in a path with spaces, whose folder bin comes first on the PATH."""
    root = tmp_path / "my shop" / "a clone"
    for part in ("images/control", "tools"):
        shutil.copytree(ROOT / part, root / part, ignore=shutil.ignore_patterns("__pycache__"))
    (root / "images/base").mkdir()
    shutil.copy(ROOT / "images/base/apt-packages", root / "images/base")
    shutil.copy(ROOT / "retailflow", root)
    clones.program(root / "bin/docker", DOCKER)
    return root


def retailflow(
    clone: Path, *arguments: str, shell: str = "sh", **environment: str
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [shell, str(clone / "retailflow"), *arguments],
        cwd="/",
        env={"PATH": f"{clone}/bin:/usr/bin:/bin", "CLONE": str(clone), "HOME": str(clone), **environment},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
    )


def calls(clone: Path, command: str) -> list[list[str]]:
    """Return the arguments of every call of a command of docker."""
    every = (clone / "calls").read_text().split("\n\n")
    return [one.strip("\n").split("\n") for one in every if one.strip("\n").split("\n")[0] == command]


def options(call: list[str], name: str) -> list[str]:
    return [value for key, value in pairwise(call) if key == name]


@pytest.mark.parametrize("shell", ["sh", "bash"])
def test_it_runs_make_in_the_clone_as_the_person(clone: Path, shell: str) -> None:
    typed = ["ssh-ec2-postgres", "TARGET=local", "COMMAND=psql -c 'select 1; $HOME'"]
    done = retailflow(clone, *typed, shell=shell)
    assert done.returncode == 0, done.stderr
    (call,) = calls(clone, "run")
    assert call[-len(typed) - 2 :] == ["make", "--no-print-directory", *typed]
    assert options(call, "--workdir") == [str(clone)]
    assert f"{clone}:{clone}" in options(call, "--volume"), "at the path by which a site knows its clone"
    assert "/var/run/docker.sock:/var/run/docker.sock" in options(call, "--volume")
    assert options(call, "--network") == ["host"]
    assert f"RETAILFLOW_PERSON={os.getuid()}:{os.getgid()}" in options(call, "--env")
    assert "--tty" not in call, "there is no terminal here"


def test_without_a_command_it_lists_them(clone: Path) -> None:
    retailflow(clone)
    assert calls(clone, "run")[0][-1] == "help"


@pytest.mark.parametrize("status", [0, 2, 137])
def test_it_ends_as_make_ends(clone: Path, status: int) -> None:
    assert retailflow(clone, "status", STATUS=str(status)).returncode == status


def test_what_the_environment_lists_is_passed_by_name_and_nothing_else(clone: Path, tmp_path: Path) -> None:
    passphrase = tmp_path / "pass phrase"
    passphrase.write_text("secret")
    given = {
        "AWS_ACCESS_KEY_ID": "AKIAEXAMPLE",
        "AWS_SECRET_ACCESS_KEY": "a secret",
        "TARGET": "aws",
        "CONFIRM": "yes",
        "HTTPS_PROXY": "http://127.0.0.1:3128",
        "RETAILFLOW_PASSPHRASE_FILE": str(passphrase),
    }
    others = {
        "ANSIBLE_CONFIG": "/elsewhere",
        "TF_LOG": "TRACE",
        "SSL_CERT_FILE": "/mine.pem",
        "TMPDIR": "/tmp/mine",
    }
    done = retailflow(clone, "up", **given, **others, DOCKER_CONFIG=str(tmp_path))
    assert done.returncode == 0, done.stderr
    (call,) = calls(clone, "run")
    passed = set(options(call, "--env"))
    assert {one for one in passed if "=" not in one} == set(given)
    assert "a secret" not in " ".join(call), "values stay out of the arguments"
    assert f"{passphrase}:{passphrase}:ro" in options(call, "--volume"), "the file comes along"


def test_profiles_of_aws_come_along(clone: Path) -> None:
    (clone / ".aws").mkdir()
    retailflow(clone, "status")
    home = "/root" if os.getuid() == 0 else "/home/retailflow"
    assert f"{clone}/.aws:{home}/.aws" in options(calls(clone, "run")[0], "--volume")


def test_the_image_is_built_once_for_what_it_is_made_of(clone: Path) -> None:
    retailflow(clone, "help")
    retailflow(clone, "help")
    (build,) = calls(clone, "build")
    context = (clone / "context").read_text().split()
    assert "images/control/Dockerfile" in context and "images/control/enter" in context
    assert not any(one.startswith(("tools", "bin", ".git")) for one in context)
    with (clone / "images/control/enter").open("a") as file:
        file.write("# changed\n")
    retailflow(clone, "help")
    retailflow(clone, "help", CONTROL_BASE="mine/debian:13")
    images = [options(one, "--tag")[0] for one in calls(clone, "build")]
    assert len(set(images)) == 3
    assert "BASE=mine/debian:13" in calls(clone, "build")[-1] and "--build-arg" not in build
    # `make down` removes all images below retailflow/, with the containers that run in them.
    assert all(re.fullmatch(r"retailflow-control:\d+", one) for one in images)
    assert calls(clone, "run")[-1].count(images[-1]) == 1


def test_clean_removes_the_image(clone: Path) -> None:
    retailflow(clone, "down")
    assert not any("rm" in one for one in calls(clone, "image"))
    retailflow(clone, "clean")
    assert calls(clone, "image")[-1][:2] == ["image", "rm"]


@pytest.mark.parametrize(
    ("environment", "advice"),
    [
        ({"FAULT": "Cannot connect to the Docker daemon"}, "start Docker Desktop or Docker Engine"),
        ({"FAULT": "permission denied while trying to connect"}, "join the group docker"),
        ({"DOCKER_HOST": "tcp://192.0.2.7:2376"}, "is on another machine"),
        ({"DOCKER_HOST": "ssh://ada@example.com"}, "is on another machine"),
        ({"SYSTEM": "Docker Desktop", "PROBE": "1"}, "Enable host networking"),
    ],
    ids=["none", "not allowed", "remote", "remote by ssh", "Docker Desktop without its switch"],
)
def test_an_engine_that_cannot_be_used_is_one_sentence(
    clone: Path, environment: dict[str, str], advice: str
) -> None:
    done = retailflow(clone, "up", **environment)
    assert done.returncode == 1 and advice in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert not (clone / "calls").exists() or not any(" make " in " ".join(one) for one in calls(clone, "run"))


def test_without_docker_it_says_what_to_install(clone: Path) -> None:
    (clone / "bin/docker").unlink()
    for name in ("sh", "dirname"):
        (clone / "bin" / name).symlink_to(f"/usr/bin/{name}")
    done = retailflow(clone, "up", PATH=f"{clone}/bin")
    assert done.returncode == 1 and "install Docker Desktop or Docker Engine" in done.stderr


def test_docker_desktop_is_asked_whether_the_loopback_is_reached(clone: Path) -> None:
    done = retailflow(clone, "up", SYSTEM="Docker Desktop")
    assert done.returncode == 0, done.stderr
    published, asked, made = calls(clone, "run")
    assert options(published, "--publish") == ["127.0.0.1:14599:14599"]
    assert options(asked, "--network") == ["host"] and "make" in made
    assert calls(clone, "kill") == [["kill", "probe"]], "what was published for the question is removed"


# --- the entry of the container ----------------------------------------------------------------------------------------
def enter(tmp_path: Path, *command: str, **environment: str) -> tuple[list[str], str]:
    """Run the entry where the socket belongs to group 997; return the changes of users, and what the command printed."""
    programs = tmp_path / "bin"
    note = f'echo "${{0##*/}} $*" >> {tmp_path}/changes'
    for name in ("usermod", "chown"):
        clones.program(programs / name, note)
    clones.program(programs / "groupadd", f'{note}\necho "$3:x:$2:" >> {tmp_path}/group')
    clones.program(programs / "getent", f"grep -F :$2: {tmp_path}/group")
    clones.program(programs / "stat", "echo 997")
    clones.program(programs / "id", "echo 1000")
    clones.program(programs / "setpriv", f'{note}\nwhile [ "$1" != -- ]; do shift; done; shift; exec "$@"')
    (tmp_path / "group").write_text("root:x:0:\ndialout:x:20:\nretailflow:x:1000:\n")
    socket = tmp_path / "socket"
    subprocess.run(
        [clones.PYTHON, "-c", f"import socket; socket.socket(socket.AF_UNIX).bind({str(socket)!r})"],
        check=True,
    )
    done = subprocess.run(
        ["sh", str(ROOT / "images/control/enter"), *command],
        env={
            "PATH": f"{programs}:/usr/bin:/bin",
            "HOME": "/root",
            "RETAILFLOW_SOCKET": str(socket),
            **environment,
        },
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    changes = tmp_path / "changes"
    return changes.read_text().splitlines() if changes.exists() else [], done.stdout


def test_the_command_runs_as_the_person_who_may_use_the_engine(tmp_path: Path) -> None:
    changes, printed = enter(tmp_path, "sh", "-c", "echo $HOME", RETAILFLOW_PERSON="501:20")
    assert changes == [
        "usermod --non-unique --uid 501 --gid dialout retailflow",
        "groupadd --gid 997 engine997",
        "usermod --append --groups engine997 retailflow",
        "chown 501:20 /home/retailflow",
        "setpriv --reuid 501 --regid 20 --init-groups -- sh -c echo $HOME",
    ]
    assert printed == "/home/retailflow\n"


@pytest.mark.parametrize("person", [{}, {"RETAILFLOW_PERSON": "0:0"}], ids=["a dev container", "root"])
def test_root_stays_root(tmp_path: Path, person: dict[str, str]) -> None:
    changes, printed = enter(tmp_path, "sh", "-c", "echo $HOME", **person)
    assert printed == "/root\n" and not any(one.startswith("setpriv") for one in changes)
    assert "usermod --append --groups engine997 retailflow" in changes, "the editor's user may use the engine"


# --- the dev container -------------------------------------------------------------------------------------------------
def test_the_dev_container_is_the_same_control_node() -> None:
    text = (ROOT / ".devcontainer/devcontainer.json").read_text()
    settings = json.loads(re.sub(r"^\s*//.*$", "", text, flags=re.MULTILINE))
    folder = ROOT / ".devcontainer"
    assert (folder / settings["build"]["dockerfile"]).resolve() == ROOT / "images/control/Dockerfile"
    assert (folder / settings["build"]["context"]).resolve() == ROOT
    assert (
        "useradd --create-home --uid 1000 --shell /bin/bash " + settings["remoteUser"]
        in (ROOT / "images/control/Dockerfile").read_text()
    )
    assert settings["postCreateCommand"] == "make up"
    ports = yaml.safe_load((ROOT / "inventory/group_vars/local/main.yml").read_text())["local_cloud_ports"]
    pages = sorted(ports[name] for name in ("dagster", "metabase", "dbt_docs", "airbyte"))
    assert sorted(settings["forwardPorts"]) == pages
    assert sorted(map(int, settings["portsAttributes"])) == pages


def test_the_base_is_pinned_by_digest() -> None:
    dockerfile = (ROOT / "images/control/Dockerfile").read_text()
    assert re.search(r"^ARG BASE=debian:13-slim@sha256:[0-9a-f]{64}$", dockerfile, re.MULTILINE)
