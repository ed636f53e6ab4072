"""Ansible lookup: a variable that group_vars give to a whole target, where the inventory itself is still being read.

A dynamic inventory is asked before there are any variables, so what it shares with the playbooks (region, name, ports) would
have to be written a second time.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ansible.errors import AnsibleLookupError
from ansible.plugins.lookup import LookupBase
from ansible.utils.vars import load_extra_vars

DOCUMENTATION = r"""
---
name: site_variable
short_description: Read a variable of a target from group_vars
description:
  - Reads C(inventory/group_vars/all), then C(inventory/group_vars/TARGET), each in the order of the file names, then what
    the command line says with C(-e). The last one counts, as in a playbook.
  - The value must be written out. One that is a template is refused, for there is nothing yet to fill it in with.
options:
  _terms: {description: Names of variables., required: true}
  target: {description: The target whose values count., type: str, required: true}
author: RetailFlow
"""

EXAMPLES = r"""
regions: ["{{ lookup('site_variable', 'retailflow_region', target='aws') }}"]
"""

RETURN = r"""
_raw: {description: The values., type: list}
"""

GROUP_VARS = Path(__file__).parents[2] / "inventory/group_vars"
ENDINGS = (".yml", ".yaml", ".json", "")  # those that Ansible reads in group_vars


def has_template(value: Any) -> bool:
    """Whether there is a template anywhere in a value."""
    if isinstance(value, dict):
        return any(has_template(one) for one in value.values())
    if isinstance(value, list):
        return any(has_template(one) for one in value)
    return isinstance(value, str) and ("{{" in value or "{%" in value)


class LookupModule(LookupBase):
    """Entry point of the lookup."""

    def run(self, terms: list[str], variables: dict[str, Any] | None = None, **options: Any) -> list[Any]:
        """Return the values in the order of the names; AnsibleLookupError for one that is missing or a template."""
        self.set_options(var_options=variables, direct=options)
        known: dict[str, Any] = {}
        for group in ("all", self.get_option("target")):
            for path in sorted((GROUP_VARS / group).rglob("*")):
                if path.is_file() and path.suffix in ENDINGS and not path.name.startswith("."):
                    # Without the cache, whose entries the playbooks would then take and not fill in.
                    known |= self._loader.load_from_file(str(path), cache="none") or {}
        known |= load_extra_vars(self._loader)
        for name in terms:
            if name not in known:
                raise AnsibleLookupError(
                    f"inventory/group_vars of the target {options['target']} do not set {name}."
                )
            if has_template(known[name]):
                raise AnsibleLookupError(
                    f"The inventory needs {name} before there are variables, and its value is a template: {known[name]}. "
                    "Write the value out."
                )
        return [known[name] for name in terms]
