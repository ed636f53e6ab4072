"""Modules import what they share from ansible.module_utils, where Ansible gathers the folders of that name."""

from __future__ import annotations

from pathlib import Path

import ansible.module_utils

ROOT = Path(__file__).parents[2]

ansible.module_utils.__path__ += [
    str(ROOT / "module_utils"),
    *(str(path) for path in sorted((ROOT / "roles").glob("*/module_utils"))),
]
