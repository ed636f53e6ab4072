#!/usr/bin/env python3
"""Write the variable tables of the roles' READMEs from their argument specs.

`--write` brings them up to date, `--check` (the default) names those that are stale and exits with 1.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from pathlib import Path
from typing import Any

import yaml

ROLES = Path(__file__).resolve().parents[1] / "roles"
START, END = "<!-- variables -->", "<!-- /variables -->"


def text(description: str | list[str]) -> str:
    """Return an option's description as Markdown on one line."""
    joined = description if isinstance(description, str) else " ".join(description)
    marked = re.sub(r"[CVO]\(([^)]*)\)", r"`\1`", joined)
    return " ".join(marked.split()).replace("|", "\\|")


def value(default: Any) -> str:
    """Return a default as inline code."""
    shown = default if isinstance(default, str) and default else json.dumps(default, ensure_ascii=False)
    return f"`{shown}`".replace("|", "\\|")


def meaning(option: dict[str, Any]) -> str:
    """Return an option's description, its choices and the keys of its records."""
    parts = [text(option["description"])]
    if "choices" in option:
        parts.append("One of " + ", ".join(f"`{choice}`" for choice in option["choices"]) + ".")
    keys = [
        f"`{name}` ({'needed' if sub.get('required') else sub['type']}): {text(sub['description'])}"
        for name, sub in option.get("options", {}).items()
    ]
    return "<br>".join([" ".join(parts), *keys])


def tables(role: Path) -> str:
    """Return the Markdown between the markers: one table for each entry point, each variable once."""
    specs = yaml.safe_load((role / "meta/argument_specs.yml").read_text(encoding="utf-8"))["argument_specs"]
    seen: set[str] = set()
    blocks: list[str] = []
    for entry, spec in specs.items():
        options = spec.get("options", {})
        title = "`main`" if entry == "main" else f"`tasks_from: {entry}`"
        lines = [f"### {title}: {text(spec['short_description'])}", ""]
        new = {name: option for name, option in options.items() if name not in seen}
        if new:
            lines += ["| variable | type | default | meaning |", "|---|---|---|---|"]
            for name, option in new.items():
                default = "needed" if option.get("required") else value(option.get("default"))
                lines.append(f"| `{name}` | {option['type']} | {default} | {meaning(option)} |")
        known = [f"`{name}`" for name in options if name in seen]
        if known:
            lines += ([""] if new else []) + [f"{'Also' if new else 'Reads'}: {', '.join(known)}."]
        if not options:
            lines.append("Takes no variables.")
        seen |= set(options)
        blocks.append("\n".join(lines))
    return "\n\n".join(blocks)


def rendered(role: Path) -> str:
    """Return a role's README with fresh tables; ValueError where the markers are missing."""
    readme = (role / "README.md").read_text(encoding="utf-8")
    if readme.count(START) != 1 or readme.count(END) != 1:
        raise ValueError(f"{role.name}/README.md needs the lines {START} and {END} once each")
    head, rest = readme.split(START)
    tail = rest.split(END)[1]
    return f"{head}{START}\n{tables(role)}\n{END}{tail}"


def main() -> int:
    """Check or write all READMEs; return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__)
    mode = parser.add_mutually_exclusive_group()
    mode.add_argument("--check", action="store_true", help="name stale READMEs (the default)")
    mode.add_argument("--write", action="store_true", help="write them")
    arguments = parser.parse_args()
    stale = 0
    for role in sorted(path for path in ROLES.iterdir() if (path / "README.md").exists()):
        fresh = rendered(role)
        if fresh == (role / "README.md").read_text(encoding="utf-8"):
            continue
        if arguments.write:
            (role / "README.md").write_text(fresh, encoding="utf-8")
            print(f"wrote roles/{role.name}/README.md")
        else:
            stale += 1
            print(f"stale: roles/{role.name}/README.md (run tools/role_docs.py --write)", file=sys.stderr)
    return 1 if stale else 0


if __name__ == "__main__":
    sys.exit(main())
