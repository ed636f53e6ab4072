"""The bash installers of Airbyte, against stand-ins of curl, abctl and kubectl that write down how they were called.

This shows what the script does and says; it does not show that Airbyte comes up, which takes the real abctl.
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from airbyte_support import CHECKSUM, DEFAULTS, NEED, VERSION, executable, render, stand_ins

Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def calls(tmp_path: Path) -> Callable[[], list[str]]:
    """What was called, in order, without the questions after the engine."""

    def read() -> list[str]:
        path = tmp_path / "calls"
        lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
        return [
            line
            for line in lines
            if line not in ("docker info", "abctl version")
            and not line.startswith(("docker ps ", "docker port "))
        ]

    return read


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """Run the abctl installer among the stand-ins; keywords become environment variables."""
    stubs = tmp_path / "stubs"
    stand_ins(stubs)
    render("abctl", tmp_path)

    def call(action: str, **environment: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [tmp_path / "opt/install.sh", action],
            env={
                "PATH": f"{stubs}:/usr/bin:/bin",
                "CALLS": str(tmp_path / "calls"),
                "STUBS": str(stubs),
                "STUB_ABCTL_VERSION": VERSION,
            }
            | environment,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    return call


def fetch_call(call: str) -> str:
    """Return how the archive of the release is fetched, into the folder that this call names."""
    name = (
        f"abctl-{VERSION}-linux-{'arm64' if platform.machine() in ('aarch64', 'arm64') else 'amd64'}.tar.gz"
    )
    output = call.split(" --output ")[-1].split(" ")[0]
    url = f"{DEFAULTS['airbyte_bash_installer_abctl_url']}/{VERSION}/{name}"
    return f"curl --fail --silent --show-error --location --output {output} {url}"


def install_call(folder: Path, *more: str) -> str:
    """Return how abctl is told to install."""
    chart = DEFAULTS["airbyte_bash_installer_chart_version"]
    options = f"--no-browser --port 8000 --chart-version {chart} --values {folder}/opt/values.yml"
    return " ".join([f"abctl local install {options} --insecure-cookies --host localhost", *more])


@pytest.mark.parametrize("published", ["", "0.0.0.0:8000\\n", "0.0.0.0:9000\\n[::]:9000\\n"])
def test_a_cluster_at_another_port_is_made_again_and_keeps_its_data(
    run: Run, calls: Callable[[], list[str]], tmp_path: Path, published: str
) -> None:
    result = run("install", STUB_PORT=published)
    assert result.returncode == 0, result.stderr
    removed = ["abctl local uninstall"] if "9000" in published else []
    assert calls()[1:] == [*removed, install_call(tmp_path, "--low-resource-mode")]


def test_behind_a_front_cookies_are_for_https_alone(
    run: Run, calls: Callable[[], list[str]], tmp_path: Path
) -> None:
    render(
        "abctl", tmp_path, __airbyte_bash_installer_need=NEED, airbyte_bash_installer_insecure_cookies=False
    )
    assert run("install").returncode == 0
    assert "abctl local install" in calls()[-1] and "--insecure-cookies" not in calls()[-1]


@pytest.mark.parametrize("distribution", ["abctl", "embedded"])
def test_shellcheck_finds_nothing(distribution: str, tmp_path: Path) -> None:
    shellcheck = shutil.which("shellcheck")
    assert shellcheck, "shellcheck is missing: run `make bootstrap`"
    found = subprocess.run(
        [shellcheck, render(distribution, tmp_path)], capture_output=True, text=True, check=False
    )
    assert found.returncode == 0, found.stdout


def test_install_fetches_the_pinned_release_and_leaves_the_stamp_that_the_role_looks_for(
    run: Run, calls: Callable[[], list[str]], tmp_path: Path
) -> None:
    result = run("install")
    assert result.returncode == 0, result.stderr
    assert calls() == [
        fetch_call(calls()[0]),
        install_call(tmp_path, "--low-resource-mode"),
    ]
    script = (tmp_path / "opt/install.sh").read_bytes()
    assert [path.name for path in (tmp_path / "state").iterdir()] == [
        f"installed-{hashlib.sha256(script).hexdigest()}"
    ]
    values = yaml.safe_load((tmp_path / "opt/values.yml").read_text(encoding="utf-8"))
    assert values["global"] == {"tracking": {"strategy": "logging"}}, "telemetry is off"


def test_again_keeps_the_release_and_lets_abctl_decide(
    run: Run, calls: Callable[[], list[str]], tmp_path: Path
) -> None:
    run("install")
    before = len(calls())
    assert run("install").returncode == 0
    assert calls()[before:] == [install_call(tmp_path, "--low-resource-mode")]


def test_another_release_is_replaced(run: Run, calls: Callable[[], list[str]]) -> None:
    run("install")
    before = len(calls())
    assert run("install", STUB_ABCTL_VERSION="v0.1.0").returncode == 1, (
        "the archive still holds the other one"
    )
    assert calls()[before] == fetch_call(calls()[before])


@pytest.mark.parametrize(
    ("cpus", "memory_mb", "more"),
    [(2, 1, []), (3, 1, ["--low-resource-mode"]), (2, 10**8, ["--low-resource-mode"])],
    ids=["large", "few processors", "little memory"],
)
def test_the_size_of_the_host_decides_the_mode(
    cpus: int, memory_mb: int, more: list[str], run: Run, calls: Callable[[], list[str]], tmp_path: Path
) -> None:
    render(
        "abctl",
        tmp_path,
        airbyte_bash_installer_full_mode_cpus=cpus,
        airbyte_bash_installer_full_mode_memory_mb=memory_mb,
    )
    assert run("install").returncode == 0
    assert calls()[-1] == install_call(tmp_path, *more)


@pytest.mark.parametrize(
    ("environment", "need", "word"),
    [
        ({"STUB_CPUS": "1"}, {}, "2 processors (it has 1)"),
        ({}, {"memory_mb": 10**8}, "100000000 MB of memory (it has "),
        ({}, {"disk_mb": 10**9}, "1000000000 MB free in /var/lib (it has "),
        ({"STUB_DOCKER_RC": "1"}, {}, "systemctl start docker"),
    ],
    ids=["processors", "memory", "disk", "engine"],
)
def test_a_host_that_is_too_small_is_left_as_it_was(
    environment: dict[str, str],
    need: dict[str, int],
    word: str,
    run: Run,
    calls: Callable[[], list[str]],
    tmp_path: Path,
) -> None:
    render("abctl", tmp_path, __airbyte_bash_installer_need=NEED | need)
    result = run("install", **environment)
    assert result.returncode == 1
    assert "nothing was installed" in result.stderr
    assert word in result.stderr
    assert calls() == []
    assert not (tmp_path / "opt/values.yml").exists()


OWN = DEFAULTS["airbyte_bash_installer_container_name"]
LISTENER = 'LISTEN 0 5 0.0.0.0:8000 0.0.0.0:* users:(("nginx",pid=77,fd=3),("nginx",pid=78,fd=3))\\n'
PROXY = 'LISTEN 0 5 0.0.0.0:8000 0.0.0.0:* users:(("docker-proxy",pid=7,fd=4))\\n'


@pytest.mark.parametrize("distribution", ["abctl", "embedded"])
@pytest.mark.parametrize(
    ("environment", "holder"),
    [
        ({"STUB_LISTENS": LISTENER}, "the program nginx (process 77)"),
        ({"STUB_LISTENS": "LISTEN 0 5 *:8000 *:*\\n"}, "another program"),
        ({"STUB_PUBLISHED": "shop \\n", "STUB_LISTENS": PROXY}, "the container shop"),
    ],
    ids=["program", "program of somebody else", "container"],
)
def test_a_port_that_is_taken_is_named_before_anything_changes(
    distribution: str,
    environment: dict[str, str],
    holder: str,
    run: Run,
    calls: Callable[[], list[str]],
    tmp_path: Path,
) -> None:
    render(distribution, tmp_path)
    result = run("install", **environment)
    assert result.returncode == 1
    assert f"nothing was installed: {holder} holds port 8000 of this host." in result.stderr
    assert "airbyte_bash_installer_port" in result.stderr
    assert calls() == []
    assert list((tmp_path / "state").iterdir()) == []


@pytest.mark.parametrize(
    ("distribution", "container"),
    [
        ("abctl", "airbyte-abctl-control-plane"),
        ("embedded", f"{OWN} "),
        ("embedded", f"ecs-shop-airbyte-1-{OWN}-b0c1 {OWN}"),
    ],
)
def test_its_own_installation_may_hold_the_port(
    distribution: str, container: str, run: Run, tmp_path: Path
) -> None:
    render(distribution, tmp_path)
    result = run("install", STUB_PUBLISHED=f"{container}\\n", STUB_LISTENS=PROXY)
    assert result.returncode == 0, result.stderr
    assert len(list((tmp_path / "state").iterdir())) == 1


def test_without_the_way_to_the_release_it_says_so(run: Run, tmp_path: Path) -> None:
    assert run("install", STUB_CURL_RC="6").returncode == 1
    assert "must reach https://github.com/" in (tmp_path / "opt/install.sh.log").read_text(encoding="utf-8")


def test_a_release_with_another_checksum_is_not_run(
    run: Run, calls: Callable[[], list[str]], tmp_path: Path
) -> None:
    (tmp_path / "stubs/kept/abctl.tar.gz").write_bytes(b"another release")
    assert run("install").returncode == 1
    log = (tmp_path / "opt/install.sh.log").read_text(encoding="utf-8")
    assert f"has the checksum {hashlib.sha256(b'another release').hexdigest()}, not {CHECKSUM}" in log
    assert not (tmp_path / "stubs/abctl").exists() and len(calls()) == 1


@pytest.mark.parametrize("checksums", [{}, {"arm": CHECKSUM}, {"amd64": "", "arm64": ""}])
def test_without_a_checksum_nothing_is_fetched(
    checksums: dict[str, str], run: Run, calls: Callable[[], list[str]], tmp_path: Path
) -> None:
    render("abctl", tmp_path, airbyte_bash_installer_abctl_checksums=checksums)
    result = run("install")
    assert result.returncode == 1 and "nothing was installed: set" in result.stderr
    assert "airbyte_bash_installer_abctl_checksums." in result.stderr and calls() == []


def test_a_failed_install_collects_events_and_the_next_one_completes(run: Run, tmp_path: Path) -> None:
    result = run("install", STUB_ABCTL_RC="1")
    assert result.returncode == 1
    assert f"see {tmp_path}/opt/install.sh.log" in result.stderr
    assert "FailedScheduling" in (tmp_path / "opt/install.sh.log").read_text(encoding="utf-8")
    assert list((tmp_path / "state").iterdir()) == []
    assert run("install").returncode == 0
    assert len(list((tmp_path / "state").iterdir())) == 1


def test_it_shows_how_far_it_is(run: Run, tmp_path: Path) -> None:
    script = tmp_path / "opt/install.sh"
    script.write_text(script.read_text(encoding="utf-8").replace("progress_every=30", "progress_every=0.2"))
    result = run("install", STUB_ABCTL_SECONDS="1")
    assert result.returncode == 0
    assert "2 of 3 pods are up" in result.stdout
    assert "2 of 3 pods are up" in (tmp_path / "opt/install.sh.log").read_text(encoding="utf-8")


def test_one_that_takes_too_long_is_ended_and_explained(run: Run, tmp_path: Path) -> None:
    render("abctl", tmp_path, airbyte_bash_installer_timeout=1)
    result = run("install", STUB_ABCTL_SECONDS="50")
    assert result.returncode == 1
    log = (tmp_path / "opt/install.sh.log").read_text(encoding="utf-8")
    assert "abctl did not end within 1 s" in log
    assert "FailedScheduling" in log
    assert list((tmp_path / "state").iterdir()) == []


def test_credentials_come_from_the_cluster_s_secret(run: Run) -> None:
    result = run("credentials")
    assert json.loads(result.stdout) == {"client_id": "the-id", "client_secret": "the-secret"}


def test_the_embedded_one_prints_the_credentials_of_its_container(run: Run, tmp_path: Path) -> None:
    """The container has its name, or the one that ECS gave it and a label."""
    render("embedded", tmp_path)
    docker = """case "$1" in
ps) printf 'a1 shop \\nb2 %s\\n' "$STUB_OWN" ;;
exec) [ "$2" = b2 ] && printf '{"client_id": "i", "client_secret": "s"}' ;;
esac
"""
    executable(tmp_path / "stubs/docker", f"#!/usr/bin/env bash\n{docker}")
    for own in (f"{OWN} ", f"ecs-shop-{OWN}-1 {OWN}"):
        result = run("credentials", STUB_OWN=own)
        assert json.loads(result.stdout) == {"client_id": "i", "client_secret": "s"}, result.stderr
    result = run("credentials", STUB_OWN="other ")
    assert (result.returncode, result.stdout) == (1, "")
    assert f"the container {OWN} does not run" in result.stderr


def test_another_client_secret_goes_over_the_standard_input_and_the_server_starts_with_it(
    run: Run, calls: Callable[[], list[str]], tmp_path: Path
) -> None:
    patches = []
    for name in ("first", "second"):
        result = run("rotate", STUB_PATCH=str(tmp_path / name))
        assert (result.returncode, result.stdout) == (0, ""), result.stderr
        ((key, secret),) = json.loads((tmp_path / name).read_text())["stringData"].items()
        assert key == "instance-admin-client-secret" and re.fullmatch("[0-9a-f]{32}", secret)
        assert secret not in "".join(calls()) + result.stderr
        patches.append(secret)
    assert patches[0] != patches[1]
    verbs = [re.search(r"(patch secret|rollout \w+)", line) for line in calls()]
    assert [verb[1] for verb in verbs if verb][:3] == ["patch secret", "rollout restart", "rollout status"]


def test_a_server_that_does_not_start_with_the_new_secret_is_an_error(run: Run, tmp_path: Path) -> None:
    result = run("rotate", STUB_PATCH=str(tmp_path / "patch"), STUB_ROLLOUT_RC="1")
    assert result.returncode != 0
    executable(tmp_path / "stubs/docker", "#!/usr/bin/env bash\nexit 1\n")
    result = run("rotate")
    assert result.returncode == 1 and "the client secret was not changed" in result.stderr


def test_the_embedded_one_makes_another_secret_in_its_container(run: Run, tmp_path: Path) -> None:
    render("embedded", tmp_path)
    docker = """case "$1" in
ps) printf 'b2 %s \\n' "$STUB_OWN" ;;
*) printf '%s\\n' "$*" >> "$CALLS" ;;
esac
"""
    executable(tmp_path / "stubs/docker", f"#!/usr/bin/env bash\n{docker}")
    assert run("rotate", STUB_OWN=OWN).returncode == 0
    told = (tmp_path / "calls").read_text().splitlines()
    assert told == ["exec b2 python -m retailflow_emulators.airbyte.credentials rotate", "restart b2"]
    result = run("rotate", STUB_OWN="other")
    assert result.returncode == 1 and "was not changed" in result.stderr


def test_empty_credentials_are_an_error(run: Run, tmp_path: Path) -> None:
    executable(tmp_path / "stubs/docker", "#!/usr/bin/env bash\nexit 1\n")
    result = run("credentials")
    assert (result.returncode, result.stdout) == (1, "")
    assert "is Airbyte installed?" in result.stderr


@pytest.mark.parametrize(
    ("action", "call"),
    [("uninstall", "abctl local uninstall"), ("purge", "abctl local uninstall --persisted")],
)
def test_install_uninstall_install(
    action: str, call: str, run: Run, calls: Callable[[], list[str]], tmp_path: Path
) -> None:
    run("install")
    assert run(action).returncode == 0
    assert calls()[-1].strip() == call
    assert not (tmp_path / "stubs/abctl").exists()
    assert list((tmp_path / "state").iterdir()) == []
    assert run(action).returncode == 0  # nothing is there any more
    assert run("install").returncode == 0
    assert os.access(tmp_path / "stubs/abctl", os.X_OK)


def test_an_unknown_action_is_explained(run: Run) -> None:
    result = run("instal")
    assert result.returncode == 1
    assert "usage: " in result.stderr
