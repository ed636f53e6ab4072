"""No text of the tree holds a phrase at which a reader stumbles; each stands here beside what says it plainly."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
# Neither what others wrote or a program wrote, nor these two, which name the phrases.
LEFT_OUT = re.compile(r"\.(txt|json|png|csv)$|^LICENSE$|^CONTRIBUTING\.md$|^tests/roles/test_words\.py$")

THINGS = (
    "batch|block|card|column|command|connection|container|cycle|day|entry|event|field|file|folder|host|image|invocation|item|"
    "job|key|line|login|month|name|order|order line|page|part|place|process|program|role|row|run|service|statement|stream|"
    "sync|table|task|test|user|volume|week|year"
)
COUNTED = "batch|container|file|key|line|login|object|role|row|table|test|volume"
PLAIN = {
    r"\banew\b": "again",
    rf"\b(?:one|a) (?:{COUNTED}) an? (?:{THINGS})\b": "one row per order line",
    r"\bnothing of (?!the kind|the sort)": "no part of, none of, does not know",
    r"\blet(?:s|ting)? (?:the |its |every |a )?\w+(?: \w+)? rest\b": "pause",
    r"\btells? (?:it )?in the end\b": "reports at the end",
    r"\b(?:takes?|taken|taking|took) (?:\w+ ){0,4}out of (?:the )?(?:mart|marts|list|lists|table|tables|facts)\b": "remove from",
    r"\b(?:is|are|be|been|was|were) taken out\b": "is removed",
    r"\bmerge and take out\b": "merge_and_delete",
    r"\bto be had\b": "available",
    r"\bborne twice\b": "used twice",
    r"\btells? how (?:far|every)\b": "shows how",
    r"\bleans? on\b": "needs",
    r"\blies? ready\b": "is ready",
}


def lines() -> list[tuple[str, int, str]]:
    """Path, number and text of every line of the tracked texts, and of those that are new."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout.splitlines()
    return [
        (path, number, line)
        for path in sorted(set(listed))
        if not LEFT_OUT.search(path) and (ROOT / path).is_file()
        for number, line in enumerate((ROOT / path).read_text(encoding="utf-8").split("\n"), start=1)
    ]


def stumbles(line: str) -> list[str]:
    """What would say it plainly, for each phrase that a line holds."""
    words = line.replace("_", " ")  # names are read as well
    return [plain for phrase, plain in PLAIN.items() if re.search(phrase, words, re.I)]


def test_the_tree_holds_none_of_the_phrases() -> None:
    found = [
        f"{path}:{number}: better {', '.join(better)!r}: {line.strip()[:120]}"
        for path, number, line in lines()
        if (better := stumbles(line))
    ]
    assert found == [], "\n".join(["", *found])


@pytest.mark.parametrize(
    "line",
    [
        "the same zip in a container an invocation",
        "One row an order line. Written by the generator.",
        "a login a program, each with what it needs",
        "made slot airbyte anew",
        "Pause | Let the schedule rest until the role runs again",
        "it knows nothing of the embedded server",
        "the play tells in the end what is left",
        "Orders that PostgreSQL no longer has are taken out.",
        "takes deleted orders out of the marts",
        "`make status` tells how every part is",
        "a name that is missing or borne twice",
        "def test_a_history_is_a_batch_a_day() -> None:",
    ],
)
def test_a_phrase_is_found(line: str) -> None:
    assert stumbles(line)


@pytest.mark.parametrize(
    "line",
    [
        "one row per order line",
        "Makes a host a container instance of an ECS cluster.",
        "the rest of site.yml needs hosts",
        "let the engine start",
        "takes a timeout of the caller",
        "a table as a stream, and a row as an order",
        "checks out the branch",
    ],
)
def test_plain_words_are_not(line: str) -> None:
    assert stumbles(line) == []
