"""The cluster query language: expressions about container instances.

"Create expressions to define container instances for Amazon ECS tasks", developer guide. Subjects: `attribute:NAME`,
`ec2InstanceId`, `agentConnected`, `agentVersion`, `runningTasksCount`, `task:group`.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from . import words

_TOKEN = re.compile(
    r"\s*(\(|\)|\[|\]|,|&&|\|\||==|!=|>=|<=|>|<|=~|!~|!in\b|!exists\b|!|\"[^\"]*\"|'[^']*'|[^\s()\[\],!=<>~&|]+)"
)
_SUBJECTS = ("ec2InstanceId", "agentConnected", "agentVersion", "runningTasksCount", "task:group")
_NAMES = {
    "equals": "==",
    "not_equals": "!=",
    "greater_than": ">",
    "greater_than_equal": ">=",
    "less_than": "<",
    "less_than_equal": "<=",
    "matches": "=~",
    "not_matches": "!~",
    "not_in": "!in",
    "not_exists": "!exists",
    "and": "&&",
    "or": "||",
    "not": "!",
}
Facts = dict[str, Any]
Test = Callable[[Facts], bool]


def compile_query(text: str) -> Test:
    """Return a test of an instance's facts; InvalidParameterException for an expression that is none.

    The facts are values by subject: one, or a list (of `task:group`); what is not there is missing.
    """
    parser = _Parser(text)
    test = parser.either()
    if parser.rest:
        raise parser.error()
    return test


def _number(value: object) -> float | None:
    try:
        return float(str(value))
    except ValueError:
        return None


class _Parser:
    def __init__(self, text: str) -> None:
        self.text = text
        self.rest: list[str] = []
        position = 0
        while position < len(text.rstrip()):
            found = _TOKEN.match(text, position)
            if not found:
                raise self.error()
            self.rest.append(_NAMES.get(found[1], found[1]))
            position = found.end()

    def error(self) -> Exception:
        return words.invalid(f"Invalid expression: {self.text}")

    def next(self, *allowed: str) -> str:
        if not self.rest or (allowed and self.rest[0] not in allowed):
            raise self.error()
        return self.rest.pop(0)

    def either(self) -> Test:
        left = self.both()
        while self.rest[:1] == ["||"]:
            self.rest.pop(0)
            left = (lambda a, b: lambda facts: a(facts) or b(facts))(left, self.both())
        return left

    def both(self) -> Test:
        left = self.single()
        while self.rest[:1] == ["&&"]:
            self.rest.pop(0)
            left = (lambda a, b: lambda facts: a(facts) and b(facts))(left, self.single())
        return left

    def single(self) -> Test:
        if self.rest[:1] == ["!"]:
            self.rest.pop(0)
            inner = self.single()
            return lambda facts: not inner(facts)
        if self.rest[:1] == ["("]:
            self.rest.pop(0)
            inner = self.either()
            self.next(")")
            return inner
        return self.comparison()

    def comparison(self) -> Test:
        subject = self.next()
        if not subject.startswith("attribute:") and subject not in _SUBJECTS:
            raise self.error()
        operator = self.next("==", "!=", ">", ">=", "<", "<=", "=~", "!~", "in", "!in", "exists", "!exists")
        if operator in ("exists", "!exists"):
            return lambda facts: (subject in facts) == (operator == "exists")
        if operator in ("in", "!in"):
            wanted = self.listed()
            return lambda facts: _one_of(facts, subject, wanted) == (operator == "in")
        value = self.next().strip("\"'")
        return lambda facts: _holds(facts, subject, operator, value)

    def listed(self) -> list[str]:
        self.next("[")
        found = [self.next().strip("\"'")]
        while self.next(",", "]") == ",":
            found.append(self.next().strip("\"'"))
        return found


def _values(facts: Facts, subject: str) -> list[str]:
    value = facts.get(subject, [])
    return [str(one) for one in (value if isinstance(value, list) else [value])]


def _one_of(facts: Facts, subject: str, wanted: list[str]) -> bool:
    return any(value in wanted for value in _values(facts, subject))


def _holds(facts: Facts, subject: str, operator: str, wanted: str) -> bool:
    values = _values(facts, subject)
    if operator in ("==", "!="):
        return (wanted in values) == (operator == "==")
    if operator in ("=~", "!~"):
        return any(re.search(wanted, value) for value in values) == (operator == "=~")
    compare: dict[str, Callable[[float, float], bool]] = {
        ">": lambda a, b: a > b,
        ">=": lambda a, b: a >= b,
        "<": lambda a, b: a < b,
        "<=": lambda a, b: a <= b,
    }
    limit = _number(wanted)
    found = [_number(value) for value in values]
    return limit is not None and any(one is not None and compare[operator](one, limit) for one in found)
