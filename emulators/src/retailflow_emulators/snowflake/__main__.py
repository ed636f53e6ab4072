"""Run the emulated Snowflake: ``python -m retailflow_emulators.snowflake``."""

from .server import main

if __name__ == "__main__":
    raise SystemExit(main())
