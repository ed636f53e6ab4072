"""Run the emulated Snowflake: ``python -m retailflow_emulators.snowflake``."""

from retailflow_emulators.snowflake.server import main

if __name__ == "__main__":
    raise SystemExit(main())
