"""What make does with what a person types, against stand-ins of the programs that it starts."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

import clone as clones

SSH = r"""printf '%s\0' "$@" > "$CLONE/argv"; cat > "$CLONE/stdin"; exit "${STATUS:-0}" """


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    root = clones.make(tmp_path / "clone")
    (root / ".env").write_text("RETAILFLOW_TARGET=local\n")
    return root


def make(
    clone: Path, *arguments: str, stdin: str = "", **environment: str
) -> subprocess.CompletedProcess[str]:
    """Run make without a terminal; programs in the clone's folder bin come first."""
    return subprocess.run(
        ["make", *arguments],
        cwd=clone,
        env={"PATH": f"{clone}/bin:{os.environ['PATH']}", "HOME": str(clone), **environment},
        input=stdin,
        capture_output=True,
        text=True,
        timeout=60,
    )


def ssh(clone: Path, status: int = 0) -> None:
    """Put a program in the place of ssh that writes down what it is given."""
    clones.program(clone / "bin/ssh", f"CLONE='{clone}' STATUS={status}\n{SSH}")


def argv(clone: Path) -> list[str]:
    return (clone / "argv").read_text().split("\0")[:-1]


@pytest.mark.parametrize(
    "command",
    [
        "docker ps",
        "psql -h localhost -d retailflow_db -c 'select count(*) from sales'",
        'psql -c "select * from Sales limit 5;"',
        "echo $HOME $(hostname) `id` ${x:-y} $$ $1",
        "ls *.c ? [a-z] {a,b} ~ ! # \\ \\\\ % & | ; < >",
        "echo one\necho two",
        "printf 'a\\\nb'",
        "$(shell touch evil)",
        "$(",
        "-l somebody",
        "echo 'Grüße, 日本'",
        "x=1 y='two words'",
    ],
)
def test_the_host_gets_a_command_exactly_as_it_was_typed(clone: Path, command: str) -> None:
    ssh(clone)
    done = make(clone, "ssh-ec2-postgres", f"COMMAND={command}")
    assert done.returncode == 0, done.stderr
    assert argv(clone) == ["-F", ".state/local/ssh_config", "-T", "--", "ec2-postgres", command]
    assert not (clone / "evil").exists()


@pytest.mark.parametrize(
    ("command", "wanted"),
    [
        ("docker exec -it dagster-dbt dagster job execute -f dbt_sales_staging.py", "-tt"),
        ("docker exec -ti x sh", "-tt"),
        ("docker exec -u root -t x sh", "-tt"),
        ("docker container exec --interactive --tty x sh", "-tt"),
        ("docker run --rm -it x", "-tt"),
        ("docker exec dagster-dbt psql -t", "-T"),
        ("docker exec -i x cat", "-T"),
        ("docker logs -t airbyte", "-T"),
        ("ls -t", "-T"),
    ],
)
def test_a_command_gets_a_terminal_where_it_asks_docker_for_one(
    clone: Path, command: str, wanted: str
) -> None:
    ssh(clone)
    assert make(clone, "ssh-ec2-dagster-dbt", f"COMMAND={command}").returncode == 0
    assert argv(clone)[2] == wanted


def test_without_a_command_the_hosts_shell_reads_what_comes_in(clone: Path) -> None:
    ssh(clone)
    assert make(clone, "ssh-ec2-airbyte", stdin="docker ps\n", COMMAND="rm -rf /").returncode == 0
    assert argv(clone) == ["-F", ".state/local/ssh_config", "-T", "--", "ec2-airbyte"]
    assert (clone / "stdin").read_text() == "docker ps\n"


def test_the_failure_of_a_command_is_the_failure_of_make(clone: Path) -> None:
    ssh(clone, status=3)
    assert make(clone, "ssh-ec2-postgres", "COMMAND=false").returncode != 0


def test_a_command_for_another_target_than_the_last_is_refused(clone: Path) -> None:
    ssh(clone)
    done = make(clone, "ssh-ec2-postgres", "TARGET=aws", "COMMAND=true")
    assert done.returncode != 0 and "make up TARGET=aws" in done.stderr
    (clone / ".env").unlink()
    assert make(clone, "ssh-ec2-postgres", RETAILFLOW_TARGET="local").returncode != 0
    assert not (clone / "argv").exists()


# --- a site beside the inventory's own -------------------------------------------------------------------------------------


@pytest.mark.parametrize("site", ["Staging", "../aws", "a b", "$(shell touch evil)", "a/b", "a'b"])
def test_a_site_whose_name_is_no_name_is_refused_before_anything_is_started(clone: Path, site: str) -> None:
    prepared(clone)
    for target in ("up", "down", "clean", "status", "open-dagster"):
        done = make(clone, target, f"SITE={site}")
        assert done.returncode != 0 and "SITE is lower-case letters, digits and hyphens" in done.stderr, (
            done.stderr
        )
    assert not (clone / "started").exists() and not (clone / "evil").exists()


def test_two_names_for_one_site_are_refused(clone: Path) -> None:
    prepared(clone)
    done = make(clone, "recover", "SITE=staging", "NAME=shop")
    assert done.returncode != 0 and "SITE names another: give one of them" in done.stderr
    assert not (clone / "started").exists()


@pytest.mark.parametrize("target", ["down", "clean", "status", "open-dagster", "ssh-ec2-postgres", "backup"])
def test_a_mistyped_site_is_told_with_those_that_there_are(clone: Path, target: str) -> None:
    prepared(clone)
    (clone / ".secrets/local-staging").mkdir(parents=True)
    done = make(clone, target, "SITE=stagin")
    assert done.returncode != 0 and "no site stagin of the target local was made here" in done.stderr, (
        done.stderr
    )
    assert "These were: the inventory's own, staging. Nothing was changed" in done.stderr
    assert not (clone / "started").exists() and (clone / ".venv").exists()


def test_a_site_has_addresses_of_its_own(clone: Path) -> None:
    prepared(clone)
    (clone / ".state/local-staging").mkdir(parents=True)
    text = "RETAILFLOW_TARGET=local\nDAGSTER_URL=https://127.0.0.1:{port}\n"
    (clone / ".env").write_text(text.format(port=13000))
    (clone / ".state/local-staging/env").write_text(text.format(port=21524))
    assert make(clone, "open-dagster").stdout == "https://127.0.0.1:13000\n"
    assert make(clone, "open-dagster", "SITE=main").stdout == "https://127.0.0.1:13000\n"
    assert make(clone, "open-dagster", SITE="staging").stdout == "https://127.0.0.1:21524\n"
    ssh(clone)
    assert make(clone, "ssh-ec2-postgres", "COMMAND=true", "SITE=staging").returncode == 0
    assert argv(clone)[1] == ".state/local-staging/ssh_config"


def test_the_programs_that_make_starts_know_the_site(clone: Path) -> None:
    prepared(clone)
    (clone / ".state/local-staging").mkdir()
    (clone / ".state/local-staging/summary.txt").write_text("of staging\n")
    clones.program(clone / ".venv/bin/ansible-playbook", f'echo "${{SITE:-none}} $*" >> "{clone}/started"')
    clones.program(clone / "bin/docker", f'echo "docker $*" >> "{clone}/started"')
    done = make(clone, "up", "SITE=staging")
    assert done.returncode == 0 and done.stdout.endswith("of staging\n"), done.stderr
    started = (clone / "started").read_text()
    assert "docker ps -q --filter label=retailflow.service=staging-retailflow-aws\n" in started
    assert "staging -i inventory/local.yml playbooks/cloud.yml" in started and "none" not in started


def test_without_its_variables_no_playbook_takes_the_first_site_for_another(clone: Path) -> None:
    """As with a wrapper of Ansible that is older than SITE."""
    command = [
        str(clone / "tools/clean-env"),
        clones.PYTHON,
        "-m",
        "ansible",
        "playbook",
        "-i",
        "inventory/local.yml",
    ]
    done = subprocess.run(
        [*command, "teardown.yml"],
        cwd=clone,
        env={"PATH": f"{clone}/bin:{os.environ['PATH']}", "HOME": str(clone), "SITE": "staging"},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert (
        done.returncode != 0
        and "SITE names another site, and its variables are missing" in done.stdout + done.stderr
    )
    assert "changed=0" in done.stdout


# --- bringing a site up -------------------------------------------------------------------------------------------------


def prepared(clone: Path) -> None:
    """Programs that write down what `make up` starts, on a machine without the emulated API."""
    clones.program(clone / "tools/machine", f'echo machine >> "{clone}/started"')
    clones.program(clone / ".venv/bin/ansible-playbook", f'echo "$*" >> "{clone}/started"')
    engine(clone, answers=True)
    (clone / ".state/local").mkdir(parents=True)
    (clone / ".state/local/summary.txt").touch()


@pytest.mark.parametrize(
    "days", ["-1", "1.5", "many", "1 2", "$(shell touch begun)", "9$(shell touch begun)"]
)
def test_days_that_are_no_number_are_refused_before_anything_is_started(clone: Path, days: str) -> None:
    prepared(clone)
    done = make(clone, "up", f"HISTORY={days}")
    assert (
        done.returncode != 0 and f'HISTORY is a whole number of days, 0 for none, not "{days}"' in done.stderr
    )
    assert not (clone / "started").exists() and not (clone / "begun").exists()


@pytest.mark.parametrize(("days", "handed"), [(None, 0), ("", 0), ("0", 2), ("90", 2)])
def test_days_reach_every_playbook_that_checks_them(clone: Path, days: str | None, handed: int) -> None:
    """Also the one that starts the emulated cloud, so that 9999 is refused before anything changes."""
    prepared(clone)
    done = make(clone, "up", *([] if days is None else [f"HISTORY={days}"]), HISTORY="5")
    assert done.returncode == 0, done.stderr
    plays = [line for line in (clone / "started").read_text().splitlines() if line != "machine"]
    assert len(plays) == 2 and "playbooks/cloud.yml" in plays[0] and "site.yml" in plays[1]
    given = [line for line in plays if line.endswith(f" -e retailflow_history_days={days}")]
    assert len(given) == handed and sum("history" in line for line in plays) == handed


# --- taking a site down -----------------------------------------------------------------------------------------------


def sites(clone: Path) -> None:
    """State and secrets of both targets."""
    for target in ("local", "aws"):
        for folder in (".state", ".secrets"):
            (clone / folder / target).mkdir(parents=True)
            (clone / folder / target / "kept").write_text("kept")


def left(clone: Path) -> set[str]:
    return {f"{folder}/{one.name}" for folder in (".state", ".secrets") for one in (clone / folder).glob("*")}


def engine(clone: Path, *, answers: bool) -> None:
    clones.program(clone / "bin/docker", f"[ $1 = info ] && exit {0 if answers else 1}\nexit 0")


AWS = {".state/aws", ".secrets/aws"}
LOCAL = {".state/local", ".secrets/local"}


def test_a_site_that_cannot_be_removed_is_not_said_to_be(clone: Path) -> None:
    sites(clone)
    engine(clone, answers=False)
    for target in ("down", "clean"):
        done = make(clone, target)
        assert done.returncode != 0 and "nothing was removed" in done.stderr, done.stderr
        assert left(clone) == AWS | LOCAL
    engine(clone, answers=True)
    done = make(clone, "down")
    assert done.returncode != 0 and "virtual environment is missing" in done.stderr, done.stderr
    done = make(clone, "down", "TARGET=aws")
    assert done.returncode != 0 and "virtual environment is missing" in done.stderr, done.stderr
    assert left(clone) == AWS | LOCAL


def test_where_nothing_was_made_there_is_nothing_to_take_down(clone: Path) -> None:
    engine(clone, answers=False)
    (clone / ".env").unlink()
    assert make(clone, "down").returncode == 0
    assert make(clone, "clean", "TARGET=aws").returncode == 0
    assert not (clone / ".state").exists() and not (clone / ".secrets").exists()


def test_a_site_goes_with_the_engine_that_was_started_for_it(clone: Path) -> None:
    sites(clone)
    engine(clone, answers=False)
    (clone / ".state/machine/docker").mkdir(parents=True)
    done = make(clone, "down")
    assert done.returncode == 0, done.stderr
    assert left(clone) == AWS
    assert not (clone / ".env").exists()


@pytest.mark.parametrize(("target", "others"), [("local", AWS), ("aws", LOCAL)])
def test_one_target_goes_and_the_other_keeps_state_and_secrets(
    clone: Path, target: str, others: set[str]
) -> None:
    sites(clone)
    engine(clone, answers=True)
    clones.program(clone / ".venv/bin/ansible-playbook", f'echo "$*" >> "{clone}/plays"')
    done = make(clone, "clean", f"TARGET={target}")
    assert done.returncode == 0, done.stderr
    assert (clone / "plays").read_text() == (
        f"-i inventory/{target}.aws_ec2.yml -i inventory/{target}.yml teardown.yml\n"
    )
    assert left(clone) == others
    assert not (clone / ".venv").exists()
