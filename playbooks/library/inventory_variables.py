"""Ansible module: find variables of the inventory that nothing reads, before anything changes."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from pathlib import Path

import yaml
from ansible.module_utils.basic import AnsibleModule

DOCUMENTATION = r"""
---
module: inventory_variables
short_description: Refuse misspelt variables of the inventory
description:
  - A variable that begins like a role's must be in that role's argument specification. One that begins with a
    prefix of the site must be in the inventory that the project ships. A misspelt variable would otherwise leave
    the default in place without a word.
options:
  given: {description: Names of all variables of all hosts., type: list, elements: str, required: true}
  roles: {description: Folder of the roles., type: path, required: true}
  inventory: {description: Folder of the inventory with its group_vars., type: path, required: true}
  prefixes: {description: What the site's own variables begin with., type: list, elements: str, required: true}
  own:
    description: Names of files and folders that only the operator has; they may not declare names.
    type: list
    elements: str
    default: []
author: RetailFlow
attributes:
  check_mode: {support: full, description: It only looks.}
  diff_mode: {support: none, description: There is no diff.}
"""

EXAMPLES = r"""
- name: See that every variable is known
  inventory_variables:
    given: "{{ groups['all'] | map('extract', hostvars) | map('list') | flatten | unique }}"
    roles: roles
    inventory: inventory
    prefixes: [retailflow_]
    own: [site.yml]
"""

RETURN = r"""
unknown: {description: The variables that nothing reads., type: list, returned: always}
"""


def role_variables(roles: Path) -> dict[str, set[str]]:
    """Return what each role takes, by the prefix of its variables, from the argument specifications."""
    found = {}
    for path in sorted(roles.glob("*/meta/argument_specs.yml")):
        specs = yaml.safe_load(path.read_text(encoding="utf-8"))["argument_specs"]
        prefix = path.parts[-3].replace("-", "_") + "_"
        found[prefix] = {name for spec in specs.values() for name in spec.get("options") or {}}
    return found


def site_variables(inventory: Path, own: Iterable[str]) -> set[str]:
    """Return the names that group_vars and inventory plugins declare, but for the files and folders of the operator."""
    names: set[str] = set()
    for path in sorted(inventory.rglob("*.yml")):
        if not {path.name, path.parent.name} & set(own):
            content = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
            names |= set(content.get("compose", {}) if "plugin" in content else content)
    return names


def find_unknown(
    given: Iterable[str], roles: dict[str, set[str]], site: set[str], prefixes: Iterable[str]
) -> dict[str, list[str]]:
    """Return each unknown name with the known ones that it resembles most, at most two."""
    known = {**roles, **dict.fromkeys(prefixes, site)}
    unknown = {}
    for name in sorted(given):
        # The longest prefix counts: a role may be named like the beginning of another.
        prefix = max((one for one in known if name.startswith(one)), key=len, default=None)
        if prefix is not None and name not in known[prefix]:
            unknown[name] = difflib.get_close_matches(name, known[prefix], n=2)
    return unknown


def main() -> None:
    """Entry point of the module."""
    module = AnsibleModule(
        argument_spec={
            "given": {"type": "list", "elements": "str", "required": True},
            "roles": {"type": "path", "required": True},
            "inventory": {"type": "path", "required": True},
            "prefixes": {"type": "list", "elements": "str", "required": True},
            "own": {"type": "list", "elements": "str", "default": []},
        },
        supports_check_mode=True,
    )
    given = module.params
    unknown = find_unknown(
        given["given"],
        role_variables(Path(given["roles"])),
        site_variables(Path(given["inventory"]), given["own"]),
        given["prefixes"],
    )
    if unknown:
        named = "; ".join(
            name + (f" (did you mean {' or '.join(near)}?)" if near else "") for name, near in unknown.items()
        )
        module.fail_json(
            msg=f"Nothing was changed. Nothing reads these variables of the inventory: {named}.",
            unknown=list(unknown),
        )
    module.exit_json(changed=False, unknown=[])


if __name__ == "__main__":
    main()
