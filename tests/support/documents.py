"""The command lines of README and docs, as they are typed."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
#: What a line begins with that is typed in a shell on the control node.
COMMAND = re.compile(
    r"(?:[A-Z_]+=\S+ )*(?:make|ansible-playbook|ansible-inventory|ssh -F|tools/\w|pytest|docker|terraform|git) ?"
)
FENCE = re.compile(r"^```(\w*)\n(.*?)^```", re.M | re.S)
SPAN = re.compile(r"(?<!`)`([^`]+)`(?!`)")


@dataclass(frozen=True)
class Typed:
    """A command line, and the lines that are typed into what it starts: those that are indented below it."""

    page: str
    line: str
    within: tuple[str, ...] = ()

    def __str__(self) -> str:
        return self.line


def of_block(page: str, text: str) -> Iterator[Typed]:
    """Yield the commands of a fenced block; a drawing or a listing has none."""
    found: list[tuple[str, list[str]]] = []
    for line in text.replace("\\\n", "").splitlines():
        if COMMAND.match(line):
            found.append(
                (
                    " ".join(line.split("   #")[0].split(" # ")[0].split())
                    if "'" not in line and '"' not in line
                    else line,
                    [],
                )
            )
        elif line.startswith("  ") and found and line.strip():
            found[-1][1].append(line.strip())
    for line, within in found:
        yield Typed(page, line.strip(), tuple(within))


def commands() -> list[Typed]:
    """Every command line of a fenced block or a code span, each once."""
    found: dict[tuple[str, tuple[str, ...]], Typed] = {}
    for path in PAGES:
        text, page = path.read_text(encoding="utf-8"), str(path.relative_to(ROOT))
        typed = [
            one
            for language, block in FENCE.findall(text)
            if language in ("", "sh", "bash", "console")
            for one in of_block(page, block)
        ]
        spans = (" ".join(span.split()) for span in SPAN.findall(FENCE.sub("", text)))
        typed += [
            Typed(page, span)
            for span in spans
            if re.match(r"(?:[A-Z_]+=\S+ )*(?:make |ansible-playbook |ssh -F)", span)
        ]
        for one in typed:
            found.setdefault((one.line, one.within), one)
    return list(found.values())


#: Commands that a test on the running site does not type as they are written, with the reason.
ELSEWHERE = {
    "make up": "test_a_lost_control_node_comes_back_and_a_second_run_changes_nothing runs its playbook",
    "make up HISTORY=90": "gives a new site a history; test_history_playbook runs its playbook",
    "make up HISTORY=0": "leaves the history out of a new site; test_history_playbook runs its playbook",
    "make test": "runs this test",
    "make run": "test_site and bench run its playbook; it takes a cycle",
    "make refresh": "reads every table again; tests of the role airbyte-bash-installer run it",
    "make backfill": "writes a year of sales into the site",
    "make backup": "a site may be without backups; test_backup knows",
    "make backups": "a site may be without backups; test_backup runs it",
    "make restore": "test_backup restores; without a moment it is refused",
    "make restore AT=2026-11-28T12:00": "test_backup restores to a moment of its own",
    "make restore AT=latest": "is for a lost server; test_backup restores one to a moment",
    "make up NEW=postgres": "is for a lost server whose backups nobody wants",
    "make drill": "test_backup runs it",
    "make pause": "test_pause runs its playbook and goes on from there",
    "make resume": "is make up",
    "make upgrade": "test_upgrade runs its playbook",
    "make upgrade WHAT=postgres": "the scenario postgres of molecule upgrades its roles; a site keeps its version",
    "make recover": "test_a_lost_control_node_comes_back_and_a_second_run_changes_nothing runs it",
    "make bench": "takes half an hour; bench has tests of its own",
    "make docs": "the stage lint runs its program",
    "make screenshots": "rewrites pictures of the documentation",
    "make requirements": "asks package registries and rewrites the pins",
    "make down": "tools/test ends with it",
    "make clean": "test_commands runs it in a clone",
    "make open-dagster TARGET=aws": "opens an ssh tunnel to AWS, until Ctrl-C",
    'make ssh-ec2-metabase COMMAND="docker restart metabase"': "takes the pages away from tests that look at them",
    'make ssh-ec2-postgres COMMAND="docker restart ecs-agent"': "test_ecs ends an agent and looks at its containers",
    "ansible-playbook site.yml": "test_a_lost_control_node_comes_back_and_a_second_run_changes_nothing runs it",
    "ansible-playbook teardown.yml": "is make down",
    "ansible-playbook playbooks/upgrade.yml": "test_upgrade runs it",
    "BASE_IMAGE=debian:bookworm-slim make up": "builds every image again on another base",
}


def runs_elsewhere(typed: Typed) -> str:
    """Why a command is not run on the local site as it is typed; empty where it is."""
    if re.search(r"TARGET=aws|inventory/aws", typed.line):
        return "needs an AWS account; test_aws_target runs the playbooks against the emulated API"
    if "SITE=" in typed.line:
        return "names a second site; test_two_sites makes one and removes it"
    if typed.line.startswith("pytest tests/vendor"):
        return "needs the vendor's image"
    if typed.line.startswith("make rotate"):
        return "test_rotate changes every secret that there is, these among them"
    return ELSEWHERE.get(typed.line, "")
