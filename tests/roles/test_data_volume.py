"""The role data-volume on this machine's folders: what it refuses, before anything changes. The live site shows the rest."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
import yaml

import warm_python

ROOT = Path(__file__).parents[2]
CASES = {
    "not mounted": {"data_volume_mounted": True, "data_volume_folders": ["empty"]},
    "used": {"data_volume_folders": ["used"], "data_volume_device": "device"},
    "no device": {
        "data_volume_folders": ["empty"],
        "data_volume_device": "nothing",
        "data_volume_timeout": 1,
    },
    "nothing to keep": {},
}


@pytest.fixture(scope="module")
def reasons(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """What the role says in each case, in one run."""
    folder = tmp_path_factory.mktemp("volume")
    for name in ("empty", "used"):
        (folder / name).mkdir()
    (folder / "used/rows").touch()
    (folder / "device").touch()
    tasks = []
    for case, given in CASES.items():
        paths = {
            name: [str(folder / one) for one in value]
            if isinstance(value, list)
            else str(folder / value)
            if isinstance(value, str)
            else value
            for name, value in given.items()
        }
        tasks.append(
            {
                "block": [
                    {"ansible.builtin.include_role": {"name": "data-volume"}, "vars": paths},
                    {
                        "ansible.builtin.copy": {
                            "content": "accepted",
                            "dest": f"{folder}/{case}.said",
                            "mode": "0600",
                        }
                    },
                ],
                "vars": {"failed": "{{ ansible_failed_result }}"},
                "rescue": [
                    {
                        "ansible.builtin.copy": {
                            "content": "{{ failed.results | default([failed]) | map(attribute='msg') | join }}",
                            "dest": f"{folder}/{case}.said",
                            "mode": "0600",
                        }
                    }
                ],
            }
        )
    (folder / "play.yml").write_text(
        yaml.safe_dump(
            [
                {
                    "hosts": "localhost",
                    "connection": "local",
                    "gather_facts": False,
                    "vars": {"ansible_remote_tmp": str(folder / "tmp")},
                    "tasks": tasks,
                }
            ]
        )
    )
    command = [ROOT / "tools/clean-env", *warm_python.playbook()]
    done = subprocess.run(
        [*command, "-i", "localhost,", folder / "play.yml"],
        cwd=ROOT,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert not list(folder.glob("empty/*")), "nothing was changed"
    return {case: (folder / f"{case}.said").read_text() for case in CASES}


@pytest.mark.parametrize(
    ("case", "words"),
    [
        ("not mounted", "on no volume of its own, so that it would be lost with the host"),
        ("used", "where the volume would be mounted above them"),
        ("no device", "See that the volume is attached"),
    ],
)
def test_what_would_lose_or_hide_data_is_refused(reasons: dict[str, str], case: str, words: str) -> None:
    assert words in reasons[case] and "Nothing was changed." in reasons[case]


def test_a_host_that_keeps_nothing_needs_no_volume(reasons: dict[str, str]) -> None:
    assert reasons["nothing to keep"] == "accepted"
