"""Lets tests import modules and filters of roles and playbooks by name, with what they share in module_utils."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import ansible.module_utils
from hypothesis import HealthCheck, settings

# A machine that is busy with other tests makes no input wrong.
settings.register_profile("shared", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("shared")

_ROOT = Path(__file__).parent
# Plays of tests on this machine write below the home directory otherwise.
os.environ["ANSIBLE_HOME"] = str(_ROOT / ".cache/ansible")
os.environ["ANSIBLE_REMOTE_TMP"] = f"{os.environ['ANSIBLE_HOME']}/tmp"
sys.path[:0] = [
    str(one)
    for kind in ("library", "filter_plugins", "files")
    for one in sorted(_ROOT.glob(f"roles/*/{kind}"))
]
ansible.module_utils.__path__.extend(
    map(str, [_ROOT / "module_utils", *sorted(_ROOT.glob("roles/*/module_utils"))])
)
