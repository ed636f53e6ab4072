"""Role interfaces: what ansible-lint does not see in hyphenated roles, and what a typing error would break silently."""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

import role_docs

ROOT = Path(__file__).parents[2]
ROLES = {path.name: path for path in sorted((ROOT / "roles").iterdir()) if path.is_dir()}
PACKAGES = {path.name for path in ROOT.glob("*/src/*") if path.is_dir()}
YAML_FOLDERS = ("tasks", "handlers", "defaults", "vars")


@functools.cache  # the same files are asked for again and again; nobody changes what they hold
def load(path: Path) -> Any:
    return yaml.safe_load(path.read_text(encoding="utf-8")) if path.exists() else None


def prefix(role: str) -> str:
    return role.replace("-", "_") + "_"


def defaults(role: str) -> dict[str, Any]:
    return load(ROLES[role] / "defaults/main.yml") or {}


def specs(role: str) -> dict[str, Any]:
    found = load(ROLES[role] / "meta/argument_specs.yml")
    assert found, f"roles/{role}/meta/argument_specs.yml is missing"
    return dict(found["argument_specs"])


def options(role: str) -> dict[str, Any]:
    found = load(ROLES[role] / "meta/argument_specs.yml") or {"argument_specs": {}}
    entries = found["argument_specs"].values()
    return {name: option for entry in entries for name, option in entry.get("options", {}).items()}


def yaml_files(role: str) -> list[Path]:
    return [path for folder in YAML_FOLDERS for path in sorted((ROLES[role] / folder).glob("**/*.yml"))]


def tasks(node: Any) -> Iterator[dict[str, Any]]:
    """Yield every task of a task file or playbook, also those in blocks."""
    if isinstance(node, list):
        for one in node:
            yield from tasks(one)
    elif isinstance(node, dict):
        yield node
        for key in ("block", "rescue", "always", "tasks", "pre_tasks", "post_tasks", "handlers"):
            yield from tasks(node.get(key))


def expressions(path: Path) -> str:
    """Return a file without comments and without the keys that it sets."""
    lines = [re.sub(r"(^|\s)#.*", "", line) for line in path.read_text(encoding="utf-8").splitlines()]
    return "\n".join(re.sub(r"^(\s*(?:- )?)[A-Za-z_]\w*:(?=\s|$)", r"\1", line) for line in lines)


each_role = pytest.mark.parametrize("role", ROLES)


@each_role
def test_defaults_and_specs_agree_in_keys_and_values(role: str) -> None:
    assert sorted(defaults(role)) == sorted(options(role))
    for entry, spec in specs(role).items():
        for name, option in spec.get("options", {}).items():
            assert "default" in option, f"{entry}: {name} has no default in the spec"
            given, specified = (
                json.dumps(value, sort_keys=True) for value in (defaults(role)[name], option["default"])
            )
            assert given == specified, f"{entry}: {name}"


@each_role
def test_every_option_is_typed_and_described(role: str) -> None:
    def check(name: str, option: dict[str, Any]) -> None:
        assert option.get("type") and option.get("description"), name
        if option["type"] == "list":
            assert option.get("elements"), f"{name} lacks elements"
        for sub, inner in option.get("options", {}).items():
            check(f"{name}.{sub}", inner)

    for entry, spec in specs(role).items():
        assert spec.get("short_description"), entry
        for name, option in spec.get("options", {}).items():
            check(name, option)


@each_role
def test_names_carry_the_prefix_of_the_role(role: str) -> None:
    for name in defaults(role):
        assert name.startswith(prefix(role)), name
    internal = "__" + prefix(role)
    readme = (ROLES[role] / "README.md").read_text(encoding="utf-8")
    for path in (ROLES[role] / "vars").glob("*.yml"):
        for name in load(path) or {}:
            assert name.startswith(internal), f"{path.name}: {name}"
    for path in yaml_files(role):
        if path.parent.name not in ("tasks", "handlers"):
            continue
        for task in tasks(load(path)):
            names = [task["register"]] if "register" in task else []
            names += [key for key in task.get("ansible.builtin.set_fact") or {} if key != "cacheable"]
            for name in names:
                result = name.startswith(prefix(role)) and f"`{name}`" in readme
                assert name.startswith(internal) or result, (
                    f"{path.name}: {name} is neither internal nor a documented result"
                )


@each_role
def test_task_names_are_prefixed_by_their_file(role: str) -> None:
    for path in sorted((ROLES[role] / "tasks").glob("*.yml")):
        for task in tasks(load(path)):
            head = path.stem.replace("_", " ").capitalize() + " | "
            assert task.get("name", "").startswith(head), f"{path.name}: {task.get('name')!r} lacks {head!r}"


@each_role
def test_every_entry_has_its_task_file(role: str) -> None:
    for entry in specs(role):
        assert (ROLES[role] / f"tasks/{entry}.yml").exists(), entry


@each_role
def test_metadata_and_readme_are_whole(role: str) -> None:
    info = load(ROLES[role] / "meta/main.yml")["galaxy_info"]
    assert info["role_name"] == role.replace("-", "_")
    assert (info["author"], info["license"], info["min_ansible_version"]) == (
        "RetailFlow",
        "Apache-2.0",
        "2.17",
    )
    assert {"name": "Debian", "versions": ["bookworm"]} in info["platforms"]
    readme = (ROLES[role] / "README.md").read_text(encoding="utf-8")
    assert readme.startswith(f"# {role}\n")
    for heading in ("## Variables", "## Idempotence", "## Files it owns", "## Removal"):
        assert f"\n{heading}\n" in readme, heading


@each_role
def test_readme_tables_are_fresh(role: str) -> None:
    readme = ROLES[role] / "README.md"
    assert role_docs.rendered(ROLES[role]) == readme.read_text(encoding="utf-8"), (
        "run tools/role_docs.py --write"
    )


@each_role
def test_a_role_reads_only_its_own_variables(role: str) -> None:
    foreign = {name for other in ROLES if other != role for name in options(other)}
    for path in [*yaml_files(role), *(ROLES[role] / "templates").glob("**/*")]:
        if path.is_dir():
            continue
        words = set(re.findall(r"\b[a-z_]\w*", expressions(path)))
        assert not words & foreign, path
        shared = {word for word in words - PACKAGES if word.startswith(("retailflow_", "local_cloud_"))}
        assert not {word for word in shared if not word.startswith(prefix(role))}, path
        assert not words & {"groups", "group_names"}, path


def included(path: Path) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Yield role, entry and passed variables of every role that a file includes."""
    for task in tasks(load(path)):
        for action in ("ansible.builtin.include_role", "ansible.builtin.import_role"):
            if action in task and "{{" not in str(task[action]):
                yield task[action]["name"], task[action].get("tasks_from", "main"), task.get("vars") or {}


def test_included_roles_get_only_variables_that_they_know() -> None:
    paths = [path for role in ROLES for path in (ROLES[role] / "tasks").glob("*.yml")]
    paths += [*(ROOT / "playbooks").glob("**/*.yml"), *(ROOT / "molecule").glob("*/*.yml")]
    checked = 0
    for path in paths:
        for role, entry, variables in included(path):
            assert entry.removesuffix(".yml") in specs(role), (
                f"{path}: {role} has no spec for the entry {entry}"
            )
            for name in variables:
                if name.startswith(prefix(role)):
                    assert name in options(role), f"{path}: {role} knows no {name}"
                    checked += 1
    assert checked > 0


def inventory_variables() -> Iterator[tuple[Path, str]]:
    for path in sorted((ROOT / "inventory").glob("*_vars/**/*.yml")):
        for name in load(path) or {}:
            yield path, name
    for path in sorted((ROOT / "molecule").glob("*/molecule.yml")):
        inventory = ((load(path) or {}).get("provisioner") or {}).get("inventory") or {}
        for variables in (inventory.get("group_vars") or {}).values():
            for name in variables:
                yield path, name


def test_every_role_variable_of_the_inventories_exists() -> None:
    checked = 0
    for path, name in inventory_variables():
        owners = [role for role in ROLES if name.startswith(prefix(role))]
        if owners:
            checked += 1
            assert any(name in options(role) for role in owners), f"{path}: no role knows {name}"
    assert checked > 0


def test_every_scenario_of_molecule_is_run() -> None:
    (listed,) = re.findall(r"for name in ([\w -]+); do\n\s+if mkdir", (ROOT / "tools/test").read_text())
    assert sorted(listed.split()) == sorted(
        path.parent.name for path in (ROOT / "molecule").glob("*/molecule.yml")
    )
