"""What every part passes on: JSON objects of the files and of the API."""

from __future__ import annotations

from typing import Any

from .errors import MetabaseError

Item = dict[str, Any]


def only(found: list[Item], message: str) -> Item | None:
    """The one item of a list, None of an empty one; MetabaseError with ``message`` where there are more."""
    if len(found) > 1:
        raise MetabaseError(message)
    return found[0] if found else None
