"""Run the way to the Docker engine: ``python -m retailflow_emulators.engine``."""

from .proxy import main

if __name__ == "__main__":
    raise SystemExit(main())
