"""An upgrade of Metabase that fails, and the way back."""

from __future__ import annotations

from collections.abc import Callable

import testinfra

from .conftest import NAME, Playbook

NOWHERE = f"registry.{NAME}.internal:5000/{NAME}/nothing:1"


def test_an_upgrade_that_fails_goes_back_to_image_and_database(
    playbook: Playbook, sql: Callable[[str], str]
) -> None:
    metabase = testinfra.get_host(f"docker://{NAME}-metabase")
    before = metabase.check_output(
        "docker inspect --format '{{.Config.Image}} {{.State.StartedAt}}' metabase"
    )
    run = playbook("playbooks/upgrade.yml", "-e", f"retailflow_upgrade_to={NOWHERE}")
    assert run.returncode != 0
    assert f"could not be upgraded to {NOWHERE}" in run.stdout
    after = metabase.check_output("docker inspect --format '{{.Config.Image}} {{.State.StartedAt}}' metabase")
    assert after.split()[0] == before.split()[0]
    assert after != before, "it was not even stopped"
    assert "Restore | Restore it with its owner, rights and content" in run.stdout
    assert (
        metabase.run(
            "python3 -c 'import urllib.request as u; u.urlopen(\"http://localhost:13000/api/health\")'"
        ).rc
        == 0
    )
    owner = "select pg_get_userbyid(datdba) from pg_database where datname = 'metabase'"
    assert sql(owner) == "metabase"
    again = playbook("playbooks/upgrade.yml", "--check")
    assert again.returncode == 0, again.stdout
    assert "as before" in again.stdout
