"""Threads that go on whatever fails: one for each task, and the loop that asks the API."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable

from .api import ApiAwayError
from .engine import EngineAwayError
from .state import Task
from .tasks import Life

log = logging.getLogger("retailflow.ecs_agent")

#: An instance counts as connected for 15 s after a Poll, so a passing fault of the API must not take longer.
PAUSES = (0.5, 1.0, 2.0, 4.0, 5.0)


class Worker(threading.Thread):
    """Makes the steps of one task until it has ended."""

    def __init__(self, life: Life, ended: Callable[[Task], None]) -> None:
        super().__init__(name=f"task-{life.task.identity[:12]}", daemon=True)
        self.life, self._ended = life, ended
        self.wake = threading.Event()

    def run(self) -> None:
        """Step after step; a fault of one is tried again, later and later."""
        faults = 0
        while True:
            try:
                wait = self.life.step()
                faults = 0
            except (EngineAwayError, ApiAwayError) as error:
                wait, faults = PAUSES[min(faults, len(PAUSES) - 1)], faults + 1
                log.warning("task %s goes on in %g s: %s", self.life.task.identity, wait, error)
            except Exception:
                wait = 10.0
                log.exception("task %s goes on in %g s", self.life.task.identity, wait)
            if wait is None:
                break
            self.wake.wait(wait)
            self.wake.clear()
        self._ended(self.life.task)


def patiently(
    what: str,
    do: Callable[[], None],
    *faults: type[Exception],
    pause: Callable[[float], object] = time.sleep,
) -> None:
    """Do something until it works; what is wrong is said once, and again when it changes."""
    said = ""
    tried = 0
    while True:
        try:
            do()
            if said:
                log.info("it answers again")
            return
        except faults as error:
            if said != str(error):
                log.warning("%s: %s", what, error)
            said = str(error)
        pause(PAUSES[min(tried, len(PAUSES) - 1)])
        tried += 1
