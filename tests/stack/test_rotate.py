"""`make rotate` on the running site: cut off and run again, it loses no row, no run fails, and the old secrets are refused.

That the next run changes nothing is seen in test_site.py, which makes one."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import snowflake.connector
import testinfra
import yaml
from cryptography import x509
from cryptography.exceptions import InvalidSignature

from .conftest import NAME, PORTS, PREFIX, ROOT, STATE, Host, Playbook, wait_for, why
from .secrets import SECRETS, files, fits
from .site import graphql, trust, warehouse

TABLE = yaml.safe_load((ROOT / "playbooks/vars/secrets.yml").read_text())["retailflow_secrets"]
# After this the run is killed: PostgreSQL has the new passwords and its clients the old ones. The other moments are those of
# tests/roles/test_rotate_playbook.py.
MOMENT = "Let PostgreSQL take the new passwords and certificates"
LOGINS = {
    "db_admin": "retailflow_admin",
    "db_generator": "generator",
    "db_airbyte": "airbyte",
    "db_auditor": "auditor",
    "db_dagster": "dagster",
    "db_metabase": "metabase",
}
# The status with which a client id and secret on the standard input are answered, asked on Airbyte's host.
TOKEN = """
import sys, urllib.error, urllib.request
url = "http://127.0.0.1:18000/api/public/v1/applications/token"
try:
    asked = urllib.request.Request(url, sys.stdin.buffer.read(), {"content-type": "application/json"})
    print(urllib.request.urlopen(asked).status)
except urllib.error.HTTPError as error:
    print(error.code)
"""
FAILED = """{ runsOrError(filter: {statuses: [FAILURE, CANCELED], createdAfter: %s}) { ... on Runs { results { runId } } } }"""


def known() -> set[str]:
    """The names of files that the table has, without their endings."""
    return {file.split(".")[0] for one in TABLE.values() for file in one["files"]} | {
        name for name, one in TABLE.items() if one.get("fixed")
    }


def killed_at(task: str) -> str:
    """Run `make rotate` until a task begins, kill Ansible there, and return what was printed."""
    told: list[str] = []
    run = subprocess.Popen(
        ["ansible-playbook", "playbooks/rotate.yml"],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    try:
        assert run.stdout
        for line in run.stdout:
            told.append(line)
            if task in line:
                os.killpg(run.pid, signal.SIGKILL)
                break
        else:
            pytest.fail(f"{task} never began:\n{''.join(told)[-6000:]}")
    finally:
        run.wait(60)
    return "".join(told)


def well(playbook: Playbook) -> bool:
    """Whether `make status` says so."""
    told = playbook("playbooks/status.yml")
    assert told.returncode == 0, why(told)
    return (STATE / "status.txt").read_text().startswith("WELL")


@pytest.fixture(scope="module")
def airbyte() -> Host:
    return testinfra.get_host(f"docker://{NAME}-airbyte")


@pytest.fixture(scope="module")
def seen(sql: Callable[[str], str], airbyte: Host, playbook: Playbook) -> Iterator[dict[str, Any]]:
    """What the site was before, then a rotation of everything, killed once and run again."""
    assert not (SECRETS / "next").exists(), "an earlier rotation was not ended"
    wait_for(lambda: well(playbook), 180, "the site is well, whatever the test before this one did")
    before = {
        "files": files(),
        "orders": sql("select count(*), max(order_id) from sales").split("|"),
        "airbyte": json.loads(airbyte.check_output("/opt/airbyte/install.sh credentials")),
        "since": float(sql("select extract(epoch from now())")),
    }
    killed_at(MOMENT)
    assert (SECRETS / "next/rotation.json").exists()
    done = playbook("playbooks/rotate.yml")
    assert done.returncode == 0, why(done)
    yield before | {"text": done.stdout}


def test_a_rotation_that_is_cut_off_ends_well_and_loses_no_row(
    seen: dict[str, Any], sql: Callable[[str], str], playbook: Playbook
) -> None:
    rows = sql(
        "select (select count(*) from sales) + (select count(*) from deleted_orders where deleted_at >= "
        f"to_timestamp({seen['since']})), max(order_id) from sales"
    ).split("|")
    assert int(rows[0]) >= int(seen["orders"][0]) and int(rows[1]) > int(seen["orders"][1])
    answer = graphql(FAILED % seen["since"])["runsOrError"]
    assert answer["results"] == [], "a run failed"
    assert not (SECRETS / "next").exists() and not (SECRETS / "old").exists()

    wait_for(lambda: well(playbook), 180, "the site is well")


def test_every_secret_is_another_one_and_nothing_shows_them(seen: dict[str, Any]) -> None:
    after = files()
    assert set(after.keys() ^ seen["files"].keys()) == {
        name for name in after if re.fullmatch(r"backup_key\.[0-9a-f]{8}", name) and name not in seen["files"]
    }
    assert [name for name in seen["files"] if name.split(".")[0] not in known()] == [], (
        "make rotate forgets one"
    )
    named = {file for one in TABLE.values() for file in one["files"]}
    assert {name for name in named if after[name] == seen["files"][name]} == set()
    secrets = [text.strip() for each in (after, seen["files"]) for text in each.values()]
    assert not [secret for secret in secrets if secret and secret in seen["text"]]


@pytest.mark.parametrize("name", LOGINS)
def test_an_old_password_of_postgresql_is_refused_and_the_new_one_taken(
    seen: dict[str, Any], sql: Callable[[str], str], name: str
) -> None:
    # What the server compares a login with: it asks nobody for a password who comes from elsewhere than its program.
    verifier = sql(f"select rolpassword from pg_authid where rolname = '{LOGINS[name]}'")
    assert fits(files()[name].strip(), verifier)
    assert not fits(seen["files"][name].strip(), verifier)


@pytest.mark.parametrize("name", ["airbyte", "dbt", "metabase", "observer"])
def test_an_old_key_of_snowflake_is_refused_and_the_new_one_taken(
    seen: dict[str, Any], tmp_path: Path, name: str
) -> None:
    with warehouse(name) as session:
        assert session.cursor().execute("select 1")
    old = tmp_path / "old.p8"
    old.write_text(seen["files"][f"snowflake_{name}.p8"])
    with pytest.raises(snowflake.connector.errors.DatabaseError, match="JWT|390144"):
        snowflake.connector.connect(
            account="retailflow",
            user=f"{PREFIX}{name.upper()}",
            private_key_file=str(old),
            host="127.0.0.1",
            port=PORTS["snowflake"],
            disable_ocsp_checks=True,
            login_timeout=10,
        )


def test_the_old_ssh_key_is_refused_and_the_new_one_taken(seen: dict[str, Any], tmp_path: Path) -> None:
    old = tmp_path / "old"
    old.write_text(seen["files"]["id_ed25519"])
    old.chmod(0o600)
    for host in ("postgres", "airbyte", "dagster-dbt", "metabase"):
        for key, code in ((SECRETS / "id_ed25519", 0), (old, 255)):
            command = ["ssh", "-F", "/dev/null", "-i", str(key)]
            for option in (
                f"ProxyCommand=docker exec -i {NAME}-{host} /usr/sbin/sshd -i",
                "IdentitiesOnly=yes",
                "BatchMode=yes",
                "StrictHostKeyChecking=no",
                "UserKnownHostsFile=/dev/null",
            ):
                command += ["-o", option]
            done = subprocess.run([*command, f"admin@{NAME}-{host}", "true"], capture_output=True, timeout=60)
            assert done.returncode == code, (host, done.stderr)


def test_the_old_password_of_metabase_s_administrator_is_refused(seen: dict[str, Any]) -> None:
    for password, status in ((files()["metabase_admin"], 200), (seen["files"]["metabase_admin"], 401)):
        body = json.dumps({"username": "admin@retailflow.example", "password": password.strip()}).encode()
        request = urllib.request.Request(
            f"https://127.0.0.1:{PORTS['metabase']}/api/session", body, {"content-type": "application/json"}
        )
        try:
            with urllib.request.urlopen(request, timeout=30, context=trust()) as answer:
                found = answer.status
        except urllib.error.HTTPError as error:
            found = error.code
        assert found == status


def test_the_old_client_secret_of_airbyte_is_refused(seen: dict[str, Any], airbyte: Host) -> None:
    given = json.loads(airbyte.check_output("/opt/airbyte/install.sh credentials"))
    assert given["client_id"] == seen["airbyte"]["client_id"]
    assert given["client_secret"] != seen["airbyte"]["client_secret"]
    for pair, status in ((given, "200"), (seen["airbyte"], "401")):
        told = airbyte.run("printf %%s %s | python3 -c %s", json.dumps(pair), TOKEN)
        assert told.stdout.strip() == status, told.stderr


def test_the_old_authority_has_signed_no_certificate_of_now(seen: dict[str, Any]) -> None:
    old = x509.load_pem_x509_certificate(seen["files"]["authority.crt"].encode())
    new = x509.load_pem_x509_certificate(files()["authority.crt"].encode())
    for path in (STATE / "certificates").glob("*.crt"):
        shown = x509.load_pem_x509_certificate(path.read_bytes())
        shown.verify_directly_issued_by(new)
        with pytest.raises(InvalidSignature):
            shown.verify_directly_issued_by(old)
