"""The journey on the converged local site. The site's data are only added to."""

from __future__ import annotations

import filecmp
import json
import os
import re
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from .conftest import AWS, NAME, ROOT, SECRETS, STATE, Host, Playbook, wait_for, why

RECAP = re.compile(r"^(\S+)\s+: ok=(\d+)\s+changed=(\d+)\s+unreachable=(\d+)\s+failed=(\d+)", re.M)


def test_the_sales_table_answers_as_typed(sql: Callable[[str], str]) -> None:
    assert sql("select * from Sales limit 1;").count("|") == 18
    assert sql("show wal_level") == "logical"


def test_the_generator_adds_exactly_what_it_says(
    generate: Callable[[Any], dict[str, Any]], sql: Callable[[str], str]
) -> None:
    answer = generate({"rows": 123, "batch_id": f"test-{time.time_ns()}"})
    first, last = answer["first_order_id"], answer["last_order_id"]
    assert sql(f"select count(*) from sales where order_id between {first} and {last}") == "123"
    assert sql("select count(*) - count(distinct order_id) from sales") == "0"
    assert sql("select count(*) from sales where discount > price or discount < 0") == "0"


def test_a_history_came_before_everything_else_and_has_every_day(sql: Callable[[str], str]) -> None:
    history = "batch_id like 'history/%'"
    others = "batch_id not like 'history/%' and batch_id not like 'backfill-%'"
    days = "select count(*), max(day) - min(day) + 1 from (select split_part(batch_id, '/', 2)::date as day"
    written, between = sql(f"{days} from generator_batches where {history}) as days").split("|")
    if written == "0":
        pytest.skip("this site was made without a history")
    assert written == between, "no day is missing"
    first = "select min(created_at) from generator_batches where"
    last = f"select max(created_at) from generator_batches where {history}"
    assert sql(f"select ({last}) < ({first} {others})") == "t", "a site that has data gets none"


@pytest.mark.parametrize("rows", [-1, 0.5, "many", 10**12])
def test_nonsense_gets_an_error_and_no_row(
    generate: Callable[[Any], dict[str, Any]], sql: Callable[[str], str], rows: Any
) -> None:
    answer = generate({"rows": rows, "batch_id": f"nonsense-{rows}"})
    assert answer["error"]["errorType"] == "InvalidRequestError"
    assert "rows must be a whole number" in answer["error"]["errorMessage"]
    # Rows and the id of their batch are one transaction.
    assert sql(f"select count(*) from generator_batches where batch_id = 'nonsense-{rows}'") == "0"


def test_an_event_that_is_delivered_again_writes_nothing(
    generate: Callable[[Any], dict[str, Any]], sql: Callable[[str], str]
) -> None:
    when = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    event = {"id": f"test-{time.time_ns()}", "detail-type": "Scheduled Event", "time": when, "detail": {}}
    first, again = generate(event), generate(event)
    assert (first.pop("repeated"), again.pop("repeated")) == (False, True)
    assert first | {"seconds": 0} == again | {"seconds": 0}
    between = f"order_id between {first['first_order_id']} and {first['last_order_id']}"
    assert sql(f"select count(*) from sales where {between}") == str(first["rows"])
    assert sql(f"select count(*) from generator_batches where batch_id = '{event['id']}'") == "1"


def test_the_lambda_may_not_be_older_than_its_schedule(sql: Callable[[str], str]) -> None:
    """The emulated EventBridge invokes every 3 minutes: the newest row is at most 4 minutes old."""
    wait_for(
        lambda: int(sql("select extract(epoch from now() - max(created_at))::int from sales")) < 240,
        240,
        "a fresh row",
    )


def test_what_a_host_keeps_is_on_a_volume_of_its_own(postgres: Host) -> None:
    for path in ("/var/lib/docker", "/var/lib/retailflow"):
        assert postgres.run("mountpoint %s", path).rc == 0
    rows = postgres.check_output(
        "docker inspect --format '{{range .Mounts}}{{.Source}} {{end}}' postgres"
    ).split()
    assert rows and all(source.startswith(("/var/lib/docker/", "/var/lib/retailflow/")) for source in rows)


def test_terraform_has_nothing_to_change() -> None:
    # Without the comment at its end, as the API keeps it.
    key = " ".join((SECRETS / "id_ed25519.pub").read_text().split()[:2])
    result = subprocess.run(
        ["terraform", "plan", "-input=false", "-no-color", "-detailed-exitcode", "-lock=false",
         "-var=operator_cidr=127.0.0.0/8", f"-var=public_key={key}"],
        cwd=ROOT / "terraform",
        capture_output=True,
        text=True,
        check=False,
        env={
            "PATH": "/usr/local/bin:/usr/bin:/bin",
            "TF_DATA_DIR": str(STATE / "terraform"),
            "TF_CLI_CONFIG_FILE": str(ROOT / ".state/terraform.rc"),
            "AWS_ENDPOINT_URL": AWS["endpoint_url"],
            "AWS_ACCESS_KEY_ID": AWS["aws_access_key_id"],
            "AWS_SECRET_ACCESS_KEY": AWS["aws_secret_access_key"],
            "AWS_EC2_METADATA_DISABLED": "true",
        },
    )  # fmt: skip
    told = result.stdout + result.stderr
    assert result.returncode == 0, "\n".join(re.findall(r"^.*(?:  # |Error).*$", told, re.M)) + told


@pytest.fixture
def lost_control_node(playbook: Playbook, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A clone without secrets and state; gives the folder in which they are until the test has ended."""
    if "RETAILFLOW_PASSPHRASE_FILE" not in os.environ:  # else `make up` has kept them
        (tmp_path / "passphrase").write_text("of a test")
        monkeypatch.setenv("RETAILFLOW_PASSPHRASE_FILE", str(tmp_path / "passphrase"))
        kept = playbook("playbooks/provision.yml")
        assert kept.returncode == 0, why(kept)
    folders = [SECRETS, STATE]
    lost = ROOT / ".state/lost"
    lost.mkdir(mode=0o700)
    for folder in folders:
        folder.rename(lost / folder.parent.name)
    yield lost
    for folder in folders:
        if not (folder / "summary.txt" if folder is STATE else folder / "db_admin").exists():
            shutil.rmtree(folder, ignore_errors=True)
            (lost / folder.parent.name).rename(folder)
    shutil.rmtree(lost)


def test_a_lost_control_node_comes_back_and_a_second_run_changes_nothing(
    playbook: Playbook, lost_control_node: Path
) -> None:
    """After test_rotate.py, it is also the run after a rotation."""
    back = subprocess.run(
        ["make", "--no-print-directory", "recover"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert back.returncode == 0, why(back)
    secrets = lost_control_node / ".secrets"
    names = [str(path.relative_to(secrets)) for path in secrets.rglob("*") if path.is_file()]
    assert filecmp.cmpfiles(secrets, SECRETS, names, shallow=False) == (names, [], [])
    result = playbook("site.yml")
    assert result.returncode == 0, why(result)
    recap = {host: int(changed) for host, _, changed, _, _ in RECAP.findall(result.stdout)}
    assert len(recap) == 5
    changed = re.findall(r"^TASK \[(.*)\](?:(?!^TASK ).*\n)*?^changed: ", result.stdout, re.M)
    assert recap == dict.fromkeys(recap, 0), changed


def test_the_job_runs_as_typed_in_the_container(dagster: Host) -> None:
    result = dagster.run("docker exec dagster-dbt dagster job execute -f dbt_sales_staging.py")
    assert result.rc == 0, (result.stdout + result.stderr)[-6000:]
    assert "RUN_SUCCESS" in result.stdout + result.stderr


def test_status_names_every_part(playbook: Playbook) -> None:
    looked = playbook("playbooks/status.yml")
    assert looked.returncode == 0, why(looked)
    status = json.loads((STATE / "status.json").read_text())
    assert {host for host, found in status["hosts"].items() if found["reachable"]} == {
        f"{NAME}-postgres",
        f"{NAME}-airbyte",
        f"{NAME}-dagster-dbt",
        f"{NAME}-metabase",
    }
    assert status["source"]["orders"] >= status["warehouse"]["mart_orders"] > 0
    assert status["runs"]
