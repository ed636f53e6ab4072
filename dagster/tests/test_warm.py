"""Runs are forked from a process that has imported what they import, and so is the first dbt command of each."""

from __future__ import annotations

import inspect
import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from dagster._grpc.server import DagsterApiServer

import dbt_support
from retailflow_dagster import code_server
from retailflow_dagster.lib import warm

DBT = str(Path(sys.executable).with_name("dbt"))
# A run's worker: `what` is called in it, and what it returns is printed.
WORKER = """
import json, os, sys, time, subprocess
from pathlib import Path
from retailflow_dagster.lib import warm

def start(*arguments, **environment):
    return warm.Subprocess.Popen([{dbt!r}, *arguments], env=os.environ | environment, cwd=Path({project!r}),
                                 stdout=warm.Subprocess.PIPE, stderr=warm.Subprocess.STDOUT)

def command_line(pid):
    return Path(f"/proc/{{pid}}/cmdline").read_bytes().replace(b"\\0", b" ").decode()

def what():
    {what}

def worker():
    print(json.dumps(what()), flush=True)

if __name__ == "__main__":
    one = warm.context().Process(target=worker)
    one.start()
    one.join()
    sys.exit(one.exitcode)
"""


def in_worker(tmp_path: Path, what: str) -> Any:
    """What the statements return in the worker of a run."""
    script = tmp_path / "worker.py"
    script.write_text(
        WORKER.format(dbt=DBT, project=str(dbt_support.PROJECT), what="\n    ".join(what.splitlines()))
    )
    done = subprocess.run(
        [sys.executable, script],
        env={
            **os.environ,
            "PYTHONPATH": str(dbt_support.ROOT / "dagster/src"),
            "DBT_LOG_PATH": str(tmp_path),
        },
        capture_output=True,
        text=True,
        timeout=180,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_a_run_has_what_it_imports_and_its_first_dbt_command_too(tmp_path: Path) -> None:
    told = in_worker(
        tmp_path,
        """told = {"known": [one in sys.modules for one in ("retailflow_dagster.definitions", "dbt.cli.main")]}
first = start("ls", "--select", "stg_sales", "--output", "name", DBT_LOG_FORMAT="json", SECRET="s")
told["forked"] = [command_line(first.pid), Path(f"/proc/{first.pid}/stat").read_text().split()[3] == str(os.getpid())]
told["running"] = first.poll()
told["lines"] = [json.loads(line)["info"]["msg"] for line in first.stdout]
told["code"] = [first.wait(60), first.poll(), first.returncode]
first.send_signal(2)
second = start("--no-such-option")
told["second"] = [second.stdout.read().decode(), second.wait(60), type(second).__module__]
told["here"] = ["SECRET" in os.environ, os.getcwd()]
return told""",
    )
    assert told["known"] == [True, True]
    assert "multiprocessing.forkserver" in told["forked"][0] and told["forked"][1]
    assert told["running"] is None and told["code"] == [0, 0, 0]
    assert any("stg_sales" in line for line in told["lines"]), told["lines"]
    assert "no-such-option" in told["second"][0] and told["second"][1] == 2
    assert told["second"][2] == "subprocess", "the second command starts a Python of its own"
    assert told["here"] == [False, os.getcwd()]


def test_the_command_fails_as_a_python_of_its_own_does(tmp_path: Path) -> None:
    code, text = in_worker(
        tmp_path,
        """one = start("no-such-command")
return one.wait(), one.stdout.read().decode()""",
    )
    alone = subprocess.run(
        [DBT, "no-such-command"], cwd=dbt_support.PROJECT, capture_output=True, text=True, timeout=120
    )
    assert (code, text) == (alone.returncode, alone.stdout + alone.stderr)
    assert code == 2


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGINT, None), (signal.SIGTERM, -15), (signal.SIGKILL, -9)]
)
def test_a_command_that_hangs_is_interrupted_or_killed(tmp_path: Path, number: int, code: int | None) -> None:
    """The warehouse takes connections and answers none."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        environment = {
            "SNOWFLAKE_HOST": "127.0.0.1",
            "SNOWFLAKE_PORT": str(server.getsockname()[1]),
            "SNOWFLAKE_PRIVATE_KEY": key(tmp_path),
        }
        told = in_worker(
            tmp_path,
            f"""one = start("debug", "--connection", **{environment!r})
time.sleep(4)
running = one.poll()
try:
    one.wait(0.2)
except subprocess.TimeoutExpired as error:
    late = error.cmd[1]
one.send_signal({int(number)})
return running, late, one.wait(60)""",
        )
    assert told[:2] == [None, "debug"]
    assert told[2] == code if code is not None else told[2] != 0


def key(folder: Path) -> str:
    file = folder / "key.p8"
    subprocess.run(
        ["openssl", "genpkey", "-quiet", "-algorithm", "RSA", "-out", file], check=True, capture_output=True
    )
    return file.read_text()


@pytest.mark.parametrize("end", ["", "; os.kill(os.getpid(), 9)"])
def test_the_process_that_waits_ends_with_its_run(tmp_path: Path, end: str) -> None:
    note = tmp_path / "pid"
    said = f"Path({str(note)!r}).write_text(str(warm._waiting[0])){end}"
    if end:
        with pytest.raises(AssertionError):  # the worker was killed
            in_worker(tmp_path, said)
    else:
        in_worker(tmp_path, said)
    pid = int(note.read_text())
    until = time.monotonic() + 30
    while Path(f"/proc/{pid}").exists():
        assert time.monotonic() < until, "it waits on"
        time.sleep(0.1)


def test_the_code_server_forks_its_workers(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Any] = []

    class Server(DagsterApiServer):
        def __init__(self, *_: Any) -> None:
            self._mp_ctx = "spawn"

    assert "self._mp_ctx.Process(" in inspect.getsource(DagsterApiServer.StartRun), (
        "Dagster starts a run's worker by it"
    )
    monkeypatch.setattr(warm, "context", lambda: seen.append("started") or "warm")
    code_server.fork_workers(Server)
    assert Server()._mp_ctx == "warm" and seen == ["started"]
