"""tools/machine: what it records before an engine starts is what it puts back, and nothing that others use goes."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

# A packet filter of files: a table is a file that holds what iptables-save prints of it.
FILTER = """
as_root() { "$@"; }
iptables-save() {
  if [ "${1:-}" = -t ]; then cat "$tables/$2"; else cat "$tables"/* 2>/dev/null || true; fi
}
nft() { case $1 in list) ls "$tables" | sed 's/^/table ip /' ;; delete) rm "$tables/$4" ;; esac; }
"""
EMPTY = "*{table}\n:INPUT ACCEPT [0:0]\n:FORWARD ACCEPT [0:0]\nCOMMIT\n"


@pytest.fixture
def machine(tmp_path: Path) -> Path:
    """A machine whose kernel settings, control groups and packet filter are files."""
    for folder in ("state", "cgroup/cpu", "cgroup/memory/docker", "tables"):
        (tmp_path / folder).mkdir(parents=True)
    (tmp_path / "forwarding").write_text("0\n")
    # Prints what a removal would remove, and never removes anything.
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin/apt-get").write_text('#!/bin/sh\ncat "$0.would"\n')
    (tmp_path / "bin/apt-get").chmod(0o755)
    (tmp_path / "bin/apt-get.would").write_text("Purg engine [1.0]\n")
    return tmp_path


def run(machine: Path, commands: str) -> str:
    """Run commands with the functions of tools/machine; return what they print."""
    script = f"""
source {ROOT}/tools/machine
state={machine}/state cgroups={machine}/cgroup forwarding={machine}/forwarding tables={machine}/tables
{FILTER}
{commands}
"""
    environment = {
        "PATH": f"{machine}/bin:{os.environ['PATH']}",
        "RETAILFLOW_ENVIRONMENT": str(ROOT.resolve()),
    }
    done = subprocess.run(
        ["bash", "-c", script], env=environment, cwd=machine, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_what_an_engine_changes_in_the_kernel_is_put_back(machine: Path) -> None:
    run(machine, "remember")
    (machine / "forwarding").write_text("1\n")
    for table in ("filter", "nat"):
        (machine / "tables" / table).write_text(EMPTY.format(table=table))
    for group in ("cpu/docker/abc/init.scope", "cpu/docker/def", "memory/docker/abc"):
        (machine / "cgroup" / group).mkdir(parents=True)
    run(machine, "restore")
    assert (machine / "forwarding").read_text() == "0\n"
    assert list((machine / "tables").iterdir()) == []
    assert not (machine / "cgroup/cpu/docker").exists()
    assert (machine / "cgroup/memory/docker/abc").exists(), (
        "that group was there before: it is somebody else's"
    )


def test_the_first_record_counts(machine: Path) -> None:
    run(machine, "remember")
    (machine / "forwarding").write_text("1\n")
    run(machine, "remember; restore")
    assert (machine / "forwarding").read_text() == "0\n"


def test_a_machine_that_forwarded_before_goes_on(machine: Path) -> None:
    (machine / "forwarding").write_text("1\n")
    run(machine, "remember; restore")
    assert (machine / "forwarding").read_text() == "1\n"


def test_without_a_record_nothing_is_touched(machine: Path) -> None:
    (machine / "forwarding").write_text("1\n")
    (machine / "tables/filter").write_text(EMPTY.format(table="filter"))
    run(machine, "restore")
    assert (machine / "forwarding").read_text() == "1\n" and (machine / "tables/filter").exists()


@pytest.mark.parametrize(
    "line",
    ["-A INPUT -s 192.0.2.7/32 -j DROP", ":MINE - [0:0]", ":OUTPUT DROP [0:0]"],
    ids=["a rule", "a chain", "a policy"],
)
def test_a_table_that_somebody_uses_by_now_stays(machine: Path, line: str) -> None:
    run(machine, "remember")
    text = EMPTY.format(table="filter").replace("COMMIT", f"{line}\nCOMMIT")
    (machine / "tables/filter").write_text(text)
    run(machine, "restore")
    assert (machine / "tables/filter").read_text() == text


def test_a_table_that_was_there_before_stays_though_it_is_empty(machine: Path) -> None:
    (machine / "tables/filter").write_text(EMPTY.format(table="filter"))
    run(machine, "remember; restore")
    assert (machine / "tables/filter").exists()


# --- the networks of sites ------------------------------------------------------------------------------------------------

LINKS = """
ip() {
  case $* in
    "-o link show type bridge") printf '%s\\n' '3: retailflow: <UP>' '4: rf-staging: <UP>' '5: br-1: <UP>' '6: rf: <UP>' ;;
    "link show "*) grep -qx "$3" links ;;
    "link delete "*) sed -i "/^$3$/d" links ;;
  esac
}
iptables-restore() { cat > "$tables/$2"; }
printf '%s\\n' retailflow rf-staging br-1 rf > links
"""


def test_an_engine_that_was_killed_leaves_no_bridge_of_any_site(machine: Path) -> None:
    kept = ["*filter", ":FORWARD DROP [0:0]", "-A FORWARD -o br-1 -j ACCEPT", "-A FORWARD -i rf -j ACCEPT"]
    ours = [
        "-A FORWARD -o retailflow -j DOCKER",
        "-A FORWARD -i rf-staging -j ACCEPT",
        "-A POSTROUTING -s 172.18.0.2/32 -d 172.18.0.2/32 -p tcp -j MASQUERADE",
    ]
    other = "-A POSTROUTING -s 172.18.0.0/16 -d 10.0.0.0/8 -p tcp -j MASQUERADE"
    for table in ("filter", "nat"):
        (machine / "tables" / table).write_text("\n".join([*kept, *ours, other, "COMMIT"]) + "\n")
    run(machine, LINKS + "forget_bridges")
    assert (machine / "links").read_text() == "br-1\nrf\n"
    for table in ("filter", "nat"):
        assert (machine / "tables" / table).read_text() == "\n".join([*kept, other, "COMMIT"]) + "\n"


BASES = """
root={machine} cache={machine}/cache
docker() {{
  case $* in
    "image ls "*"reference=*/rootfs:latest "*) sed -n 's/^\\(.*rootfs\\):latest$/id-of-\\1/p' images ;;
    "image ls "*) ! grep -qxF "${{5#reference=}}" images || echo id ;;
    "tag "*) echo "tagged $2 $3" ;;
  esac
}}
"""


@pytest.mark.parametrize(
    ("there", "told"),
    [
        ("retailflow/rootfs:latest\n", "tagged id-of-retailflow/rootfs staging-retailflow/rootfs:latest\n"),
        ("retailflow/rootfs:latest\nstaging-retailflow/rootfs:latest\n", ""),
    ],
)
def test_a_second_site_is_built_on_the_base_of_the_first(machine: Path, there: str, told: str) -> None:
    """So its images are the same, and none is built twice."""
    (machine / ".venv/bin").mkdir(parents=True)
    python = machine / ".venv/bin/python"
    python.write_text("#!/bin/sh\necho staging-retailflow\n")
    python.chmod(0o755)
    (machine / "images").write_text(there)
    assert run(machine, BASES.format(machine=machine) + "rootfs") == told


# Accounts of a machine that installed `engine`, which made the user `_engine` and the groups `engine` and `_engine`.
ACCOUNTS = """
getent() { grep "^$2:" "$1"; }
userdel() { sed -i "/^$1:/d" passwd; }
groupdel() { sed -i "/^$1:/d" group; }
printf '%s\\n' engine > "$state/packages"
printf '%s\\n' _engine > "$state/users"
printf '%s\\n' engine _engine > "$state/groups"
printf '%s\\n' root:x:0:0:: _engine:x:101:: > passwd
"""


def test_groups_and_users_of_the_packages_go_with_them(machine: Path) -> None:
    run(machine, ACCOUNTS + "printf '%s\\n' root:x:0: engine:x:105: _engine:x:106: > group; remove_packages")
    assert (machine / "group").read_text() == "root:x:0:\n"
    assert (machine / "passwd").read_text() == "root:x:0:0::\n"


def test_a_group_that_people_have_joined_stays(machine: Path) -> None:
    said = run(machine, ACCOUNTS + "printf '%s\\n' engine:x:105:ada _engine:x:106: > group; remove_packages")
    assert (machine / "group").read_text() == "engine:x:105:ada\n"
    assert "The group engine has members and stays" in said


def test_packages_that_others_need_by_now_stay(machine: Path) -> None:
    (machine / "bin/apt-get.would").write_text("Purg firewall [2.1]\nPurg engine [1.0]\n")
    said = run(machine, ACCOUNTS + "printf '%s\\n' engine:x:105: > group; remove_packages")
    assert "Other packages need some of those that were installed here" in said and "firewall" in said
    assert (machine / "group").read_text() == "engine:x:105:\n"
