"""Playbooks keep to what roles publish, and say at the end why they failed."""

from __future__ import annotations

import json
import os
import re
import socket
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

import clone as clones
import warm_python

ROOT = Path(__file__).parents[2]
FILES = [
    ROOT / "site.yml",
    ROOT / "teardown.yml",
    *sorted(path for path in (ROOT / "playbooks").rglob("*") if path.suffix in (".yml", ".j2")),
    *sorted((ROOT / "inventory").rglob("*.yml")),
]
ROLES = [path.name.replace("-", "_") for path in (ROOT / "roles").iterdir()]
PRIVATE = re.compile(rf"\b__({'|'.join(ROLES)})_\w+")


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_playbook_reads_only_what_a_role_publishes(path: Path) -> None:
    assert PRIVATE.findall(path.read_text(encoding="utf-8")) == []


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_lists_are_the_input_of_modules_and_not_built_by_loops(path: Path) -> None:
    assert not re.search(r"\.(append|update|extend)\(", path.read_text(encoding="utf-8"))


def test_each_group_gets_its_role_by_name() -> None:
    for name in ("configure.yml", "wire.yml"):
        text = (ROOT / "playbooks" / name).read_text(encoding="utf-8")
        roles = re.findall(r"include_role:\n\s+name: (.+)", text)
        assert roles and not [role for role in roles if "{{" in role]


VERSION = yaml.safe_load((ROOT / "inventory/group_vars/all/versions.yml").read_text())["versions"]["postgres"]

# --- with a clone ------------------------------------------------------------------------------------------------------


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    return clones.make(tmp_path / "clone")


def play(clone: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [
            "tools/clean-env",
            *warm_python.playbook(),
            "-i",
            "inventory/local.yml",
            *arguments,
        ],
        cwd=clone,
        env={"PATH": f"{clone}/bin:{os.environ['PATH']}", "HOME": str(clone)},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=300,
    )


def test_a_run_that_fails_ends_with_the_reason(clone: Path) -> None:
    (clone / "fail.yml").write_text(
        """---
- hosts: localhost
  tasks:
    - block:
        - ansible.builtin.fail: {msg: this one was expected}
      rescue:
        - ansible.builtin.debug: {msg: go on}
    - name: Verify | Compare
      ansible.builtin.fail: {msg: "{{ item }}"}
      failed_when: item != 'fine'
      loop: [fine, "RAW differs by 13 orders. Run `make refresh`."]
"""
    )
    done = play(clone, "fail.yml")
    assert done.returncode == 2
    assert done.stderr.endswith(
        "\nFAILED on localhost: Verify | Compare\nRAW differs by 13 orders. Run `make refresh`.\n"
    )
    assert "expected" not in done.stderr.split("FAILED on")[1]


@pytest.mark.parametrize(
    ("limit", "stops"),
    [("all", True), ("control,postgres", True), ("control,airbyte,metabase", False)],
)
def test_nothing_is_wired_after_a_host_that_could_not_be_configured(
    clone: Path, limit: str, stops: bool
) -> None:
    (stop,) = (
        one
        for one in yaml.safe_load((clone / "playbooks/configure.yml").read_text())
        if one["name"].endswith("Stop where a host failed")
    )
    fail = {"ansible.builtin.fail": {"msg": "its own reason"}, "when": "inventory_hostname == 'one'"}
    after = {"ansible.builtin.debug": {"msg": "it went on"}}
    plays = [
        {"hosts": "hosts", "strategy": "free", "gather_facts": False, "tasks": [fail]},
        stop,
        *({"hosts": hosts, "gather_facts": False, "tasks": [after]} for hosts in ("control", "hosts")),
    ]
    (clone / "stop.yml").write_text(yaml.safe_dump(plays, sort_keys=False))
    groups = {"postgres": "one", "airbyte": "two", "metabase": "three"}
    hosts = {group: {"hosts": {host: {"ansible_connection": "local"}}} for group, host in groups.items()}
    (clone / "hosts.yml").write_text(yaml.safe_dump({"all": {"children": {"hosts": {"children": hosts}}}}))
    here = ("-e", "retailflow_target=local")  # what group_vars read
    done = play(clone, "-i", "hosts.yml", *here, "--limit", limit, "stop.yml")
    assert (done.returncode != 0) == stops == ("it went on" not in done.stdout), done.stdout
    if stops and limit == "all":
        assert "one: not configured, as said above. Nothing was wired" in done.stderr.split("FAILED on")[-1]


def test_a_run_that_succeeds_prints_no_failure(clone: Path) -> None:
    (clone / "ok.yml").write_text(
        "- hosts: localhost\n  tasks:\n    - block: [{ansible.builtin.fail: {msg: x}}]\n"
        "      rescue: [{ansible.builtin.debug: {msg: y}}]\n"
    )
    done = play(clone, "ok.yml")
    assert done.returncode == 0 and "FAILED on" not in done.stdout + done.stderr


@pytest.fixture
def silence() -> Iterator[int]:
    """A port that takes connections and never says a word."""
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen(50)
        kept = []

        def accept() -> None:
            while True:
                try:
                    kept.append(server.accept())
                except OSError:
                    return

        threading.Thread(target=accept, daemon=True).start()
        yield int(server.getsockname()[1])


HOST_ROLES = ["postgres", "airbyte", "dagster_dbt", "metabase"]


def write_hosts(clone: Path) -> None:
    """Write the hosts as provision.yml does once they are made."""
    hosts = "".join(
        f"{role}:\n  hosts:\n    retailflow-{role.replace('_', '-')}:\n      retailflow_role: {role}\n"
        f"      retailflow_root: '{clone}'\n"
        f"      private_ip_address: 10.86.1.{ip}\n      private_dns_name: ip-{ip}.internal\n      ec2_instance_id: i-{ip}\n"
        for ip, role in enumerate(HOST_ROLES, 11)
    )
    children = "".join(f"    {role}:\n" for role in HOST_ROLES)
    text = f"{hosts}hosts:\n  children:\n{children}local:\n  children:\n    hosts:\n"
    (clone / ".state/local").mkdir(parents=True, exist_ok=True)
    (clone / ".state/local/hosts.yml").write_text(text)


def test_the_addresses_are_written_and_can_be_read_back(clone: Path) -> None:
    write_hosts(clone)
    before = yaml.safe_load((clone / ".state/local/hosts.yml").read_text())
    templates = "[env.j2, ssh_config.j2, hosts.yml.j2]"
    (clone / "playbooks/write.yml").write_text(
        f"""---
- hosts: control
  tasks:
    - ansible.builtin.template:
        src: "templates/{{{{ item }}}}"
        dest: "{{{{ retailflow_state_dir }}}}/{{{{ item }}}}"
        mode: "0600"
      loop: {templates}
"""
    )
    done = play(clone, "-i", ".state/local/hosts.yml", "playbooks/write.yml")
    assert done.returncode == 0, done.stdout + done.stderr
    state = clone / ".state/local"
    assert yaml.safe_load((state / "hosts.yml.j2").read_text()) == before
    ssh = (state / "ssh_config.j2").read_text()
    assert ssh.count("\nHost ec2-") == 4 and f'IdentityFile "{clone}/.secrets/local/id_ed25519"' in ssh
    assert "POSTGRES_PRIVATE_IP=10.86.1.11\n" in (state / "env.j2").read_text()


@pytest.mark.parametrize("docker", ["dead", "hung"])
def test_the_status_of_a_site_of_which_nothing_answers_comes_in_time(
    clone: Path, silence: int, docker: str
) -> None:
    """Every host, the warehouse and the API hang, or are dead: each is named, and nothing is waited for without an end."""
    state = clone / ".state/local"
    state.mkdir(parents=True, exist_ok=True)
    (clone / ".secrets/local").mkdir(parents=True)
    (clone / ".secrets/local/id_ed25519").write_text("x")
    (clone / ".secrets/local/id_ed25519.pub").write_text("ssh-ed25519 AAAA")
    (state / "outputs.json").write_text('{"subnet_id": "s", "security_group_ids": {"lambda": "sg-1"}}')
    write_hosts(clone)
    ps = r"printf 'retailflow-aws\tDead\n'"
    stop = "echo 'the container is not running' >&2; exit 1"
    if docker == "hung":
        ps = stop = "exec sleep 100"
    clones.program(
        clone / "bin/docker",
        f"case $1 in exec) {stop} ;; ps) {ps} ;; esac",
    )
    local = clone / "inventory/group_vars/local/main.yml"
    text = local.read_text()
    local.write_text(
        re.sub(r"(  (?:aws|snowflake)): \d+", rf"\1: {silence if docker == 'hung' else 9}", text)
    )
    conducted = ["-e", "retailflow_container_backend=ecs"] if docker == "dead" else []
    done = play(clone, "-i", ".state/local/hosts.yml", "playbooks/status.yml", *conducted)
    assert done.returncode == 0, done.stdout + done.stderr
    told = (state / "status.txt").read_text()
    assert told.startswith("NOT WELL: "), told
    for part in (
        "Docker on this machine: does not answer"
        if docker == "hung"
        else "emulator retailflow-aws: does not run",
        "AWS API (emulated): does not answer",
        *(
            f"host retailflow-{role.replace('_', '-')}: "
            + ("cannot be logged in to" if docker == "hung" else "is missing")
            for role in HOST_ROLES
        ),
        "warehouse: cannot be read",
        *(["ECS: cannot be asked"] if conducted else []),
    ):
        assert f"  - {part}" in told, told


def test_a_restore_of_another_version_names_the_steps(clone: Path) -> None:
    write_hosts(clone)
    (clone / "playbooks/tasks/hosts_known.yml").write_text("[]\n")  # it asks the API
    (clone / "roles").unlink()
    (clone / "roles/backup/tasks").mkdir(parents=True)
    plan = {"name": "20261128T023000Z", "version": "14.9 (Debian)", "cluster": "7001"}
    tasks = [{"name": "Plan", "ansible.builtin.set_fact": {"backup_plan": plan}}]
    (clone / "roles/backup/tasks/plan.yml").write_text(json.dumps(tasks))
    here = '{"ansible_connection": "local", "ansible_become": false, "retailflow_restore_at": "2026-11-28T12:00"}'
    done = play(clone, "-i", ".state/local/hosts.yml", "playbooks/restore.yml", "-e", here)
    assert done.returncode == 2, done.stdout + done.stderr
    said = " ".join((done.stdout + done.stderr).split())
    assert (
        f"Nothing was changed. The base backup 20261128T023000Z is of PostgreSQL 14.9 (Debian), the inventory names {VERSION},"
        in said
    )
    assert '1. Set postgres: "14" under versions in inventory/group_vars/all/versions.yml.' in said
    assert "2. make restore AT=2026-11-28T12:00 CLUSTER=7001" in said


def test_a_check_of_an_upgrade_of_postgresql_tells_and_changes_nothing(clone: Path) -> None:
    write_hosts(clone)
    for name, content in (("tasks/hosts_known.yml", "[]\n"), ("cloud.yml", "[{hosts: control}]\n")):
        (clone / "playbooks" / name).write_text(content)  # they ask the API
    (clone / "playbooks/tasks/certificates.yml").write_text("[]\n")  # this site has none, and would get one
    (clone / "data/data/pgdata").mkdir(parents=True)
    (clone / "data/data/pgdata/PG_VERSION").write_text("15\n")
    clones.program(clone / "bin/docker", f'echo "$*" >> {clone}/asked; echo image:15')
    here = json.dumps(
        {
            "ansible_connection": "local",
            "ansible_become": False,
            "retailflow_postgres_dir": f"{clone}/data",
            "postgres_container_image": "image:17",
        }
    )
    done = play(
        clone, "-i", ".state/local/hosts.yml", "playbooks/upgrade_postgres.yml", "--check", "-e", here
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"PostgreSQL 15 is upgraded to {VERSION}: about " in " ".join(done.stdout.split())
    assert set(re.findall(r"changed=(\d+)", done.stdout)) == {"0"}
    assert all(line.startswith("ps ") for line in (clone / "asked").read_text().splitlines())
    assert [str(one.relative_to(clone / "data")) for one in (clone / "data").rglob("*") if one.is_file()] == [
        "data/pgdata/PG_VERSION"
    ]


def test_a_restore_of_an_earlier_version_keeps_the_newer_data(clone: Path) -> None:
    """With the role postgres itself; the rest of the site, and the engine, are stand-ins."""
    write_hosts(clone)
    (clone / "playbooks/tasks/hosts_known.yml").write_text("[]\n")
    for name in ("stop_writers", "configure", "wire", "refresh"):
        (clone / f"playbooks/{name}.yml").write_text("[{hosts: control}]\n")
    (clone / "roles").unlink()
    (clone / "roles").mkdir()
    for role in ("postgres", "certificates"):
        (clone / "roles" / role).symlink_to(ROOT / "roles" / role)
    plan = {"name": "b", "version": "15.18", "cluster": "7001", "bytes": 5, "segments": 2, "at": "2026-11-28"}
    rows = [[{"present": 5, "last_order_id": 9}]]
    fetch = (
        'mkdir -p "{{ backup_target_dir }}/pgdata" && echo 15 > "{{ backup_target_dir }}/pgdata/PG_VERSION"'
    )
    for path, task in {
        "backup/tasks/plan": {"set_fact": {"backup_plan": plan}},
        "backup/tasks/fetch": {"shell": fetch},
        "backup/tasks/now": {"debug": {}},
        "backup/tasks/main": {"shell": "echo >> {{ retailflow_postgres_dir }}/programs"},
        "snowflake/tasks/query": {"set_fact": {"snowflake_rows": rows}},
        "container-service/tasks/main": {
            "shell": "echo {{ container_service_image }} > {{ postgres_data_dir }}/image"
        },
        "container-service/tasks/stop": {"debug": {}},
        "local-cloud/tasks/main": {"shell": "echo >> {{ retailflow_postgres_dir }}/images"},
    }.items():
        (clone / f"roles/{path}.yml").parent.mkdir(parents=True, exist_ok=True)
        (clone / f"roles/{path}.yml").write_text(json.dumps([task]))
    (clone / "data/data/pgdata").mkdir(parents=True)
    (clone / "data/data/pgdata/PG_VERSION").write_text("17\n")
    clones.program(clone / "bin/docker", "echo image:17")
    clones.program(clone / "bin/pg_isready", "exit 0")
    clones.program(clone / "bin/psql", "echo true")
    here = {
        "ansible_connection": "local",
        "ansible_become": False,
        "retailflow_postgres_dir": f"{clone}/data",
        "retailflow_db_user_id": os.geteuid(),
        "postgres_version": "15",
        "postgres_container_image": "image:15",
        "postgres_former_superuser": "",  # the stand-in of psql is no server
        "retailflow_restore_at": "2026-11-28T12:00",
    }
    done = play(clone, "-i", ".state/local/hosts.yml", "playbooks/restore.yml", "-e", json.dumps(here))
    assert done.returncode == 0, done.stdout + done.stderr
    versions = {path.parts[-3]: path.read_text() for path in (clone / "data").rglob("PG_VERSION")}
    assert versions == {"data": "15\n", "old-17": "17\n"}
    assert (clone / "data/image").read_text() == "image:15\n" and (clone / "data/programs").exists()
    assert (clone / "data/images").exists()
    assert f"Old data are in {clone}/data/old-17." in " ".join(done.stdout.split())


# Given on the command line by the Makefile, or by who upgrades.
GIVEN = {
    "retailflow_backfill",
    "retailflow_policy_account",
    "retailflow_refresh_streams",
    "retailflow_restore_at",
    "retailflow_restore_cluster",
    "retailflow_rotate",
    "retailflow_upgrade_anyway",
    "retailflow_upgrade_to",
}


def test_every_variable_of_the_site_that_a_play_or_the_inventory_reads_is_set_somewhere() -> None:
    files = [
        path
        for folder in ("playbooks", "inventory")
        for pattern in ("*.yml", "*.j2")
        for path in (ROOT / folder).rglob(pattern)
    ]
    texts = {path: path.read_text(encoding="utf-8") for path in files}
    known = set(GIVEN)
    for text in texts.values():
        known |= set(re.findall(r"^[\s-]*(retailflow_\w+):", text, re.MULTILINE))
        known |= set(re.findall(r"\bregister: (retailflow_\w+)", text))
    for path, text in texts.items():
        read = {
            name
            for expression in re.findall(r"\{\{.*?\}\}|^\s*(?:when|that|until): .*", text, re.MULTILINE)
            for name in re.findall(r"(?<![\w/.'-])retailflow_\w+", expression)
        }
        assert read <= known, f"{path.relative_to(ROOT)}: {sorted(read - known)}"
