"""The ansible-playbook of tests: forked from a process that has imported much, and as one that starts by itself."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest

import warm_python

TASK = """
- hosts: localhost
  gather_facts: false
  tasks:
    - ansible.builtin.copy:
        content: "{{ {'forks': lookup('config', 'DEFAULT_FORKS'), 'roles': lookup('config', 'DEFAULT_ROLES_PATH'),
          'mine': lookup('env', 'MINE'), 'folder': lookup('pipe', 'pwd')} | to_json }}"
        dest: "{{ playbook_dir }}/found"
        mode: "0600"
    - ansible.builtin.assert: {that: fine | bool}
"""


@pytest.mark.parametrize(("forks", "fine"), [(3, True), (7, False)])
def test_each_play_has_its_own_settings_environment_and_folder(
    tmp_path: Path, forks: int, fine: bool
) -> None:
    (tmp_path / "ansible.cfg").write_text(f"[defaults]\nforks = {forks}\nroles_path = mine\n")
    (tmp_path / "play.yml").write_text(TASK)
    done = subprocess.run(
        [*warm_python.playbook(), "-i", "localhost,", "-c", "local", "-e", f"fine={fine}", "play.yml"],
        cwd=tmp_path,
        env={"PATH": os.environ["PATH"], "HOME": str(tmp_path), "LC_ALL": "C.UTF-8", "MINE": str(forks)},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert (done.returncode == 0) is fine, done.stdout + done.stderr
    assert "localhost" in done.stdout
    found = json.loads((tmp_path / "found").read_text())
    assert found == {
        "forks": forks,
        "roles": [str(tmp_path / "mine")],
        "mine": str(forks),
        "folder": str(tmp_path),
    }
