"""Ansible callback: a run that failed ends with the sentence of each host that failed."""

from __future__ import annotations

import atexit
from typing import Any

from ansible.plugins.callback import CallbackBase

DOCUMENTATION = r"""
name: failures
type: aggregate
short_description: Repeat at the end why a run failed
description:
  - Ansible prints a failure where it happens, with everything that the module returned, hundreds of lines above the end.
    This repeats the message alone, below the recap, one for each host that failed or could not be reached.
requirements: [enable it in callbacks_enabled]
"""


def message(result: dict[str, Any]) -> str:
    """The message of a failed task; that of the first item that failed where it was a loop."""
    for item in result.get("results") or []:
        if isinstance(item, dict) and (item.get("failed") or item.get("unreachable")):
            return message(item)
    for key in ("msg", "stderr", "censored", "stdout"):
        if text := str(result.get(key) or "").strip():
            return text
    return "it gave no reason"


class CallbackModule(CallbackBase):
    """Remembers the last failure of each host."""

    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "aggregate"
    CALLBACK_NAME = "failures"
    CALLBACK_NEEDS_ENABLED = True

    def __init__(self) -> None:
        super().__init__()
        self._last: dict[str, tuple[str, str]] = {}

    def _keep(self, result: Any) -> None:
        self._last[result.host.get_name()] = (result.task.get_name().strip(), message(result.result))

    def v2_runner_on_failed(self, result: Any, ignore_errors: bool = False) -> None:
        if not ignore_errors:
            self._keep(result)

    def v2_runner_on_unreachable(self, result: Any) -> None:
        self._keep(result)

    def v2_playbook_on_stats(self, stats: Any) -> None:
        counts = {host: stats.summarize(host) for host in sorted(stats.processed)}
        failed = [host for host, found in counts.items() if found["failures"] or found["unreachable"]]
        # The tables of other callbacks come before it, whatever the order in which Ansible loads them.
        atexit.register(self._tell, [host for host in failed if host in self._last])

    def _tell(self, hosts: list[str]) -> None:
        for host in hosts:
            task, text = self._last[host]
            self._display.display(f"\nFAILED on {host}: {task}\n{text}", color="red", stderr=True)
