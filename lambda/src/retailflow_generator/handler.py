"""The Lambda function: ``retailflow_generator.handler.handler``."""

from __future__ import annotations

import json
import logging
import os
import sys
import time
import uuid
from typing import Any

from sqlalchemy import Connection
from sqlalchemy.exc import OperationalError

from retailflow_generator.config import Settings
from retailflow_generator.database import copy_rows, draw_order_ids, engine_for, write_once
from retailflow_generator.request import BatchRequest, parse_event
from retailflow_generator.rows import Totals, default_renderer

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


class DatabaseUnavailable(RuntimeError):
    """PostgreSQL did not answer, or refused; nothing was written."""


def generate(settings: Settings, request: BatchRequest) -> tuple[dict[str, Any], bool]:
    """Write one batch; returns its result and whether it had been written before."""
    renderer = default_renderer()

    def write(connection: Connection) -> dict[str, Any]:
        ids, totals = draw_order_ids(connection, request.rows), Totals()
        copy_rows(connection, renderer.chunks(ids, request.seed, request.as_of, totals))
        return {
            "batch_id": request.batch_id,
            "rows": totals.rows,
            "first_order_id": int(ids[0]),
            "last_order_id": int(ids[-1]),
            "total_revenue": f"{totals.revenue / 100:.2f}",
            "net_revenue": f"{(totals.revenue - totals.discount) / 100:.2f}",
            "as_of": request.as_of.isoformat(),
            "seed": request.seed,
        }

    try:
        return write_once(engine_for(settings), request.batch_id, write)
    except OperationalError as error:
        where = f"{settings.host}:{settings.port}/{settings.database} as {settings.user}"
        raise DatabaseUnavailable(
            f"PostgreSQL at {where}: {' '.join(str(error.orig).split())} "
            "Check that it runs, that the security group lets the function in, and DB_* of the function."
        ) from None


def handler(event: object, context: Any = None) -> dict[str, Any]:
    """Write the batch that ``event`` asks for; see ``request.parse_event`` for its shape.

    Returns batch_id, rows, first_order_id, last_order_id, total_revenue and net_revenue (decimal text, money
    off taken away in the second), as_of, seed, ``repeated`` (an earlier delivery wrote it: nothing was
    written now) and seconds. Raises InvalidRequest, InvalidConfiguration or DatabaseUnavailable with nothing
    written.
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
