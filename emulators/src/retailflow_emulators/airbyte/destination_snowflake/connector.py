"""The Airbyte protocol's side of the destination: spec, check, write.

What takes long to import (Snowflake's connector, pyarrow) is imported by the commands that need it.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import IO

from ... import lean
from ..protocol import ConnectorError, JsonObject, Stream
from ..records import blocks, read_ahead

BLOCK_BYTES = 16 << 20
BLOCKS_AHEAD = 6


class SnowflakeDestination:
    """Loads streams in batches; a state is sent back only when every row before it is in its table."""

    spec: JsonObject = {
        "protocol_version": "0.2.0",
        "documentationUrl": "https://docs.airbyte.com/integrations/destinations/snowflake",
        "supportsIncremental": True,
        "supported_destination_sync_modes": ["overwrite", "append", "append_dedup"],
        "connectionSpecification": {
            "$schema": "http://json-schema.org/draft-07/schema#",
            "title": "Snowflake (embedded)",
            "type": "object",
            "required": ["host", "role", "warehouse", "database", "schema", "username", "credentials"],
            "properties": {
                "host": {
                    "type": "string",
                    "title": "Host",
                    "description": "<account>.snowflakecomputing.com; a port may follow",
                    "pattern": r"^[A-Za-z0-9._-]+(:\d+)?$",
                },
                "role": {"type": "string", "title": "Role"},
                "warehouse": {"type": "string", "title": "Warehouse"},
                "database": {"type": "string", "title": "Database"},
                "schema": {"type": "string", "title": "Default schema"},
                "username": {"type": "string", "title": "Username"},
                "credentials": {
                    "title": "Authorization method",
                    "type": "object",
                    "oneOf": [
                        {
                            "title": "Key Pair Authentication",
                            "required": ["auth_type", "private_key"],
                            "properties": {
                                "auth_type": {"const": "Key Pair Authentication"},
                                "private_key": {"type": "string", "airbyte_secret": True},
                                "private_key_password": {"type": "string", "airbyte_secret": True},
                            },
                        },
                        {
                            "title": "Username and Password",
                            "required": ["auth_type", "password"],
                            "properties": {
                                "auth_type": {"const": "Username and Password"},
                                "password": {"type": "string", "airbyte_secret": True},
                            },
                        },
                    ],
                },
                "cdc_deletion_mode": {
                    "type": "string",
                    "title": "CDC deletion mode",
                    "enum": ["Hard delete", "Soft delete"],
                    "default": "Hard delete",
                    "description": "Whether a row that the source has deleted goes, or stays with its "
                    "_AB_CDC_DELETED_AT set",
                },
                "jdbc_url_params": {
                    "type": "string",
                    "title": "JDBC URL params",
                    "description": "key=value pairs joined with &; embedded Airbyte knows account, ssl, "
                    "and networkTimeout (milliseconds)",
                },
            },
        },
    }

    def check(self, config: JsonObject) -> None:
        lean.start()
        from .warehouse import Warehouse

        with Warehouse(config) as warehouse:
            warehouse.check()

    def write(self, config: JsonObject, streams: Sequence[Stream], stdin: IO[bytes]) -> None:
        # The source need not wait for what takes a while to start.
        incoming = read_ahead(blocks(stdin, BLOCK_BYTES, full=True), BLOCKS_AHEAD)
        lean.start()
        from .warehouse import Warehouse
        from .writer import Writer

        with Warehouse(config) as warehouse, tempfile.TemporaryDirectory() as folder:
            writer = Writer(warehouse, streams, Path(folder))
            try:
                for block in incoming:
                    writer.take(block)
                writer.finish()
            except OSError as error:  # pyarrow's too: no space, or no more than so much of it
                raise ConnectorError(f"cannot stage rows in {folder}: {error}", "transient_error") from error
