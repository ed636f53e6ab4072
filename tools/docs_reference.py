"""The pages of reference that tools/docs_site.py adds: commands, flows, alerts, variables, each from what the site reads."""

from __future__ import annotations

import ast
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import yaml

import role_docs

ROOT = Path(__file__).resolve().parents[1]
#: Where messages to the address for alerts are written.
ALERTS = ("dagster/src/retailflow_dagster/lib", "roles/backup/files/postgres_backup")
#: Characters of a default that a table shows.
ENOUGH = 60


def table(head: list[str], rows: list[list[str]]) -> str:
    """A table in Markdown."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines) + "\n"


def cell(text: object) -> str:
    """A text that no sign of Markdown changes inside a table."""
    return re.sub(r"([|\\`*_<>\[\]])", r"\\\1", " ".join(str(text).split()))


def targets() -> list[tuple[str, str]]:
    """Each command of `make help`, and what it is for."""
    command = ["make", "--no-print-directory", "help"]
    shown = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout
    return re.findall(r"^ +(make [a-z0-9-]+) +(.*)$", shown, re.M)


def commands() -> str:
    """The page of commands."""
    rows = [[f"`{name}`", cell(what)] for name, what in targets()]
    return f"""# Commands

What `make help` lists. What each does in full: [operations](../docs/operations.md#on-one-machine).

{table(["Command", "What it does"], rows)}"""


def flows() -> str:
    """The page of hosts and of who may reach whom."""
    network = yaml.safe_load((ROOT / "inventory/group_vars/all/network.yml").read_text(encoding="utf-8"))
    hosts = [
        [
            f"`{name}`",
            one["private_ip"],
            one["instance_type"],
            f"{one['volume_gb']}",
            f"{one.get('data_gb', '-')}",
        ]
        for name, one in network["network_hosts"].items()
    ]
    allowed = [
        [f"`{one['from']}`", f"`{one['to']}`", str(one["port"]), cell(one["why"])]
        for one in network["network_flows"]
    ]
    return f"""# Hosts and flows

`inventory/group_vars/all/network.yml`, from which security groups and packet filters are made; see
[security](../docs/security.md#network-and-hosts).

## Hosts

The network is {network["network_vpc_cidr"]}, the subnet {network["network_subnet_cidr"]}.

{table(["Host", "Address", "Size on AWS", "Disk, GB", "Volume for data, GB"], hosts)}
## Flows

Every flow that is allowed; all others are refused. `operator` is who may log in, `lambda` the generator.

{table(["From", "To", "Port", "Why"], allowed)}"""


def said(text: ast.expr, function: ast.AST) -> str:
    """The text of a message, with … for what only a run knows; a name stands for what the function gave it."""
    if isinstance(text, ast.Name):
        for node in ast.walk(function):
            if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == text.id:
                return said(node.value, function)
    if isinstance(text, ast.JoinedStr):
        return "".join(str(part.value) if isinstance(part, ast.Constant) else "…" for part in text.values)
    return str(ast.literal_eval(text))


def alerts(root: Path = ROOT) -> Iterator[tuple[str, str]]:
    """Yield the name and the text of each message to the address for alerts, in the order of the files."""
    for path in sorted(one for folder in ALERTS for one in (root / folder).glob("*.py")):
        for function in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if not isinstance(function, ast.FunctionDef) or function.name == "tell":
                continue
            for node in ast.walk(function):
                if isinstance(node, ast.Call) and ast.unparse(node.func) == "tell":
                    _, event, text = node.args
                    yield ast.literal_eval(event), said(text, function)
                elif isinstance(node, ast.Dict):
                    pairs = {
                        key.value: value
                        for key, value in zip(node.keys, node.values, strict=True)
                        if isinstance(key, ast.Constant)
                    }
                    if {"event", "text"} <= set(pairs):
                        yield ast.literal_eval(pairs["event"]), said(pairs["text"], function)


def messages() -> str:
    """The page of alerts."""
    rows = [[f"`{event}`", cell(text.removeprefix("RetailFlow: "))] for event, text in alerts()]
    return f"""# Alerts

Messages to the address in `retailflow_alert_webhook`, as JSON with `event` and `text`; see
[When a run fails](../docs/operations.md#when-a-run-fails). Each … is filled in by the run.

{table(["Event", "Text"], rows)}
On AWS an alarm on errors of the generator calls `lambda_generator_alarm_actions` of the role
[lambda-generator](../roles/lambda-generator/README.md#variables). What `make status` finds is no message: it is asked.
"""


def variables() -> str:
    """The page of all variables of all roles; the pages of the roles are below it."""
    rows, roles = [], []
    for role in sorted(path for path in role_docs.ROLES.iterdir() if (path / "meta").is_dir()):
        roles.append(f"/roles/{role.name}/README")
        specs = yaml.safe_load((role / "meta/argument_specs.yml").read_text(encoding="utf-8"))[
            "argument_specs"
        ]
        options = {
            name: option for spec in specs.values() for name, option in spec.get("options", {}).items()
        }
        for name, option in options.items():
            default = "needed" if option.get("required") else role_docs.value(option.get("default"))
            rows.append(
                [
                    f"[`{name}`](../roles/{role.name}/README.md#variables)",
                    option["type"],
                    default if len(default) <= ENOUGH else "…",
                ]
            )
    listed = "\n".join(roles)
    return f"""# Roles and their variables

The page of a role says what it does and what each variable means.

```{{toctree}}
:maxdepth: 1

{listed}
```

## All variables

{table(["Variable", "Type", "Default"], sorted(rows))}"""


def pages() -> dict[str, str]:
    """Name to text of each page."""
    return {"commands": commands(), "flows": flows(), "alerts": messages(), "roles": variables()}
