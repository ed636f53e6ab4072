"""Run the emulated EventBridge schedules: ``python -m retailflow_emulators.eventbridge``."""

from retailflow_emulators.eventbridge.poller import main

if __name__ == "__main__":
    raise SystemExit(main())
