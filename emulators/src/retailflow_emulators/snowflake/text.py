"""Statements as text, before they are parsed."""

from __future__ import annotations

import re

_BEFORE = re.compile(r"(?:\s|--[^\n]*(?:\n|$)|//[^\n]*(?:\n|$)|/\*.*?\*/)+", re.DOTALL)


def bare(command: str) -> str:
    """A statement without the comments and blanks before it, and without those in ``/* */`` and semicolons after it."""
    before = _BEFORE.match(command)
    rest = command[before.end() :] if before else command
    while True:
        rest = rest.rstrip("; \t\r\n")
        begin = rest.rfind("/*") if rest.endswith("*/") else -1
        if begin < 0:
            return rest
        rest = rest[:begin]
