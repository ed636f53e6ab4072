"""JSON as a careful server reads it."""

from __future__ import annotations

import json
from typing import Any

MAX_DEPTH = 100  # of lists and objects; whatever is read can then be written again, inside of others


def read(raw: bytes) -> Any:
    """The value of a text by RFC 8259; ValueError says why there is none, or none that can be written as JSON again.

    Refused as well: half of a surrogate pair, a number that no float holds, more than MAX_DEPTH levels.
    """

    def refuse(constant: str) -> None:
        raise ValueError(f"{constant} is not a JSON number")

    try:
        value = json.loads(raw, parse_constant=refuse)
    except RecursionError as error:
        raise ValueError(f"more than {MAX_DEPTH} levels") from error
    level = [value]
    for _ in range(MAX_DEPTH):
        level = [child for one in level for child in _children(one)]
    if any(isinstance(one, list | dict) for one in level):
        raise ValueError(f"more than {MAX_DEPTH} levels")
    json.dumps(value, ensure_ascii=False, allow_nan=False).encode()
    return value


def _children(value: Any) -> Any:
    if isinstance(value, dict):
        return value.values()
    return value if isinstance(value, list) else ()
