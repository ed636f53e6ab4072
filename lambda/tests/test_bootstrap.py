"""The emulated Lambda runtime, as the emulated AWS API starts it: argv in, the last line out."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

BOOTSTRAP = Path(__file__).parents[2] / "images/lambda-runtime/bootstrap.py"
FUNCTION = """
import sys, time

def echo(event, context):
    print("a log line")
    sys.stdout.write("no newline at the end")
    return {"event": event, "name": context.function_name, "left": context.get_remaining_time_in_millis() > 0}

def fail(event, context):
    raise KeyError("broken")

def leave(event, context):
    sys.exit(3)

def sleep(event, context):
    try:
        time.sleep(30)
    except Exception:
        pass

def unserialisable(event, context):
    return {1, 2}
"""


@pytest.fixture
def run(tmp_path: Path) -> Any:
    (tmp_path / "task.py").write_text(FUNCTION)

    def run(handler: str, event: object) -> tuple[int, Any, str]:
        done = subprocess.run(
            [sys.executable, BOOTSTRAP, handler, json.dumps(event)],
            env=os.environ
            | {
                "LAMBDA_TASK_ROOT": str(tmp_path),
                "AWS_LAMBDA_FUNCTION_NAME": "generator",
                "AWS_LAMBDA_FUNCTION_TIMEOUT": "1",
            },
            capture_output=True,
            text=True,
            check=False,
        )
        return done.returncode, json.loads(done.stdout.splitlines()[-1]), done.stderr

    return run


def test_the_last_line_is_the_result(run: Any) -> None:
    code, result, log = run("task.echo", {"rows": 1, "text": "é\n"})
    assert (code, result) == (0, {"event": {"rows": 1, "text": "é\n"}, "name": "generator", "left": True})
    assert "REPORT RequestId" in log and "emulated" in log


def test_an_absent_payload_is_an_empty_event(run: Any) -> None:
    assert run("task.echo", "{}")[1]["event"] == {}


@pytest.mark.parametrize(
    ("handler", "kind", "message"),
    [
        ("task.fail", "KeyError", "'broken'"),
        ("task.leave", "SystemExit", "3"),
        ("task.sleep", "Sandbox.Timedout", "Task timed out after 1.00 seconds"),
        ("task.unserialisable", "Runtime.MarshalError", "set is not JSON serializable"),
        ("task.missing", "AttributeError", "missing"),
        ("nowhere.at_all", "ModuleNotFoundError", "nowhere"),
    ],
)
def test_a_failure_is_awss_error_object(run: Any, handler: str, kind: str, message: str) -> None:
    code, error, _ = run(handler, {})
    assert (code, error["errorType"]) == (1, kind)
    assert message in error["errorMessage"]
    assert isinstance(error["stackTrace"], list)
