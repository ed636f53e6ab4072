"""Ansible callback: on a terminal, a line of progress in the place of the output of every task."""

from __future__ import annotations

import atexit
import json
import os
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

from ansible.plugins.callback.default import CallbackModule as Default
from ansible.utils.display import Display
from rich.console import Console
from rich.progress import BarColumn, Progress, ProgressColumn, Task, TextColumn
from rich.text import Text

DOCUMENTATION = r"""
name: progress
type: stdout
short_description: A line of progress on a terminal, Ansible's own output elsewhere
description:
  - On a terminal, it shows the phase, a bar, the time left as the last run of the playbook lets expect, and the task under way.
    Phases that ended, messages for people, warnings and failures stay on the screen; everything else is in a log file.
  - Where the output is no terminal, with VERBOSE or CI set, and with -v, --check or --diff, it is the default callback.
extends_documentation_fragment: [default_callback, result_format_callback]
options:
  logs:
    description: The folder of the logs, and of the times that the next run learns from.
    type: path
    required: true
    env: [{name: RETAILFLOW_LOGS}]
    ini: [{section: callback_progress, key: logs}]
requirements: [set it as stdout_callback]
"""

BUILDS = "*/logs/build-*.log"  # what builds of images print, beside the folder of the logs
FRESH = 10  # seconds for which the last line of such a log tells what is under way


class Timeline:
    """When each task began in this run and in the last one that passed, in seconds since the start.

    ``position`` is where in the last run this one is; ``None`` where there was none.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.seconds = 0.0
        self._last: dict[str, float] = {}
        self._now: dict[str, float] = {}
        self._seen: Counter[str] = Counter()
        self._began = time.monotonic()
        self._reached, self._reached_at = 0.0, 0.0
        try:
            kept = json.loads(path.read_text())
            self._last, self.seconds = dict(kept["tasks"]), float(kept["seconds"])
        except (OSError, ValueError, KeyError, TypeError):
            pass  # the first run, or a file that was cut off

    def elapsed(self) -> float:
        return time.monotonic() - self._began

    def begin(self, name: str) -> None:
        """A task begins; one of a name that was there before is another one."""
        self._seen[name] += 1
        key = f"{name} #{self._seen[name]}"
        self._now[key] = self.elapsed()
        if self._last.get(key, -1.0) > self._reached:
            self._reached, self._reached_at = self._last[key], self.elapsed()

    def position(self) -> float | None:
        if not self.seconds:
            return None
        later = min((at for at in self._last.values() if at > self._reached), default=self.seconds)
        return min(self._reached + self.elapsed() - self._reached_at, later)

    def left(self) -> float | None:
        """Seconds until the end, as slow or fast as this run is beside the last one so far."""
        position = self.position()
        if position is None:
            return None
        pace = self.elapsed() / position if position > 5 else 1.0
        return max(0.0, (self.seconds - position) * min(max(pace, 0.2), 5.0))

    def keep(self) -> None:
        """Remember this run for the next one."""
        self.path.write_text(json.dumps({"seconds": self.elapsed(), "tasks": self._now}))


def clock(seconds: float) -> str:
    """A duration as people say it."""
    return f"{seconds:.0f} s" if seconds < 60 else f"{seconds // 60:.0f} min {seconds % 60:.0f} s"


def rough(seconds: float) -> str:
    return "less than a minute left" if seconds < 50 else f"about {max(1, round(seconds / 60))} min left"


def building(state: Path) -> str:
    """The last line that a build of an image wrote just now."""
    logs = [path for path in state.glob(BUILDS) if time.time() - path.stat().st_mtime < FRESH]
    if not logs:
        return ""
    newest = max(logs, key=lambda path: path.stat().st_mtime)
    with newest.open("rb") as file:
        file.seek(max(0, newest.stat().st_size - 2000))
        lines = file.read().decode(errors="replace").split("\n")
    return next((f"{newest.stem}: {line.strip()}" for line in reversed(lines) if line.strip()), "")


class Left(ProgressColumn):
    """Time left, or the time that has passed where nothing is known of earlier runs."""

    def __init__(self, timeline: Timeline) -> None:
        super().__init__()
        self._timeline = timeline

    def render(self, task: Task) -> Text:
        left = self._timeline.left()
        task.total = self._timeline.seconds or None
        task.completed = self._timeline.position() or 0.0
        return Text(clock(self._timeline.elapsed()) if left is None else rough(left))


class Doing(ProgressColumn):
    """The task under way, or the step of the image that is built."""

    def __init__(self, state: Path) -> None:
        super().__init__()
        self._state = state

    def render(self, task: Task) -> Text:
        return Text(building(self._state) or str(task.fields["doing"]), style="dim", overflow="ellipsis")


class CallbackModule(Default):
    """Ansible's default callback, with its output sent to a file while a bar is shown."""

    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "stdout"
    CALLBACK_NAME = "progress"

    def __init__(self) -> None:
        super().__init__()
        self._bar: Progress | None = None
        self._log = Path()
        self._timeline: Timeline | None = None
        self._phase, self._phase_began = "", 0.0

    def v2_playbook_on_start(self, playbook: Any) -> None:
        asked = {"VERBOSE", "CI"} & set(os.environ)
        options = self._cli_options()
        detailed = options.get("check") or options.get("diff") or options.get("verbosity")
        if sys.stdout.isatty() and not asked and not detailed:
            self._show(Path(playbook._file_name).stem)
        super().v2_playbook_on_start(playbook)

    @staticmethod
    def _cli_options() -> dict[str, Any]:
        from ansible import context

        return dict(context.CLIARGS)

    def _show(self, name: str) -> None:
        """Draw a bar, and send what Ansible prints to the log; what goes to stderr is for people, so it stays."""
        logs = Path(self.get_option("logs"))
        logs.mkdir(mode=0o700, parents=True, exist_ok=True)
        path = self._log = logs / f"{name}.log"
        if path.exists():
            path.replace(path.with_suffix(".log.1"))
        log = os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w")
        timeline = self._timeline = Timeline(logs / f"{name}.json")
        # A file of its own: the locks of a stream that Ansible's workers write to must not be held when they are forked.
        console = Console(file=os.fdopen(os.dup(1), "w"), highlight=False)
        bar = self._bar = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=24),
            Left(timeline),
            Doing(logs.parent),
            console=console,
            transient=True,
            expand=True,
            refresh_per_second=4,
        )
        bar.add_task("", total=None, doing="")
        bar.start()
        atexit.register(bar.stop)
        display: Any = Display()
        main, display_, prompt = os.getpid(), display.display, display.prompt_until

        def shown(msg: str, *args: Any, stderr: bool = False, **more: Any) -> None:
            if os.getpid() != main:  # a worker hands it on
                display_(msg, *args, stderr=stderr, **more)
                return
            log.write(msg if msg.endswith("\n") else msg + "\n")
            log.flush()
            if stderr:
                console.print(Text(msg), soft_wrap=True)

        def asked(*args: Any, **more: Any) -> Any:
            if os.getpid() != main:
                return prompt(*args, **more)
            bar.stop()
            try:
                return prompt(*args, **more)
            finally:
                bar.start()

        display.display, display.prompt_until = shown, asked

    def _say(self, text: str) -> None:
        if self._bar:
            self._bar.console.print(Text(text), soft_wrap=True)

    def _end_phase(self, mark: str) -> None:
        if self._phase and self._timeline:
            self._say(f"{mark} {self._phase}  {clock(self._timeline.elapsed() - self._phase_began)}")

    def v2_playbook_on_play_start(self, play: Any) -> None:
        super().v2_playbook_on_play_start(play)
        phase = str(play.get_name()).split(" | ")[0].strip()
        if self._bar and self._timeline and phase != self._phase:
            self._end_phase("✓")
            self._phase, self._phase_began = phase, self._timeline.elapsed()
            self._bar.update(self._bar.task_ids[0], description=phase)

    def _begin(self, task: Any) -> None:
        if self._bar and self._timeline:
            name = str(task.get_name()).strip()
            self._timeline.begin(name)
            self._bar.update(self._bar.task_ids[0], doing=name.split(" : ")[-1])

    def v2_playbook_on_task_start(self, task: Any, is_conditional: bool) -> None:
        self._begin(task)
        super().v2_playbook_on_task_start(task, is_conditional)

    def v2_playbook_on_handler_task_start(self, task: Any) -> None:
        self._begin(task)
        super().v2_playbook_on_handler_task_start(task)

    def v2_runner_on_ok(self, result: Any) -> None:
        super().v2_runner_on_ok(result)
        if self._bar and str(result.task.action).rpartition(".")[2] == "debug":
            message = result.result.get("msg", "")
            self._say(message if isinstance(message, str) else json.dumps(message, indent=2))

    def v2_runner_on_failed(self, result: Any, ignore_errors: bool = False) -> None:
        super().v2_runner_on_failed(result, ignore_errors)
        if not ignore_errors:
            self._say(f"✗ {result.host.get_name()}: {str(result.task.get_name()).strip()}")

    def v2_playbook_on_stats(self, stats: Any) -> None:
        super().v2_playbook_on_stats(stats)
        if not self._bar or not self._timeline:
            return
        failed = any(stats.failures.values()) or any(stats.dark.values())
        if not failed:
            self._timeline.keep()
        self._end_phase("✗" if failed else "✓")
        changed = sum(stats.changed.values())
        self._bar.stop()
        took = clock(self._timeline.elapsed())
        self._say(f"{changed} changed in {took}; all that Ansible said is in {os.path.relpath(self._log)}")
