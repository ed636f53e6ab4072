#!/usr/bin/env python3
"""Draw the map of the folders in docs/architecture.md: who uses whom, by imports, includes, paths and tables.

`--write` brings it up to date, `--check` (the default) says whether it is stale, or whether a folder uses one that it may
not, and exits with 1.
"""

from __future__ import annotations

import argparse
import ast
import re
import subprocess
import sys
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
DOCUMENT = ROOT / "docs/architecture.md"
START, END = "<!-- map -->", "<!-- /map -->"

# What a folder holds, and which others it may use. The test of this file holds the tree to it.
ROOMS: dict[str, tuple[str, set[str]]] = {
    "playbooks": (
        "what `make` and `site.yml` run, step by step",
        {"inventory", "roles", "module_utils", "terraform", "dbt"},
    ),
    "roles": ("one role per service, and what they share", {"module_utils", "dbt"}),
    "library": ("modules that several roles use", set()),
    "module_utils": ("what modules of several roles and playbooks share", set()),
    "inventory": (
        "the targets: every value that differs between them",
        {"roles", "images", "lambda", "dbt", "dagster", "emulators"},
    ),
    "terraform": ("network, security groups and hosts", {"inventory"}),
    "images": ("one Dockerfile per image", {"dbt", "dagster", "emulators", "lambda"}),
    "lambda": ("the generator and the schema of its tables", set()),
    "dagster": ("the code location: sync, transform, check", {"dbt"}),
    "dbt": ("the models from RAW to the marts", set()),
    "emulators": ("stand-ins of Airbyte, Metabase, ECS's agent, EventBridge and Snowflake", set()),
    "bench": ("ratios measured in one run", {"lambda", "emulators", "dbt", "images", "roles"}),
    "molecule": ("one scenario per role, on a host of its own", {"roles", "lambda", "dbt", "images"}),
    "tests": ("roles, the aws target and the running site", {"*"}),
    "tools": ("what a machine and a maintainer need", {"*"}),
}
# Tests stand beside what they test and may use everything, as `tests` may.
TESTS = re.compile(r"^(dagster|dbt|lambda|emulators|bench)/tests/.*\.py$")
PACKAGES = {
    "retailflow_generator": "lambda",
    "retailflow_dagster": "dagster",
    "retailflow_emulators": "emulators",
    "bench": "bench",
}


def files(suffixes: tuple[str, ...]) -> list[str]:
    """List the tracked files with one of these endings, sorted; a file that is new and not ignored is among them."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout.split("\n")
    return sorted(name for name in set(listed) if name.endswith(suffixes) and (ROOT / name).is_file())


def room(path: str) -> str:
    """The folder at the top that a file belongs to; tests beside the code belong to `tests`."""
    if TESTS.match(path) or path == "conftest.py":
        return "tests"
    top = path.split("/")[0]
    return "playbooks" if top in ("site.yml", "teardown.yml") else top


def uncommented(path: str) -> str:
    """The text of a file without its comments and docstrings."""
    text = (ROOT / path).read_text(encoding="utf-8")
    if path.endswith(".py"):
        text = re.sub(r'"""(?:.|\n)*?"""', "", text)
    lines = (re.sub(r"\s(?:#|--|//) .*", "", line) for line in text.split("\n"))
    return "\n".join(line for line in lines if not line.lstrip().startswith(("#", "--", "//")))


def imports(path: str) -> Iterator[str]:
    """Yield the top names and, for our own packages, the dotted names of what a Python file imports."""
    for node in ast.walk(ast.parse((ROOT / path).read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield node.module


def included(path: str) -> set[str]:
    """The roles that a file of tasks or plays includes by name."""
    text = uncommented(path)
    found = re.findall(r"(?:include|import)_role:\s*\n\s+name: ([a-z][a-z-]*)\s*$", text, re.M)
    found += re.findall(r"^\s+- role: ([a-z][a-z-]*)\s*$", text, re.M)
    return {name for name in found if (ROOT / "roles" / name).is_dir()}


def ties() -> dict[tuple[str, str], set[str]]:
    """From and to room, and by what they are tied."""
    found: dict[tuple[str, str], set[str]] = defaultdict(set)
    # A path of another room: at least its first folder and one name below.
    paths = re.compile(
        r"(?:(?<![\w./-])|(?<=\})/|(?<=\.\.)/)((?:" + "|".join(ROOMS) + r")/[\w.-]+(?:/[\w.-]+)*)"
    )
    marts = re.compile(
        rf"\b({'|'.join(sorted(path.stem for path in ROOT.glob('dbt/models/marts/*.sql')))})\b", re.I
    )
    for path in files(
        (".py", ".yml", ".yaml", ".tf", ".hcl", ".j2", "Dockerfile", ".sh", ".sql", "tools/test")
    ):
        here = room(path)
        if here not in ROOMS or "site.example" in path:
            continue
        if path.endswith(".py"):
            for name in imports(path):
                top = name.split(".")[0]
                if top in PACKAGES:
                    found[here, PACKAGES[top]].add(f"import {top}")
                elif (
                    name.startswith("ansible.module_utils.")
                    and (ROOT / "module_utils" / f"{name.split('.')[2]}.py").exists()
                ):
                    found[here, "module_utils"].add(f"import {name}")
        if path.endswith((".yml", ".yaml")):
            for role in included(path):
                found[here, "roles"].add(f"role {role}")
        if re.match(r"roles/[^/]+/(library|module_utils)/", path):
            continue  # a module gets its paths as parameters; what stands there is an example or advice
        for match in paths.finditer(uncommented(path)):
            if (ROOT / match[1]).exists():
                found[here, room(match[1])].add(match[1])
        for table in marts.findall(uncommented(path)):
            found[here, "dbt"].add(f"table {table.lower()}")
    return {pair: by for pair, by in found.items() if pair[0] != pair[1]}


def packages() -> dict[str, set[str]]:
    """Which part of a package imports which other part of it; a part is what stands directly below the package."""
    found: dict[str, set[str]] = defaultdict(set)
    for path in files((".py",)):
        match = re.match(r"(?:\w+/src/)(retailflow_\w+)/(.+)\.py$", path)
        if not match:
            continue
        package, inner = match[1], match[2].split("/")
        part = f"{package}.{inner[0]}"
        for node in ast.walk(ast.parse((ROOT / path).read_text(encoding="utf-8"))):
            if not isinstance(node, ast.ImportFrom):
                continue
            names = [node.module] if node.module else [alias.name for alias in node.names]
            for name in names:
                if node.level:
                    whole = [package, *inner[:-1]]
                    whole = [*whole[: len(whole) - node.level + 1], *name.split(".")]
                else:
                    whole = name.split(".")
                if whole[0] == package and len(whole) > 1 and f"{package}.{whole[1]}" != part:
                    found[part].add(f"{package}.{whole[1]}")
    return found


def roles() -> dict[str, tuple[set[str], set[str]]]:
    """Role to the playbooks and to the other roles that include it."""
    found: dict[str, tuple[set[str], set[str]]] = {
        path.name: (set(), set()) for path in sorted((ROOT / "roles").iterdir()) if (path / "meta").is_dir()
    }
    for path in files((".yml",)):
        parts = path.split("/")
        for role in included(path):
            if room(path) == "playbooks":
                found[role][0].add("/".join(parts[1:]).removesuffix(".yml"))
            elif parts[0] == "roles" and parts[1] != role:
                found[role][1].add(parts[1])
    return found


def forbidden() -> list[str]:
    """Ties that the map does not allow, each with what makes it."""
    return [
        f"{one} may not use {other}, and does by {', '.join(sorted(by)[:3])}"
        for (one, other), by in sorted(ties().items())
        if "*" not in ROOMS[one][1] and other not in ROOMS[one][1]
    ]


def table(head: list[str], rows: list[list[str]]) -> list[str]:
    """A table in Markdown."""
    return [
        f"| {' | '.join(head)} |",
        f"|{'---|' * len(head)}",
        *(f"| {' | '.join(row)} |" for row in rows),
    ]


def code(names: set[str] | list[str]) -> str:
    """Names as inline code, sorted; a dash for none."""
    return ", ".join(f"`{name}`" for name in sorted(names)) or "-"


def rendered() -> str:
    """The part of the document between its marks."""
    found = ties()
    drawn = [name for name in ROOMS if name not in ("tests", "tools", "molecule", "bench")]
    lines = ["```mermaid", "flowchart LR"]
    for (one, other), by in sorted(found.items()):
        if one in drawn and other in drawn:
            kinds = sorted({text.split(" ")[0] + "s" if " " in text else "paths" for text in by})
            lines.append(f"  {one} -->|{', '.join(kinds)}| {other}")
    lines += ["```", "", "An arrow goes from a folder to one that it uses.", ""]
    rows = []
    for name, (holds, may) in ROOMS.items():
        used = {other: by for (one, other), by in found.items() if one == name}
        by = (
            "everything"
            if "*" in may
            else "; ".join(
                f"`{other}`: {code(sorted(used[other])[:3])}{' …' if len(used[other]) > 3 else ''}"
                for other in sorted(used)
            )
        )
        rows.append([f"`{name}`", holds, by or "nothing", "everything" if "*" in may else code(may)])
    lines += table(["Folder", "Holds", "Uses, by what", "May use"], rows)
    lines += ["", "Which playbook and which role includes a role:", ""]
    lines += table(
        ["Role", "Playbooks", "Roles"],
        [[f"`{name}`", code(plays), code(others)] for name, (plays, others) in roles().items()],
    )
    lines += [
        "",
        "Which part of a Python package imports which; a part that is not listed imports no other:",
        "",
    ]
    lines += table(
        ["Part", "Imports"], [[f"`{part}`", code(others)] for part, others in sorted(packages().items())]
    )
    return "\n".join(lines)


def document() -> str:
    """The whole document as it should be."""
    text = DOCUMENT.read_text(encoding="utf-8")
    before, after = text.split(START)[0], text.split(END)[1]
    return f"{before}{START}\n{rendered()}\n{END}{after}"


def main() -> int:
    """Check or write the map; return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__)
    mode = parser.add_mutually_exclusive_group()
    mode.add_argument("--check", action="store_true", help="say whether the map is stale (the default)")
    mode.add_argument("--write", action="store_true", help="write it")
    arguments = parser.parse_args()
    problems = forbidden()
    fresh = document()
    if arguments.write:
        DOCUMENT.write_text(fresh, encoding="utf-8")
    elif fresh != DOCUMENT.read_text(encoding="utf-8"):
        problems.append(f"stale: {DOCUMENT.relative_to(ROOT)} (run tools/map.py --write)")
    for problem in problems:
        print(problem, file=sys.stderr)
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
