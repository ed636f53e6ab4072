#!/usr/bin/env python3
"""Write the monthly cost into docs/costs.md: from the hosts, the price table, and the sum that the preflight makes of them.

tools/costs.py --write     write it; without the option, print it
"""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import ansible.module_utils
import yaml

ROOT = Path(__file__).parents[1]
ansible.module_utils.__path__.append(str(ROOT / "module_utils"))  # where the preflight finds what it shares
PAGE = ROOT / "docs/costs.md"
BEGIN, END = "<!-- costs -->\n", "<!-- /costs -->\n"


def table() -> str:
    """Return the cost of the site as the inventory describes it, as lines of text."""
    spec = importlib.util.spec_from_file_location(
        "aws_preflight", ROOT / "playbooks/library/aws_preflight.py"
    )
    assert spec and spec.loader
    preflight = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = preflight  # dataclasses look their module up there
    spec.loader.exec_module(preflight)
    variables = ROOT / "inventory/group_vars"
    hosts = yaml.safe_load((variables / "all/network.yml").read_text())["network_hosts"]
    prices = yaml.safe_load((variables / "aws/prices.yml").read_text())["retailflow_prices"]
    common = yaml.safe_load((variables / "all/main.yml").read_text())
    own = common | yaml.safe_load((variables / "aws/main.yml").read_text())
    snowflake = {
        "size": own["retailflow_snowflake_warehouse_size"],
        "auto_suspend": own["retailflow_snowflake_auto_suspend"],
        "warehouses": len({one["warehouse"] for one in own["retailflow_snowflake_users"].values()}),
        "cycle_minutes": own["retailflow_cycle_minutes"],
    }
    return "\n".join(preflight.cost_lines(hosts, prices, own["retailflow_region"], snowflake)) + "\n"


def rendered() -> str:
    """Return the page with the cost between its marks."""
    head, rest = PAGE.read_text(encoding="utf-8").split(BEGIN)
    return f"{head}{BEGIN}```\n{table()}```\n{END}{rest.split(END)[1]}"


if __name__ == "__main__":
    if sys.argv[1:] == ["--write"]:
        PAGE.write_text(rendered(), encoding="utf-8")
    else:
        print(table(), end="")
