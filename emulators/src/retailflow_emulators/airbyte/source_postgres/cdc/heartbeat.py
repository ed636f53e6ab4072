"""The heartbeat of CDC: a statement of the user's that writes to a published table now and then.

PostgreSQL 15 leaves out a transaction that touches no published table. So a slot whose tables rest while others
are written to would hold the log back for ever. A heartbeat gives the read something to see.

The interval, and which failures end a read, are those of the product: `heartbeat.interval.ms` in
PostgresCdcProperties.java of airbytehq/airbyte is 10 s, and PostgresConnectorTask.java of debezium/debezium lets a
failed statement pass unless the server is going down (57P01) or does not accept connections yet (57P03). The product
waits one interval before the first beat, because its read goes on until it sees one; ours beats at the beginning.
"""

from __future__ import annotations

import time

import psycopg2

from ...protocol import JsonObject, log
from .. import limits
from ..session import connect, failure

_FATAL = ("57P01", "57P03")


class Heartbeat:
    """Runs the statement of `heartbeat_action_query` when it is due; does nothing where there is none."""

    def __init__(self, config: JsonObject, statement: str) -> None:
        self._config = config
        self._statement = statement
        self._due = 0.0

    def beat_if_due(self) -> None:
        """Raises ConnectorError where the server is away."""
        if self._statement and time.monotonic() >= self._due:
            self._beat()
            self._due = time.monotonic() + limits.HEARTBEAT_SECONDS

    def _beat(self) -> None:
        """Run the statement as the user would: with the settings of the role."""
        with connect(self._config, settings=False) as connection:
            try:
                with connection, connection.cursor() as cursor:
                    cursor.execute(self._statement)
            except psycopg2.Error as error:
                if error.pgcode in _FATAL:
                    raise failure(error, f"heartbeat_action_query `{self._statement}`") from error
                log(f"Could not execute heartbeat action (Error: {error.pgcode}): {error}".strip(), "ERROR")
