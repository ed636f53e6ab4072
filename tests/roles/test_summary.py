"""What `make up` and `make run` print last says that figures are the same where they are, and else why they are not."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import jinja2
import pytest

TEMPLATE = Path(__file__).parents[2] / "playbooks/templates/summary.txt.j2"
NAMES = ("sync", "dbt_start", "dbt_run", "reconcile", "row_to_mart")


def summary(source: tuple[int, str], mart: tuple[int, str], card: str) -> list[str]:
    """The lines about rows, as Ansible writes them."""
    environment = jinja2.Environment(trim_blocks=True, undefined=jinja2.StrictUndefined)
    environment.filters["format"] = lambda text, *values: text % values
    text = environment.from_string(TEMPLATE.read_text()).render(
        retailflow_places={},
        source={"orders": source[0], "net": source[1]},
        retailflow_warehouse={
            "raw_orders": str(mart[0]),
            "raw_net": mart[1],
            "mart_orders": str(mart[0]),
            "mart_net": mart[1],
        },
        card_net=card,
        seconds=dict.fromkeys(NAMES, 1.0),
        run=SimpleNamespace(seconds=1.0),
        retailflow_urls=dict.fromkeys(("dagster", "dbt_docs", "airbyte", "dashboards"), "https://x"),
        retailflow_name="shop",
        retailflow_secrets_dir="/s",
        hostvars={"m": {"metabase_admin_email": "a@shop.example"}},
        groups={"metabase": ["m"]},
    )
    lines = text[text.index("Rows") :].partition("\n\n")[0].splitlines()
    assert [line.split()[0] for line in lines[:5]] == [
        "Rows,"[: len(lines[0].split()[0])],
        "PostgreSQL",
        "RAW",
        "mart",
        "dashboard",
    ]
    return lines


def test_what_is_the_same_is_said_to_be() -> None:
    lines = summary((52698, "10.50"), (52698, "10.50"), "10.50")
    assert lines[0] == "Rows, all the same to the cent     orders        net revenue"
    assert len(lines) == 5


@pytest.mark.parametrize(
    ("source", "mart", "card", "said"),
    [
        ((52698, "10.50"), (52699, "11.50"), "11.50", ["since the sync: 1 order, "]),
        ((52699, "11.50"), (52699, "11.50"), "12.50", ["on two sides of a later cycle"]),
        (
            (9, "1.00"),
            (11, "3.00"),
            "4.00",
            ["since the sync: 2 orders, ", "on two sides of a later cycle"],
        ),
    ],
)
def test_what_differs_is_said_with_its_reason(
    source: tuple[int, str], mart: tuple[int, str], card: str, said: list[str]
) -> None:
    lines = summary(source, mart, card)
    assert lines[0] == "Rows                               orders        net revenue"
    assert len(lines) == 5 + len(said)
    for line, words in zip(lines[5:], said, strict=True):
        assert words in line
