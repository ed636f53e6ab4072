"""What the role tls-front refuses before anything changes; what it makes is for molecule to see."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

import small_play
from tls_support import Authority

AUTHORITY = Authority()
SIGNED = AUTHORITY.sign()
GOOD: dict[str, Any] = {
    "tls_front_pages": [{"port": 3000, "backend": 13000, "login": True, "open": ["/api/"]}],
    "tls_front_names": ["pages.shop.internal"],
    "tls_front_certificate": SIGNED.certificate,
    "tls_front_private_key": SIGNED.key,
    "tls_front_authority": AUTHORITY.certificate,
    "tls_front_password": "a-long-enough-secret",
}
BAD: dict[str, tuple[dict[str, Any], str]] = {
    "no page": ({"tls_front_pages": []}, "tls_front_pages"),
    "a port twice": (
        {"tls_front_pages": [{"port": 3000, "backend": 3000}]},
        "that no other page has: 3000, 3000",
    ),
    "no certificate": ({"tls_front_certificate": ""}, "tls_front_certificate"),
    "no key": ({"tls_front_private_key": SIGNED.certificate}, "tls_front_private_key"),
    "no authority": ({"tls_front_authority": ""}, "tls_front_authority"),
    "a short password": ({"tls_front_password": "short"}, "16 characters at least"),
    "a user with a colon": ({"tls_front_user": "a:b"}, "tls_front_user"),
    "a path that ends the line": (
        {"tls_front_pages": [{"port": 1, "backend": 2, "open": ["/api/; deny all"]}]},
        "Paths of a page",
    ),
    "a name that ends the line": ({"tls_front_names": ['a" b; #']}, "tls_front_names"),
}


def preflight(given: dict[str, Any]) -> list[dict[str, Any]]:
    include = {"name": "tls-front", "tasks_from": "preflight"}
    return [{"ansible.builtin.include_role": include, "vars": {**GOOD, **given}}]


def test_bad_input_is_refused_by_name_and_good_input_is_taken(tmp_path: Path) -> None:
    """One run for all: each start of Ansible costs seconds."""
    tasks = preflight({}) + preflight(
        {"tls_front_pages": [{"port": 3000, "backend": 1}], "tls_front_password": ""}
    )
    for what, (given, words) in BAD.items():
        said = {
            "that": f"'Nothing was changed.' in told and {words!r} in told",
            "fail_msg": f"{what}: {{{{ told }}}}",
        }
        results = "ansible_failed_result.results | default([ansible_failed_result])"
        told = f"{{{{ {results} | map(attribute='msg', default='') | join(' ') }}}}"
        tasks.append(
            {
                "block": [*preflight(given), {"ansible.builtin.set_fact": {"taken": what}}],
                "rescue": [{"ansible.builtin.assert": said, "vars": {"told": told}}],
            }
        )
    tasks.append(
        {"ansible.builtin.assert": {"that": "taken is not defined", "fail_msg": "{{ taken | default('') }}"}}
    )
    small_play.run(tmp_path, tasks)


@pytest.mark.parametrize("name", ["airbyte", "dagster_dbt", "metabase"])
def test_no_service_with_a_front_is_reached_past_it(name: str) -> None:
    """It listens on the loopback alone, at a port that is no flow's."""
    root = Path(__file__).parents[2] / "inventory/group_vars"
    given = yaml.safe_load((root / name / "main.yml").read_text())
    flows = yaml.safe_load((root / "all/network.yml").read_text())["network_flows"]
    prefix = {"airbyte": "airbyte_bash_installer", "dagster_dbt": "dagster_dbt_container"}.get(name, name)
    assert given[f"{prefix}_address"] == "127.0.0.1"
    assert given[f"{prefix}_port"] not in {flow["port"] for flow in flows}
