"""Run the embedded dashboard server, ``python -m retailflow_emulators.dashboards``, or a command of Metabase's that it has."""

import sys

from .app import main

if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
