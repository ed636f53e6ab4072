"""Run the emulated Snowflake: ``python -m retailflow_emulators.snowflake``."""

from .. import lean

lean.start()  # before anything imports Snowflake's connector

from .server import main  # noqa: E402

if __name__ == "__main__":
    raise SystemExit(main())
