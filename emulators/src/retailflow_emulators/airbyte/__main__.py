"""Run the server: `python -m retailflow_emulators.airbyte`, configured by EMBEDDED_AIRBYTE_* variables."""

from __future__ import annotations

import logging
import sys

import uvicorn

from ..web.serving import configuration
from .api import create_app
from .settings import Settings, SettingsError


def main() -> int:
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    try:
        settings = Settings.from_environment()
    except SettingsError as error:
        print(f"embedded Airbyte cannot start: {error}", file=sys.stderr)
        return 2
    logging.getLogger("embedded_airbyte").info(
        "embedded Airbyte listens on %s:%s", settings.host, settings.port
    )
    uvicorn.Server(configuration(create_app(settings), settings.host, settings.port)).run()
    return 0


sys.exit(main())
