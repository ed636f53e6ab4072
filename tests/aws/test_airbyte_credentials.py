"""On the aws target, Dagster gets the credentials that Airbyte made itself, and gets new ones when Airbyte has new ones.

The playbook of the wave is the real one. Its hosts are this machine; what would change it is left out: every role but the two
that the credentials pass through is a stand-in, and so is the Docker engine.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import yaml

import airbyte_support
import warm_python
from server_support import ROOT

ROLES = ("postgres", "airbyte", "dagster_dbt", "metabase")
REAL = ("airbyte-bash-installer", "dagster-dbt-container")


@pytest.fixture
def site(tmp_path: Path) -> Path:
    """The project, with stand-ins for the roles that need a host, and abctl's installer as the role writes it."""
    for part in ("playbooks", "inventory/group_vars"):
        target = tmp_path / part
        target.parent.mkdir(exist_ok=True)
        target.symlink_to(ROOT / part)
    for path in (ROOT / "roles").iterdir():
        (tmp_path / "roles").mkdir(exist_ok=True)
        if path.name in REAL:
            shutil.copytree(path, tmp_path / "roles" / path.name)
        else:
            _stand_in(tmp_path / "roles" / path.name, tmp_path, path)
    # What is wired, and that Airbyte answers, is not looked at here.
    wiring = tmp_path / "roles/airbyte-bash-installer/tasks/wire.yml"
    wiring.write_text("- ansible.builtin.import_tasks: credentials.yml\n")
    hosts = {
        f"retailflow-{role}": {
            "private_dns_name": f"{role}.internal",
            "retailflow_role": role,
            "ec2_instance_id": "i-0",
        }
        for role in ROLES
    }
    groups = {role: {"hosts": {f"retailflow-{role}": None}} for role in ROLES}
    inventory = {
        "all": {
            "children": {
                "control": {"hosts": {"localhost": None}},
                "hosts": {"hosts": hosts},
                "aws": {"children": {"hosts": None, "control": None}},
                **groups,
            }
        }
    }
    (tmp_path / "inventory/hosts.json").write_text(json.dumps(inventory))
    secrets = tmp_path / ".secrets/aws"
    secrets.mkdir(parents=True)
    for user in ("airbyte", "dbt", "metabase"):
        (secrets / f"snowflake_{user}.p8").write_text("-----BEGIN PRIVATE KEY-----")
    (secrets / "authority.crt").write_text("-----BEGIN CERTIFICATE-----")
    airbyte_support.stand_ins(tmp_path / "stubs")
    return tmp_path


def _stand_in(role: Path, folder: Path, real: Path) -> None:
    """A role whose entry points do nothing; container-service writes down what it was to run."""
    (role / "tasks").mkdir(parents=True)
    for path in (real / "tasks").glob("*.yml"):
        (role / "tasks" / path.name).write_text("[]\n")
    if real.name == "container-service":
        content = "{{ {'env': container_service_env, 'secrets': container_service_secrets} | to_json }}"
        task = {
            "copy": {"content": content, "dest": f"{folder}/{{{{ container_service_name }}}}.json"},
            "no_log": True,
        }
        (role / "tasks/main.yml").write_text(json.dumps([task]))


class Late(BaseHTTPRequestHandler):
    """A server in front of an Airbyte that is still starting: 503 to so many requests, as ingress-nginx says it."""

    left = 0

    def do_GET(self) -> None:
        cls = type(self)
        cls.left -= 1
        self.send_response(503 if cls.left >= 0 else 200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: Any) -> None:
        pass


@pytest.mark.skipif(os.geteuid() != 0, reason="the roles give their files to root")
def test_airbyte_may_take_minutes_to_come_back_after_a_pause(site: Path) -> None:
    """300 seconds, by a clock that runs 30 times as fast: of the wait, and of what is answered late."""
    wait = yaml.safe_load((ROOT / "inventory/group_vars/aws/main.yml").read_text())["retailflow_waits"][
        "airbyte"
    ]
    airbyte_support.render("abctl", site)
    (site / "playbooks").unlink()
    shutil.copytree(ROOT / "playbooks", site / "playbooks")
    tasks = [
        {"include_role": {"name": "airbyte-bash-installer", "tasks_from": entry}}
        for entry in ("service", "credentials")
    ]
    (site / "playbooks/wire.yml").write_text(json.dumps([{"hosts": "airbyte", "tasks": tasks}]))
    with ThreadingHTTPServer(("127.0.0.1", 0), Late) as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()

        def started(wait: int) -> subprocess.CompletedProcess[str]:
            Late.left = 300 // 30 // 5
            (site / "late").write_text("not yet\n" * Late.left)
            return play(
                site,
                STUB_LATE=str(site / "late"),
                airbyte_bash_installer_port=server.server_port,
                airbyte_bash_installer_wait=wait // 30,
                __airbyte_bash_installer_pause=0.01,
            )

        done = started(wait)
        assert done.returncode == 0, done.stdout + done.stderr
        assert started(240).returncode == 2, "it has an end"
        server.shutdown()


def play(site: Path, *options: str, **more: Any) -> subprocess.CompletedProcess[str]:
    """Run the wave; keywords are variables, those in capitals environment variables."""
    given: dict[str, Any] = {
        "ansible_connection": "local",
        "ansible_become": False,
        "retailflow_instances": {"instances": []},
        "private_ip_address": "10.86.1.13",
        "retailflow_snowflake_account": "shop",
        "retailflow_images": {"dagster-dbt": "example.com/dagster-dbt:1"},
        "airbyte_bash_installer_dir": str(site / "opt"),
        "airbyte_bash_installer_state_dir": str(site / "state"),
        "airbyte_bash_installer_connections": [],
        "airbyte_bash_installer_sources": [],
        "airbyte_bash_installer_destinations": [],
        "dagster_dbt_container_config_dir": str(site / "dagster"),
    }
    given |= {name: value for name, value in more.items() if not name.isupper()}
    return subprocess.run(
        [
            *warm_python.playbook(),
            "-i",
            "inventory/hosts.json",
            "playbooks/wire.yml",
            "-e",
            json.dumps(given),
            *options,
        ],
        cwd=site,
        env={
            "PATH": f"{site / 'stubs'}:{os.environ['PATH']}",
            "HOME": str(site),
            "LC_ALL": "C.UTF-8",
            "CALLS": str(site / "calls"),
            "ANSIBLE_ROLES_PATH": str(site / "roles"),
            "ANSIBLE_MODULE_UTILS": str(ROOT / "module_utils"),
            "ANSIBLE_LIBRARY": str(ROOT / "playbooks/library"),
        }
        | {name: value for name, value in more.items() if name.isupper()},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=300,
    )


def given_to_dagster(site: Path) -> tuple[str, str]:
    """The client id and secret in the container of Dagster's code server."""
    found = json.loads((site / "dagster-dbt.json").read_text())
    return found["env"]["AIRBYTE_CLIENT_ID"], found["secrets"]["AIRBYTE_CLIENT_SECRET"]


@pytest.mark.skipif(os.geteuid() != 0, reason="the roles give their files to root")
def test_dagster_logs_in_with_what_abctl_made(site: Path) -> None:
    done = play(site, "--check")
    assert done.returncode == 0, "check mode, before Airbyte is there:\n" + done.stdout
    done = play(site, airbyte_bash_installer_wait=0)
    assert done.returncode == 2 and not (site / "dagster-dbt.json").exists()
    assert "If Airbyte is not installed there, run `make up`." in done.stdout

    airbyte_support.render("abctl", site)
    for number, secret in enumerate(("made-by-abctl", "made-by-abctl", "made-when-it-was-installed-again")):
        done = play(site, STUB_ID=f"id-{secret}", STUB_SECRET=secret)
        assert done.returncode == 0, done.stdout + done.stderr
        assert given_to_dagster(site) == (f"id-{secret}", secret)
        assert secret not in done.stdout + done.stderr
        (changed,) = re.findall(r"^retailflow-dagster_dbt .* changed=(\d+)", done.stdout, re.MULTILINE)
        assert (changed == "0") is (number == 1), "the same credentials change nothing"
