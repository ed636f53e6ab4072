"""Run the emulated EventBridge schedules: ``python -m retailflow_emulators.eventbridge``."""

from .poller import main

if __name__ == "__main__":
    raise SystemExit(main())
