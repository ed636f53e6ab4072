"""Embedded Airbyte with connectors that save often; they are forked (see forked.py) by the server at FORKED.

A few thousand rows then take as many checkpoints, batches and loads as millions do otherwise.
"""

from __future__ import annotations

import os
import sys
from dataclasses import replace
from pathlib import Path


def serve() -> None:
    import uvicorn

    from retailflow_emulators.airbyte.api import create_app
    from retailflow_emulators.airbyte.connectors import CATALOG
    from retailflow_emulators.airbyte.settings import Settings
    from retailflow_emulators.airbyte.workers import Connectors

    settings = Settings.from_environment()
    run = (
        sys.executable,
        "-I",
        "-S",
        str(Path(__file__).with_name("forked.py")),
        "run",
        os.environ["FORKED"],
    )
    connectors = [replace(one, command=(*run, f"stepwise-{one.kind}")) for one in CATALOG]
    app = create_app(settings, Connectors(connectors))
    uvicorn.run(app, host=settings.host, port=settings.port, log_level="warning")


def save_often() -> None:
    """In the process of a connector."""
    from retailflow_emulators.airbyte.destination_snowflake import connector, writer
    from retailflow_emulators.airbyte.source_postgres import limits

    limits.CHECKPOINT_ROWS = 500
    connector.BLOCK_BYTES, writer.BATCH_ROWS = 1 << 16, 1000


if __name__ == "__main__":
    serve()
