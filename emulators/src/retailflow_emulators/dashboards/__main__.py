"""Run the embedded dashboard server: ``python -m retailflow_emulators.dashboards``."""

from .app import main

if __name__ == "__main__":
    raise SystemExit(main())
