"""When ECS does what, and the clock by which this package goes.

`EMULATED_ECS_TIME_SCALE` shortens what only makes people wait: 0.1 makes ten seconds of ECS one.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from datetime import UTC, datetime

SCALE = float(os.environ.get("EMULATED_ECS_TIME_SCALE", "1"))
#: A task without a health check counts as healthy that long after it runs (DeploymentConfiguration, ECS's API reference).
HEALTHY_SECONDS = 40 * SCALE
#: Between two tries of a service whose tasks fail. ECS names only the longest pause: "Amazon ECS service throttle logic",
#: developer guide. The first one and that it doubles are ours.
FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS = 5 * SCALE, 27 * 60 * SCALE
#: The same event is not written again before ("Service event messages", developer guide).
REPEAT_EVENT_SECONDS = 6 * 3600
#: Stopped tasks are described for at least that long (DescribeTasks, API reference).
KEEP_STOPPED_SECONDS = 3600
#: An agent counts as connected that long after its last poll. Not scaled: it is about real requests.
CONNECTED_SECONDS = 15
#: Task credentials live so long and are renewed when half of it is left ("Task IAM role", developer guide: six hours).
CREDENTIALS_SECONDS = 6 * 3600
#: Seconds between two passes of the scheduler when nothing wakes it.
PASS_SECONDS = 1.0
LONGEST_POLL_SECONDS = 20


class Clock:
    """Seconds since 1970; tests put a clock of their own in its place."""

    now: Callable[[], float] = staticmethod(time.time)


CLOCK = Clock()


def pause(failures: int) -> float:
    """Seconds before the next try after so many failures in a row."""
    if failures < 1:
        return 0.0
    return float(min(FIRST_PAUSE_SECONDS * 2 ** min(failures - 1, 30), LONGEST_PAUSE_SECONDS))


def moment(seconds: float | None) -> datetime | None:
    """A time as the API's serializer takes it."""
    return None if seconds is None else datetime.fromtimestamp(seconds, UTC)


def seconds_of(value: object) -> float | None:
    """A time as an agent reports it: seconds, or ISO 8601; None for anything else."""
    if isinstance(value, int | float):
        return float(value)
    try:
        found = datetime.fromisoformat(str(value))
    except ValueError:
        return None
    return (found if found.tzinfo else found.replace(tzinfo=UTC)).timestamp()
