"""The Lambda function: ``retailflow_generator.handler.handler``."""

from __future__ import annotations

import json
import logging
import os
import sys
import time
import uuid
from collections.abc import Callable
from typing import Any

from .batch import generate
from .config import Settings
from .request import BatchRequest, parse_events

log = logging.getLogger("retailflow_generator")


class _JsonFormatter(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        fields = {"time": self.formatTime(record), "level": record.levelname, "message": record.getMessage()}
        return json.dumps(fields | getattr(record, "fields", {}), default=str)


def _configure_logging() -> None:
    if not log.handlers:
        output = logging.StreamHandler(sys.stderr)
        output.setFormatter(_JsonFormatter())
        log.addHandler(output)
        log.setLevel(logging.INFO)
        log.propagate = False  # the runtime's own handler would print every line again


def handler(event: object, context: Any = None) -> dict[str, Any]:
    """Write the batch, or the batches, that ``event`` asks for; see ``request.parse_events`` for its shape.

    Returns batch_id, rows, first_order_id, last_order_id, total_revenue and net_revenue (decimal text; discounts
    are taken off the second), updated and deleted (earlier orders that advanced), as_of, seed, ``repeated`` (an
    earlier delivery wrote it: nothing was written now) and seconds; for a history also days, batches_written and days_left:
    it stops while there is still time to answer, and sent again it goes on.
    Of several messages ``{"batches": […]}`` with such an object for each.

    Raises InvalidRequestError, InvalidConfigurationError, PasswordUnavailableError or DatabaseUnavailableError, of which
    DiskFullError is one. Nothing was written then but the days of a history, or the messages, that were finished before:
    sent again, they are repeated.
    """
    _configure_logging()
    try:
        settings = Settings.from_env(os.environ)
        request_id = str(getattr(context, "aws_request_id", None) or uuid.uuid4())
        requests = parse_events(event, request_id=request_id, default_rows=settings.default_rows)
        results = [_write(settings, request, _remaining(context)) for request in requests]
    except Exception as error:
        log.error("batch failed", extra={"fields": {"error": type(error).__name__, "reason": str(error)}})
        raise
    return results[0] if len(results) == 1 else {"batches": results}


def _remaining(context: Any) -> Callable[[], float]:
    """Seconds until the timeout, as Lambda's context tells them; for ever where there is none."""
    milliseconds = getattr(context, "get_remaining_time_in_millis", None)
    return (lambda: milliseconds() / 1000) if milliseconds else (lambda: float("inf"))


def _write(settings: Settings, request: BatchRequest, remaining: Callable[[], float]) -> dict[str, Any]:
    started = time.perf_counter()
    result, repeated = generate(settings, request, remaining=remaining)
    result |= {"repeated": repeated, "seconds": round(time.perf_counter() - started, 3)}
    log.info("batch repeated" if repeated else "batch written", extra={"fields": result})
    return result
