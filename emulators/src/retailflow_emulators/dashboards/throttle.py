"""Slows down who guesses passwords, by the thresholds that Metabase has."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

ATTEMPTS_OF_A_NAME, ATTEMPTS_OF_AN_ADDRESS = 10, 50
FIRST_WAIT_S, LONGEST_WAIT_S = 15.0, 900.0
REMEMBERED_S = 3600.0
KEYS_KEPT = 10_000


class Throttle:
    """Failed attempts by key. From ``threshold`` on each failure doubles the wait; while one waits nothing counts."""

    def __init__(self, threshold: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._threshold, self._clock = threshold, clock
        self._failures: dict[str, tuple[int, float]] = {}
        self._lock = threading.Lock()

    def wait(self, key: str) -> float:
        """Seconds until the next attempt of ``key`` is heard; 0 where it is heard now."""
        with self._lock:
            failures, last = self._failures.get(key, (0, 0.0))
        if failures < self._threshold:
            return 0.0
        pause = min(FIRST_WAIT_S * 2.0 ** (failures - self._threshold), LONGEST_WAIT_S)
        return max(0.0, last + pause - self._clock())

    def failed(self, key: str) -> None:
        """Count a failure, and forget what is older than an hour."""
        now = self._clock()
        with self._lock:
            failures, last = self._failures.pop(key, (0, now))
            self._failures[key] = (failures + 1 if now - last < REMEMBERED_S else 1, now)
            while len(self._failures) > KEYS_KEPT:
                del self._failures[next(iter(self._failures))]

    def succeeded(self, key: str) -> None:
        """Forget the failures of ``key``."""
        with self._lock:
            self._failures.pop(key, None)
