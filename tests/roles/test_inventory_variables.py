"""A misspelt variable of the inventory is found, with what was meant."""

from __future__ import annotations

from pathlib import Path

import inventory_variables as module

ROOT = Path(__file__).parents[2]

ROLES = module.role_variables(ROOT / "roles")
SITE = module.site_variables(ROOT / "inventory", ["site.yml"])


def unknown(*given: str) -> dict[str, list[str]]:
    found: dict[str, list[str]] = module.find_unknown(given, ROLES, SITE, ["retailflow_", "network_"])
    return found


def test_what_the_project_ships_is_known() -> None:
    assert unknown(*SITE) == {}
    assert "retailflow_role" in SITE, "names that the inventory plugin composes count"


def test_a_misspelt_variable_is_named_with_what_was_meant() -> None:
    assert unknown("postgres_prot")["postgres_prot"][0] == "postgres_port"
    assert unknown("retailflow_operator_cdir")["retailflow_operator_cdir"][0] == "retailflow_operator_cidr"


def test_variables_of_ansible_and_of_the_operator_are_left_alone() -> None:
    assert unknown("ansible_host", "my_own_note", "ec2_tags") == {}


def test_the_operators_own_file_declares_nothing(tmp_path: Path) -> None:
    (tmp_path / "group_vars").mkdir()
    (tmp_path / "group_vars/site.yml").write_text("retailflow_oops: 1\n")
    (tmp_path / "group_vars/main.yml").write_text("retailflow_name: x\n")
    assert module.site_variables(tmp_path, ["site.yml"]) == {"retailflow_name"}
