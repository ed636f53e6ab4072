"""Times, small files, and what is refused."""

from __future__ import annotations

import datetime
import json
from pathlib import Path
from typing import Any

Json = dict[str, Any]


class RefusedError(Exception):
    """Something that cannot be done; the text says what, what was not changed, and what to do."""


def now() -> datetime.datetime:
    """This moment in UTC."""
    return datetime.datetime.now(datetime.UTC)


def iso(moment: datetime.datetime) -> str:
    """A moment as ISO 8601 in UTC, to the microsecond."""
    return moment.astimezone(datetime.UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def iso_of(seconds: float) -> str:
    """A time of a file as ISO 8601."""
    return iso(datetime.datetime.fromtimestamp(seconds, datetime.UTC))


def moment(text: str) -> datetime.datetime:
    """The moment that a person or a file names; without a zone it is UTC. RefusedError for what is no date with a time."""
    try:
        found = datetime.datetime.fromisoformat(text.strip())
    except ValueError:
        found = None
    if found is None or ":" not in text:
        raise RefusedError(
            f"'{text}' is not a time. Nothing was changed. Write it like 2026-11-28 12:00:00, in UTC, or with a zone such as "
            "+01:00; 'latest' is the newest moment that is stored."
        )
    return found if found.tzinfo else found.replace(tzinfo=datetime.UTC)


def write(path: Path, content: Json) -> None:
    """Replace a small file whole."""
    new = path.with_suffix(".new")
    new.write_text(json.dumps(content) + "\n")
    new.replace(path)


def read(path: Path) -> Json:
    """What such a file holds; nothing where it is not there yet."""
    try:
        return dict(json.loads(path.read_text()))
    except (FileNotFoundError, ValueError):
        return {}
