"""Run the connector: `python -m retailflow_emulators.airbyte.source_postgres spec|check|discover|read …`."""

import sys

from ..protocol import main
from .connector import PostgresSource

sys.exit(main(PostgresSource(), sys.argv[1:]))
