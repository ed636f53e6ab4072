"""What a person sees of a playbook on a terminal, and what is in the log."""

from __future__ import annotations

import os
import pty
import re
import subprocess
import sys
from pathlib import Path

import progress
import pytest

ROOT = Path(__file__).parents[2]
PLAYBOOK = """
- name: (1/2) First | Look
  hosts: localhost
  gather_facts: false
  tasks:
    - name: First | Tell what it costs
      ansible.builtin.debug: {msg: It costs 3 dollars.}
    - name: First | Warn
      ansible.builtin.set_fact: {nothing: true}
- name: (1/2) First | Look again
  hosts: localhost
  gather_facts: false
  tasks:
    - name: First | Do something
      ansible.builtin.command: echo only for the log
- name: (2/2) Second | Do more
  hosts: localhost
  gather_facts: false
  tasks:
    - name: Second | Break
      ansible.builtin.fail: {msg: It could not be done.}
      when: broken | default(false) | bool
"""


def run(folder: Path, *arguments: str, terminal: bool = True, **environment: str) -> tuple[int, str]:
    """Exit code and output of the playbook, on a terminal or not; the callback's logs go to the folder."""
    playbook = folder / "a playbook.yml"
    playbook.write_text(PLAYBOOK)
    # Not .venv/bin/ansible-playbook, which starts in an environment of its own.
    command = [sys.executable, "-m", "ansible", "playbook", "-i", "localhost,", "-c", "local", str(playbook)]
    settings = {
        **{name: value for name, value in os.environ.items() if name not in ("CI", "VERBOSE")},
        "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"),
        "ANSIBLE_HOME": str(folder),
        "ANSIBLE_PYTHON_INTERPRETER": sys.executable,
        "RETAILFLOW_LOGS": str(folder / "logs"),
        "TERM": "xterm",
        **environment,
    }
    ours, theirs = pty.openpty() if terminal else os.pipe()
    with subprocess.Popen(
        [*command, *arguments], cwd=ROOT, env=settings, stdin=subprocess.DEVNULL, stdout=theirs, stderr=theirs
    ) as process:
        os.close(theirs)
        shown = b""
        try:
            while found := os.read(ours, 65536):
                shown += found
        except OSError:  # a terminal that nobody has open any more
            pass
        os.close(ours)
    return process.returncode, re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", shown.decode())


def log(folder: Path) -> str:
    return (folder / "logs/a playbook.log").read_text()


def test_a_terminal_shows_phases_and_messages_and_the_log_has_all(tmp_path: Path) -> None:
    code, shown = run(tmp_path)
    assert code == 0, shown
    assert shown.count("✓ (1/2) First") == shown.count("✓ (2/2) Second") == 1, (
        "plays of one phase are one line"
    )
    assert "It costs 3 dollars." in shown
    assert "PLAY [" not in shown and "only for the log" not in shown
    assert "TASK [First | Do something]" in log(tmp_path) and "PLAY RECAP" in log(tmp_path)
    assert (tmp_path / "logs/a playbook.log").stat().st_mode & 0o777 == 0o600

    code, shown = run(tmp_path, "-e", "broken=true")
    assert code == 2
    assert "less than a minute left" in shown, "the last run tells how long it takes"
    assert "✗ localhost: Second | Break" in shown and "FAILED on localhost: Second | Break" in shown
    assert "It could not be done." in shown and "logs/a playbook.log" in shown
    assert "✓ (2/2)" not in shown
    assert "only for the log" not in log(tmp_path).replace("echo only for the log", ""), "the last run's own"
    assert (tmp_path / "logs/a playbook.log.1").exists()


@pytest.mark.parametrize(
    ("arguments", "environment", "terminal"),
    [((), {}, False), ((), {"VERBOSE": "1"}, True), ((), {"CI": "true"}, True), (("--check",), {}, True)],
)
def test_else_ansible_prints_what_it_always_does(
    tmp_path: Path, arguments: tuple[str, ...], environment: dict[str, str], terminal: bool
) -> None:
    code, shown = run(tmp_path, *arguments, terminal=terminal, **environment)
    assert code == 0 and "TASK [First | Warn]" in shown and "PLAY RECAP" in shown, shown
    assert "✓" not in shown and not (tmp_path / "logs").exists()


def test_the_time_left_follows_the_last_run_and_the_pace_of_this_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 1000.0
    monkeypatch.setattr(progress.time, "monotonic", lambda: now)
    first = progress.Timeline(tmp_path / "run.json")
    assert first.left() is None and first.position() is None
    for seconds, name in ((0, "a"), (10, "b"), (90, "b"), (0, "c")):
        now += seconds
        first.begin(name)
    now += 20
    first.keep()

    again = progress.Timeline(tmp_path / "run.json")
    assert again.left() == 120
    again.begin("a")
    now += 20
    assert again.position() == 10, "it waits for the next task that is known"
    again.begin("b")
    again.begin("new")
    assert (again.position(), again.left()) == (10, 110 * 2), "twice as slow so far"
    again.begin("b")
    assert again.position() == 100
    now += 100
    assert (again.position(), again.left()) == (120, 0)


@pytest.mark.parametrize("content", ["", "{", "[]", '{"tasks": 1, "seconds": 2}', '{"tasks": {}}'])
def test_a_file_that_was_cut_off_is_no_last_run(tmp_path: Path, content: str) -> None:
    (tmp_path / "run.json").write_text(content)
    assert progress.Timeline(tmp_path / "run.json").left() is None


def test_the_step_of_a_build_is_shown_while_it_is_new(tmp_path: Path) -> None:
    file = tmp_path / "local/logs/build-python.log"
    file.parent.mkdir(parents=True)
    assert progress.building(tmp_path) == ""
    file.write_text("Step 1/9 : FROM base\nStep 2/9 : RUN uv \n\n")
    assert progress.building(tmp_path) == "build-python: Step 2/9 : RUN uv"
    os.utime(file, (0, 0))
    assert progress.building(tmp_path) == ""


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(3, "less than a minute left"), (61, "about 1 min left"), (290, "about 5 min left")],
)
def test_the_rest_is_said_as_people_say_it(seconds: float, words: str) -> None:
    assert progress.rough(seconds) == words
