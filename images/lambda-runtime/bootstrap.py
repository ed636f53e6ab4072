"""Runs one Lambda invocation in a container: ``bootstrap.py <module.function> <event as JSON>``.

This is an emulated runtime. The code lies in /var/task, settings come from the environment as on AWS. Logs go
to stderr, and the last line on stdout is the result, or AWS's error object together with exit code 1. Standard
library only: what else a function needs is in its zip.
"""

from __future__ import annotations

import importlib
import json
import os
import signal
import sys
import time
import traceback
import uuid
from types import FrameType

TASK_ROOT = "/var/task"


class TaskTimedOut(BaseException):
    """The function ran longer than its timeout; not an Exception, so that handlers do not swallow it."""


class Context:
    """What AWS passes as the second argument, as far as it means something here."""

    def __init__(self) -> None:
        name = os.environ.get("AWS_LAMBDA_FUNCTION_NAME", "function")
        region = os.environ.get("AWS_REGION", "us-east-1")
        self.timeout = int(os.environ.get("AWS_LAMBDA_FUNCTION_TIMEOUT", "3"))
        self.aws_request_id = str(uuid.uuid4())
        self.function_name = name
        self.function_version = os.environ.get("AWS_LAMBDA_FUNCTION_VERSION", "$LATEST")
        self.invoked_function_arn = f"arn:aws:lambda:{region}:123456789012:function:{name}"
        self.memory_limit_in_mb = os.environ.get("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "128")
        self.log_group_name = f"/aws/lambda/{name}"
        self._deadline = time.monotonic() + self.timeout

    def get_remaining_time_in_millis(self) -> int:
        """Milliseconds until the timeout."""
        return max(0, round((self._deadline - time.monotonic()) * 1000))


def _time_out(_signal: int, _frame: FrameType | None) -> None:
    raise TaskTimedOut


def _error(kind: str, message: str, context: Context, trace: list[str]) -> str:
    fields = {
        "errorMessage": message,
        "errorType": kind,
        "requestId": context.aws_request_id,
        "stackTrace": trace,
    }
    return json.dumps(fields)


def invoke(handler: str, payload: str, context: Context) -> tuple[str, bool]:
    """Run the handler; returns the line to print and whether it is a result (and not an error)."""
    try:
        event = json.loads(payload)
        # The emulated API passes an absent payload as the text "{}".
        event = {} if event == "{}" else event
        module, _, function = handler.rpartition(".")
        result = getattr(importlib.import_module(module), function)(event, context)
    except TaskTimedOut:
        text = f"RequestId: {context.aws_request_id} Error: Task timed out after {context.timeout}.00 seconds"
        return _error("Sandbox.Timedout", text, context, []), False
    except BaseException as error:
        trace = traceback.format_tb(error.__traceback__)[1:]
        print(f"[ERROR] {type(error).__name__}: {error}", *trace, sep="\n", file=sys.stderr)
        return _error(type(error).__name__, str(error), context, trace), False
    try:
        return json.dumps(result), True
    except (TypeError, ValueError) as error:
        return _error("Runtime.MarshalError", f"Unable to marshal response: {error}", context, []), False


def main(argv: list[str]) -> int:
    """Run one invocation and print its outcome."""
    handler, payload = argv
    context = Context()
    signal.signal(signal.SIGALRM, _time_out)
    signal.alarm(context.timeout)
    sys.path.insert(0, os.environ.get("LAMBDA_TASK_ROOT", TASK_ROOT))
    started = time.monotonic()
    line, succeeded = invoke(handler, payload, context)
    signal.alarm(0)
    print(
        f"REPORT RequestId: {context.aws_request_id} Duration: {(time.monotonic() - started) * 1000:.2f} ms "
        f"Memory Size: {context.memory_limit_in_mb} MB (emulated)",
        file=sys.stderr,
    )
    sys.stderr.flush()
    print(f"\n{line}", flush=True)
    return 0 if succeeded else 1


def _arguments() -> list[str]:
    if len(sys.argv) != 3:
        raise SystemExit("usage: bootstrap.py <module.function> <event as JSON>")
    return sys.argv[1:]


if __name__ == "__main__":
    code = main(_arguments())
    sys.stdout.flush()
    os._exit(code)
