"""What is declared beside what is there."""

from __future__ import annotations

import copy
from typing import Any

Item = dict[str, Any]


def merge(one: Item, other: Item) -> Item:
    """A new dictionary with all of both; `other` wins."""
    merged = copy.deepcopy(one)
    for name, value in other.items():
        both = isinstance(value, dict) and isinstance(merged.get(name), dict)
        merged[name] = merge(merged[name], value) if both else copy.deepcopy(value)
    return merged


def differences(declared: Any, actual: Any) -> Any:
    """What of `declared` is not in `actual`, None for nothing. Fields that are not declared do not count."""
    if isinstance(declared, dict) and isinstance(actual, dict):
        parts = {name: differences(value, actual.get(name)) for name, value in declared.items()}
        return {name: part for name, part in parts.items() if part is not None} or None
    if isinstance(declared, list) and isinstance(actual, list) and len(declared) == len(actual):
        same = all(differences(one, other) is None for one, other in zip(declared, actual, strict=True))
        return None if same else declared
    return None if declared == actual else declared


def in_words_of(pattern: Any, value: Any) -> Any:
    """The part of `value` that `pattern` speaks of: the other side of a diff."""
    if isinstance(pattern, dict) and isinstance(value, dict):
        return {name: in_words_of(part, value.get(name)) for name, part in pattern.items()}
    return value


def ordered(streams: list[Item]) -> list[Item]:
    return sorted(streams, key=lambda stream: (stream["name"], stream.get("namespace") or ""))
