"""What of the caller's environment gets in: the names that tools/clean-env lists, and nothing else."""

from __future__ import annotations

import http.server
import json
import os
import re
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import boto3
import pytest

import clone as clones
from hostile import HOSTILE
from tests.aws import aws_support

ROOT = aws_support.ROOT
CLEAN = ROOT / "tools/clean-env"
PYTHON = clones.PYTHON
PROXIES = {name for name in HOSTILE if name.lower().endswith("_proxy")}
FIXED = {
    "RETAILFLOW_ENVIRONMENT",
    "LANG",
    "LC_ALL",
    "USER",
    "LOGNAME",
    "SHELL",
    "NO_PROXY",
    "no_proxy",
    "ANSIBLE_CONFIG",
    "TF_CLI_CONFIG_FILE",
    "CHECKPOINT_DISABLE",
    "UV_CACHE_DIR",
    "PIP_DISABLE_PIP_VERSION_CHECK",
    "DO_NOT_TRACK",
    "SNOWFLAKE_DISABLE_PLATFORM_DETECTION",
    "AWS_CONFIG_FILE",
    "AWS_SHARED_CREDENTIALS_FILE",
}


def run(
    *command: str | Path, cwd: Path = ROOT, **environment: str | None
) -> subprocess.CompletedProcess[str]:
    """Run a command with PATH and a hostile environment, changed by the keywords; None unsets one."""
    wanted = {"PATH": os.environ["PATH"], **HOSTILE, **environment}
    return subprocess.run(
        [str(one) for one in command],
        cwd=cwd,
        env={name: value for name, value in wanted.items() if value is not None},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=120,
    )


def inside(**environment: str | None) -> dict[str, str]:
    """The environment that a command gets."""
    done = run(CLEAN, PYTHON, "-c", "import json, os; print(json.dumps(dict(os.environ)))", **environment)
    assert done.returncode == 0, done.stderr
    found: dict[str, str] = json.loads(done.stdout)
    return found


def listed() -> dict[str, tuple[str, str]]:
    """Names of the list, with the target they are for and the reason."""
    text = CLEAN.read_text().split("<< 'LIST'\n")[1].split("\nLIST")[0]
    lines = [line.split(maxsplit=2) for line in text.splitlines()]
    assert len({name for _, name, _ in lines}) == len(lines), "no name is listed twice"
    return {name: (target, reason) for target, name, reason in lines}


def test_a_command_gets_the_names_of_the_list_and_no_other() -> None:
    found = inside()
    assert set(found) - FIXED <= {name for name, (target, _) in listed().items() if target == "all"}
    kept = {name for name, value in HOSTILE.items() if found.get(name) == value}
    assert kept == PROXIES | {"TERM"}


def test_every_name_of_the_list_is_passed_on_for_its_target() -> None:
    names = listed()
    given = {name: "/tmp" if name in ("HOME", "TMPDIR", "DOCKER_CONFIG") else "given" for name in names} | {
        "PATH": os.environ["PATH"]
    }
    for target in ("local", "aws"):
        found = inside(**given | {"TARGET": target})
        for name, (wanted, _) in names.items():
            if name in ("PATH", "TARGET"):
                continue
            passed = wanted in ("all", target) and name != "AWS_PROFILE"  # there are keys
            assert (found.get(name) == given[name]) == passed, f"{target}: {name}"


def test_credentials_and_profiles_reach_the_aws_target_alone() -> None:
    aws = inside(TARGET="aws")
    assert aws["AWS_ACCESS_KEY_ID"] == "AKIASOMEBODYELSE"
    assert "AWS_PROFILE" not in aws, "keys win over a profile for every client, not for some"
    assert inside(TARGET="aws", AWS_ACCESS_KEY_ID="")["AWS_PROFILE"] == "somebody-else"
    assert not {"AWS_REGION", "AWS_DEFAULT_REGION", "AWS_ENDPOINT_URL", "AWS_DEFAULT_PROFILE"} & set(aws)
    local = inside(TARGET="local")
    assert {name for name in local if name.startswith("AWS_")} == {
        "AWS_CONFIG_FILE",
        "AWS_SHARED_CREDENTIALS_FILE",
    }
    assert local["AWS_CONFIG_FILE"] == "/dev/null"


@pytest.mark.parametrize("home", [None, "", "/proc", "/nonexistent", "relative"])
def test_a_home_that_cannot_be_written_is_replaced(home: str | None) -> None:
    assert inside(HOME=home)["HOME"] == str(ROOT / ".cache/home")


def test_a_home_that_can_be_written_stays(tmp_path: Path) -> None:
    assert inside(HOME=str(tmp_path))["HOME"] == str(tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("before", [None, "", "example.com,10.0.0.0/8"])
def test_the_loopback_is_never_asked_for_through_a_proxy(before: str | None) -> None:
    loopback = "localhost,127.0.0.1,::1"
    wanted = f"{before},{loopback}" if before else loopback
    for name in ("NO_PROXY", "no_proxy"):
        found = inside(**{"NO_PROXY": None, "no_proxy": None, name: before})
        assert found["NO_PROXY"] == found["no_proxy"] == wanted
    assert inside(no_proxy=wanted)["no_proxy"] == wanted, "a second time changes nothing"


def test_clients_reach_the_loopback_past_a_proxy() -> None:
    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(204)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        ask = (
            "import requests, urllib.request, sys; "
            "requests.get(sys.argv[1], timeout=5); urllib.request.urlopen(sys.argv[1], timeout=5)"
        )
        done = run(CLEAN, PYTHON, "-c", ask, f"http://127.0.0.1:{server.server_port}/")
    finally:
        server.shutdown()
        server.server_close()
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("locale", ["C", "POSIX", "de_DE.ISO-8859-1", "xx_XX.UTF-8", "", None])
def test_the_locale_is_one_that_exists_and_is_utf8(locale: str | None) -> None:
    ask = "import locale; locale.setlocale(locale.LC_ALL, ''); print(locale.nl_langinfo(locale.CODESET))"
    done = run(CLEAN, PYTHON, "-c", ask, LC_ALL=locale, LANG=locale)
    assert (done.returncode, done.stdout) == (0, "UTF-8\n"), done.stderr


def test_files_can_be_read_by_those_who_run_an_image() -> None:
    done = run("sh", "-c", f"umask 077; '{CLEAN}' sh -c umask")
    assert done.stdout == "0022\n", done.stderr


def test_an_unusable_docker_context_is_said_before_anything_changes(tmp_path: Path) -> None:
    docker = tmp_path / "docker"
    docker.write_text(
        '#!/bin/sh\n[ "$*" = "context inspect --format {{.Endpoints.docker.Host}}" ] || exit 9\n'
        '[ "${DOCKER_CONTEXT:-}" != gone ] || exit 1\necho unix:///run/other.sock\n'
    )
    docker.chmod(0o755)
    path = f"{tmp_path}:{os.environ['PATH']}"
    refused = run(CLEAN, "env", PATH=path, DOCKER_CONTEXT="gone")
    assert refused.returncode == 2
    assert "Nothing was changed" in refused.stderr and "gone" in refused.stderr
    assert inside(PATH=path, DOCKER_CONTEXT="other")["DOCKER_HOST"] == "unix:///run/other.sock"
    (tmp_path / "config.json").write_text('{"currentContext": "other"}')
    assert inside(PATH=path, DOCKER_CONFIG=str(tmp_path))["DOCKER_HOST"] == "unix:///run/other.sock"
    named = inside(PATH=path, DOCKER_CONTEXT="other", DOCKER_HOST="tcp://127.0.0.1:1")
    assert named["DOCKER_HOST"] == "tcp://127.0.0.1:1"


# --- commands that only read, under all of it -------------------------------------------------------------------------


@pytest.fixture(scope="module")
def inventory(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[str]]:
    """Options that name the local inventory, with an emulated API that knows one host."""
    folder = tmp_path_factory.mktemp("inventory")
    with aws_support.moto(folder, enforced=False) as url:
        ec2 = boto3.client(
            "ec2",
            endpoint_url=url,
            region_name="us-east-1",
            aws_access_key_id="local",
            aws_secret_access_key="local",
        )
        image = ec2.describe_images(Owners=["136693071363"])["Images"][0]["ImageId"]
        tags = {"Project": "retailflow", "Role": "postgres", "Name": "retailflow-postgres"}
        ec2.run_instances(
            ImageId=image,
            MinCount=1,
            MaxCount=1,
            TagSpecifications=[
                {
                    "ResourceType": "instance",
                    "Tags": [{"Key": key, "Value": value} for key, value in tags.items()],
                }
            ],
        )
        plugin = (ROOT / "inventory/local.aws_ec2.yml").read_text()
        own = folder / "own.aws_ec2.yml"
        own.write_text(re.sub(r"endpoint_url: .+", f"endpoint_url: {url}", plugin))
        yield ["-i", str(own), "-i", str(ROOT / "inventory/local.yml")]


def test_the_inventory_finds_its_hosts(inventory: list[str]) -> None:
    done = run(CLEAN, PYTHON, "-m", "ansible", "inventory", *inventory, "--list")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["postgres"]["hosts"] == ["retailflow-postgres"], done.stderr


def test_a_playbook_finds_roles_and_modules_and_runs(inventory: list[str], tmp_path: Path) -> None:
    (tmp_path / "play.yml").write_text(
        """---
- hosts: control
  tasks:
    - ansible.builtin.import_role: {name: snowflake, tasks_from: query}
      when: false
    - ansible.builtin.debug:
        msg: "{{ lookup('env', 'HOME') }} {{ groups.hosts | length }} hosts, ä"
"""
    )
    done = run(CLEAN, PYTHON, "-m", "ansible", "playbook", *inventory, tmp_path / "play.yml")
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"{ROOT}/.cache/home 1 hosts, ä" in done.stdout


def test_terraform_reads_its_own_settings() -> None:
    done = run(CLEAN, "terraform", "version", "-json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["terraform_version"]
    done = run(CLEAN, "terraform", "-chdir=terraform", "fmt", "-check", "-recursive")
    assert done.returncode == 0, done.stdout + done.stderr


def test_make_starts_its_recipes_in_it(clone: Path) -> None:
    assert "make status" in run("make", "help", cwd=clone).stdout
    (clone / "print.mk").write_text("include Makefile\nprint:\n\t@env; umask\n")
    done = run("make", "-s", "-f", "print.mk", "print", cwd=clone)
    assert done.returncode == 0, done.stderr
    found = dict(line.split("=", 1) for line in done.stdout.splitlines() if "=" in line)
    assert not (set(HOSTILE) - PROXIES - set(listed()) - FIXED) & set(found)
    assert found["RETAILFLOW_ENVIRONMENT"] == str(clone)
    assert "RETAILFLOW_COMMAND" not in found, "a COMMAND of the environment is nobody's command"
    assert done.stdout.endswith("0022\n")


@pytest.mark.parametrize("setting", ["TARGET=production", "TARGET=", "FORMAT=xml"])
def test_make_refuses_a_setting_that_it_does_not_know(clone: Path, setting: str) -> None:
    done = run("make", "help", setting, cwd=clone)
    assert done.returncode == 2
    assert setting.split("=")[0] + " is " in done.stderr


@pytest.mark.parametrize(
    ("flags", "fine"), [("e", False), ("ke", False), ("k", True), ("--no-print-directory", True)]
)
def test_make_does_not_let_the_environment_override_it(clone: Path, flags: str, fine: bool) -> None:
    assert (run("make", "help", cwd=clone, MAKEFLAGS=flags).returncode == 0) == fine
    arguments = [flags if flags.startswith("-") else f"-{flags}"]
    done = run("make", "help", *arguments, "STREAM=e", cwd=clone, MAKEFLAGS=None)
    assert (done.returncode == 0) == fine, done.stderr


def test_ansible_typed_by_hand_starts_in_it_too(clone: Path) -> None:
    """Inside a clone the commands of the virtual environment clean up; elsewhere they are Ansible's own."""
    # bash itself obeys SHELLOPTS before the first line of a script.
    done = run(clone / "tools/machine", "venv", cwd=clone, SHELLOPTS=None)
    assert done.returncode == 0, done.stderr
    hand = clone / ".venv/bin/ansible-playbook"
    done = run(hand, "-i", "inventory/local.yml", "--syntax-check", "site.yml", cwd=clone)
    assert done.returncode == 0, done.stderr
    done = run(hand, "--version", cwd=clone)
    assert f"config file = {clone}/ansible.cfg" in done.stdout, done.stdout + done.stderr
    elsewhere = clone / "docs"
    elsewhere.mkdir()
    plain = dict.fromkeys(HOSTILE) | {
        "HOME": str(clone),
        "ANSIBLE_CONFIG": str(clone / "ansible.cfg"),
    }
    done = run(hand, "--version", cwd=elsewhere, **plain | {"LC_ALL": "C.UTF-8"})
    assert done.returncode == 0 and "ansible-playbook" in done.stdout, done.stderr
    inodes = hand.stat().st_ino
    assert run(clone / "tools/machine", "venv", cwd=clone, SHELLOPTS=None).returncode == 0
    assert hand.stat().st_ino == inodes, "a second run writes nothing"


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    return clones.make(tmp_path / "a clone")
