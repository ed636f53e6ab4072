"""Run the connector: `python -m retailflow_emulators.airbyte.destination_snowflake spec|check|write …`."""

import sys

from ..protocol import main
from .connector import SnowflakeDestination

sys.exit(main(SnowflakeDestination(), sys.argv[1:]))
