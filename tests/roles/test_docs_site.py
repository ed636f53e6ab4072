"""What tools/docs_site.py adds to the pages, and what it refuses; the build itself is a check of the stage lint."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

import docs_reference
import docs_site
import role_docs

ROOT = Path(__file__).parents[2]


def test_every_page_has_a_place_in_the_index() -> None:
    placed = {name.split("<")[-1].rstrip(">") for names in docs_site.INDEX.values() for name in names}
    pages = {
        str(path.relative_to(ROOT).with_suffix("")) for path in docs_site.sources() if path.suffix == ".md"
    }
    assert {name for name in placed if not name.startswith("reference/")} == {
        page for page in pages if not page.startswith("roles/")
    }


def test_what_a_page_links_to_is_there_as_well() -> None:
    linked = {str(path.relative_to(ROOT)) for path in docs_site.sources() if path.suffix != ".md"}
    assert {
        "LICENSE",
        "docs/images/net-revenue.png",
        "roles/metabase/files/content/net_revenue.yml",
    } <= linked


def test_every_command_of_make_help_is_listed() -> None:
    page = docs_reference.commands()
    described = re.findall(r"^([a-z][a-z0-9-]*):.*## ", (ROOT / "Makefile").read_text(), re.M)
    assert len(described) > 20
    assert [name for name in described if f"| `make {name}` |" not in page] == []


def test_every_flow_is_listed() -> None:
    page = docs_reference.flows()
    network = yaml.safe_load((ROOT / "inventory/group_vars/all/network.yml").read_text())
    for flow in network["network_flows"]:
        assert f"| `{flow['from']}` | `{flow['to']}` | {flow['port']} | {flow['why']} |" in page


def test_every_variable_is_listed_once() -> None:
    page = docs_reference.variables()
    for role in role_docs.ROLES.glob("*/defaults/main.yml"):
        for name in yaml.safe_load(role.read_text()) or {}:
            assert page.count(f"[`{name}`]") == 1


def test_every_alert_is_listed_with_its_text() -> None:
    alerts = list(docs_reference.alerts())
    assert {event for event, _ in alerts} == {"run_failed", "backup_failed", "backup_healed"}
    assert ("backup_healed", "PostgreSQL's log is stored again; it was not since ….") in alerts
    assert ("run_failed", "RetailFlow: run … of … failed. …") in alerts


@pytest.mark.parametrize(
    ("html", "problem"),
    [
        ('<a href="b.html#there">', ""),
        ('<a href="#here">', ""),
        ('<a href="https://example.com/x">', ""),
        ('<link rel="canonical" href="https://example.com/">', ""),
        ('<a href="c.html">', "a.html: c.html leads nowhere"),
        ('<a href="b.html#gone">', "a.html: b.html#gone leads nowhere"),
        ('<a href="#gone">', "a.html: #gone leads nowhere"),
        ('<img alt="" src="gone.png">', "a.html: gone.png leads nowhere"),
        (
            '<script async src="https://example.com/x.js"></script>',
            "a.html: fetches https://example.com/x.js",
        ),
        ('<link rel="stylesheet" href="//example.com/x.css">', "a.html: fetches //example.com/x.css"),
        (
            "<style>@font-face {src: url(https://example.com/f)}</style>",
            "a.html: fetches https://example.com/f",
        ),
    ],
)
def test_a_page_that_leads_nowhere_or_fetches_from_elsewhere_is_named(
    tmp_path: Path, html: str, problem: str
) -> None:
    (tmp_path / "a.html").write_text(f'<p id="here">{html}')
    (tmp_path / "b.html").write_text('<p id="there">')
    assert [*docs_site.leads_nowhere(tmp_path), *docs_site.fetched_elsewhere(tmp_path)] == [problem] * bool(
        problem
    )
