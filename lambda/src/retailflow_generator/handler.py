"""The Lambda function: ``retailflow_generator.handler.handler``."""

from __future__ import annotations

import json
import logging
import os
import sys
import time
import uuid
from typing import Any

from retailflow_generator.batch import generate
from retailflow_generator.config import Settings
from retailflow_generator.request import parse_event

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
    """Write the batch that ``event`` asks for; see ``request.parse_event`` for its shape.

    Returns batch_id, rows, first_order_id, last_order_id, total_revenue and net_revenue (decimal text, money
    off taken away in the second), updated and deleted (earlier orders that lived on), as_of, seed, ``repeated``
    (an earlier delivery wrote it: nothing was written now) and seconds; for a history also days and
    batches_written. Raises InvalidRequest, InvalidConfiguration or DatabaseUnavailable with nothing written, but
    for the days of a history that were finished before.
    """
    _configure_logging()
    started = time.perf_counter()
    try:
        settings = Settings.from_env(os.environ)
        request_id = str(getattr(context, "aws_request_id", None) or uuid.uuid4())
        request = parse_event(event, request_id=request_id, default_rows=settings.default_rows)
        result, repeated = generate(settings, request)
    except Exception as error:
        log.error("batch failed", extra={"fields": {"error": type(error).__name__, "reason": str(error)}})
        raise
    result |= {"repeated": repeated, "seconds": round(time.perf_counter() - started, 3)}
    log.info("batch repeated" if repeated else "batch written", extra={"fields": result})
    return result
