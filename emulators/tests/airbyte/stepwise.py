"""Embedded Airbyte with connectors that save often: `stepwise.py server`, `source …`, `destination …`.

A few thousand rows then take as many checkpoints, batches and loads as millions do otherwise.
"""

from __future__ import annotations

import sys
from dataclasses import replace

from retailflow_emulators.airbyte.protocol import main


def serve() -> None:
    import uvicorn

    from retailflow_emulators.airbyte.api import create_app
    from retailflow_emulators.airbyte.connectors import CATALOG
    from retailflow_emulators.airbyte.settings import Settings
    from retailflow_emulators.airbyte.workers import Connectors

    settings = Settings.from_environment()
    connectors = [replace(one, command=(sys.executable, __file__, one.kind)) for one in CATALOG]
    app = create_app(settings, Connectors(connectors))
    uvicorn.run(app, host=settings.host, port=settings.port, log_level="warning")


match sys.argv[1]:
    case "server":
        serve()
    case "source":
        from retailflow_emulators.airbyte.source_postgres import limits
        from retailflow_emulators.airbyte.source_postgres.connector import PostgresSource

        limits.CHECKPOINT_ROWS = 500
        sys.exit(main(PostgresSource(), sys.argv[2:]))
    case "destination":
        from retailflow_emulators.airbyte.destination_snowflake import connector, writer

        connector.BLOCK_BYTES, writer.BATCH_ROWS = 1 << 16, 1000
        sys.exit(main(connector.SnowflakeDestination(), sys.argv[2:]))
