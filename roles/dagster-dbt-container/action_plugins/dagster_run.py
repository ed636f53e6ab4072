"""Action plugin beside the module dagster_run: waits in short calls of the module, and prints how far the run is."""

from __future__ import annotations

import time
from typing import Any

from ansible.plugins.action import ActionBase

#: Seconds of one call, and so between two lines of progress.
CALL_SECONDS = 15


class ActionModule(ActionBase):  # type: ignore[misc]
    """Launches by one call of the module and waits by further ones; the last result is the task's."""

    def run(self, tmp: Any = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """The module's result."""
        super().run(tmp, task_vars)
        arguments = dict(self._task.args)
        job = arguments.get("job", "")
        timeout = int(arguments.get("timeout", 1200))
        began = time.monotonic()

        def call(**more: Any) -> dict[str, Any]:
            result: dict[str, Any] = self._execute_module(
                module_name="dagster_run", module_args=arguments | more, task_vars=task_vars
            )
            return result

        result = call(partial=True)
        if result.get("failed") or "run" not in result:  # refused, or check mode
            return result
        run_id = result["run"]["run_id"]
        self._display.display(f"dagster_run: run {run_id} of {job} is launched.")
        while True:
            left = timeout - (time.monotonic() - began)
            result = call(run_id=run_id, timeout=int(min(max(left, 0), CALL_SECONDS)), partial=True)
            waited = time.monotonic() - began
            run = result.get("run") or {}
            if result.get("failed") or not result.get("progress"):
                if "seconds" in run:
                    run["seconds"] = round(waited, 1)
                return result
            if waited >= timeout:
                return {
                    "failed": True,
                    "msg": f"Run {run_id} of {job} had not ended after {timeout} s ({result['progress']})."
                    " It goes on. Look at it in Dagster.",
                    "run": {"run_id": run_id, "status": run.get("status")},
                }
            self._display.display(f"dagster_run: {waited:.0f} s: {result['progress']}")
