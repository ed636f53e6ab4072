"""Warehouses run and cost: resumed by the statement that needs one, suspended when idle, counted by the second.

Snowflake bills every second that a warehouse runs, its idle time until AUTO_SUSPEND included, and at least a minute for
each resume: https://docs.snowflake.com/en/user-guide/cost-understanding-compute. Credits per hour by size:
https://docs.snowflake.com/en/user-guide/warehouses-overview. Hours are those of
``ACCOUNT_USAGE.WAREHOUSE_METERING_HISTORY`` (https://docs.snowflake.com/en/sql-reference/account-usage/warehouse_metering_history),
which in Snowflake lags by up to three hours (cloud services by six); here it is up to the second. Cloud services are not
counted: their credits are 0, as they mostly are on a bill, where a tenth of the day's compute is free.
"""

from __future__ import annotations

import math
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime

from .model import Account, Thing

MINIMUM_SECONDS = 60
SAVE_SECONDS = 15.0  # that a killed server may forget of a running warehouse
SIZES = (
    "XSMALL",
    "SMALL",
    "MEDIUM",
    "LARGE",
    "XLARGE",
    "XXLARGE",
    "XXXLARGE",
    "X4LARGE",
    "X5LARGE",
    "X6LARGE",
)
_NAMES = {
    "2XLARGE": "XXLARGE",
    "3XLARGE": "XXXLARGE",
    "4XLARGE": "X4LARGE",
    "5XLARGE": "X5LARGE",
    "6XLARGE": "X6LARGE",
}
SHOWN = (
    "X-Small",
    "Small",
    "Medium",
    "Large",
    "X-Large",
    "2X-Large",
    "3X-Large",
    "4X-Large",
    "5X-Large",
    "6X-Large",
)


def size(text: str) -> str | None:
    """A size by the name that settings store; None where there is none."""
    plain = text.upper().replace("-", "").replace("_", "")
    plain = _NAMES.get(plain, plain)
    return plain if plain in SIZES else None


@dataclass
class Meter:
    """The warehouses that run; times are seconds since the epoch."""

    account: Account
    running: dict[str, int] = field(default_factory=dict)  # statements of a warehouse
    _saved: float = 0.0

    def begin(self, name: str) -> bool:
        """A statement begins, and resumes the warehouse if it has to; returns whether it can run."""
        with self.account.lock:
            thing = self.account.things.get(("WAREHOUSE", name))
            if thing is None:
                return False
            self.settle(name)
            if "RESUMED_AT" not in thing.settings:
                if thing.settings.get("AUTO_RESUME", "true").lower() != "true":
                    return False
                self.resume(name)
            self.running[name] = self.running.get(name, 0) + 1
            return True

    def end(self, name: str) -> None:
        """A statement has ended."""
        with self.account.lock:
            self.running[name] = max(0, self.running.get(name, 0) - 1)
            if (thing := self.account.things.get(("WAREHOUSE", name))) and "RESUMED_AT" in thing.settings:
                thing.settings["USED_AT"] = str(time.time())
                if time.time() - self._saved > SAVE_SECONDS:
                    self._save()

    def resume(self, name: str) -> None:
        """Start a warehouse that is suspended."""
        with self.account.lock:
            settings = self.account.things[("WAREHOUSE", name)].settings
            if "RESUMED_AT" not in settings:
                settings["RESUMED_AT"] = settings["USED_AT"] = settings["FIRST_AT"] = str(time.time())
                self._save()

    def settle(self, name: str) -> None:
        """Suspend a warehouse that has been idle for long enough, at the moment when it had."""
        with self.account.lock:
            settings = self.account.things[("WAREHOUSE", name)].settings
            idle = int(settings.get("AUTO_SUSPEND", "600"))
            if "RESUMED_AT" in settings and not self.running.get(name) and idle > 0:
                ends = float(settings["USED_AT"]) + idle
                if ends <= time.time():
                    self.suspend(name, ends)

    def suspend(self, name: str, at: float | None = None) -> None:
        """Stop a warehouse and count what it ran."""
        with self.account.lock:
            settings = self.account.things[("WAREHOUSE", name)].settings
            if "RESUMED_AT" in settings:
                self._count(name, at or time.time(), whole=True)
                for setting in ("RESUMED_AT", "USED_AT", "FIRST_AT"):
                    settings.pop(setting, None)
                self._save()

    def resize(self, name: str) -> None:
        """Count what a running warehouse ran at the size that it has until now."""
        with self.account.lock:
            settings = self.account.things[("WAREHOUSE", name)].settings
            if "RESUMED_AT" in settings:
                now = time.time()
                self._count(name, now, whole=False)
                settings["RESUMED_AT"] = str(now)

    def _count(self, name: str, until: float, whole: bool) -> None:
        hours = self.account.usage.setdefault(name, {})
        thing = self.account.things[("WAREHOUSE", name)]
        for hour, credits in credits_by_hour(thing, until, whole).items():
            hours[str(hour)] = hours.get(str(hour), 0.0) + credits

    def _save(self) -> None:
        self._saved = time.time()
        self.account.save()

    def history(self) -> list[tuple[datetime, datetime, int, str, float]]:
        """Start and end of each hour, number and name of the warehouse, and credits, up to now."""
        with self.account.lock:
            rows = []
            for name in {*self.account.usage, *(name for name, _ in self.account.named("WAREHOUSE"))}:
                thing = self.account.things.get(("WAREHOUSE", name))
                if thing:
                    self.settle(name)
                hours = dict(self.account.usage.get(name, {}))
                if thing and "RESUMED_AT" in thing.settings:
                    for hour, credits in credits_by_hour(thing, time.time(), whole=True).items():
                        hours[str(hour)] = hours.get(str(hour), 0.0) + credits
                number = int(thing.settings.get("NUMBER", "0")) if thing else 0
                for start, credits in hours.items():
                    begin = int(start)
                    rows.append((_time(begin), _time(begin + 3600), number, name, round(credits, 9)))
            return sorted(rows, key=lambda row: (row[0], row[3]))


def credits_by_hour(thing: Thing, until: float, whole: bool) -> dict[int, float]:
    """Credits of a running warehouse since it resumed or changed its size; ``whole`` fills up the first minute."""
    settings = thing.settings
    start = float(settings["RESUMED_AT"])
    if whole:
        until = max(until, float(settings.get("FIRST_AT", start)) + MINIMUM_SECONDS)
    rate = 2 ** SIZES.index(settings.get("WAREHOUSE_SIZE", "XSMALL")) / 3600
    found: dict[int, float] = {}
    while start < until:
        hour = math.floor(start / 3600) * 3600
        ends = min(until, hour + 3600)
        found[hour] = found.get(hour, 0.0) + (ends - start) * rate
        start = ends
    return found


def _time(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)
