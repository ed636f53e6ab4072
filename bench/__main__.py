"""Runs benchmarks: ``python -m bench [subject …] [--rows N] [--format text|json]``."""

from __future__ import annotations

import argparse
import importlib
import json
import os
import pkgutil
import signal
import sys

from . import subjects
from .measurement import Measurement


def main() -> int:
    """Measure the subjects one after the other; figures go to stdout as they come, json at the end."""
    known = sorted(module.name for module in pkgutil.iter_modules(subjects.__path__))
    parser = argparse.ArgumentParser(prog="bench", description="Measure ratios, all in one run.")
    modules = {name: importlib.import_module(f"bench.subjects.{name}") for name in known}
    alone = [name for name, module in modules.items() if getattr(module, "NEEDS_SITE", False)]
    parser.add_argument(
        "subjects",
        nargs="*",
        metavar="subject",
        help=f"{', '.join(known)} (default: all but {', '.join(alone)}, which the running site is needed for)",
    )
    parser.add_argument(
        "--rows", type=int, default=1_000_000, help="size of the large batch (default 1000000)"
    )
    parser.add_argument(
        "--format",
        choices=("text", "json"),
        default=os.environ.get("FORMAT", "text"),
        help="default: FORMAT of the environment, else text",
    )
    arguments = parser.parse_args()
    if arguments.format not in ("text", "json"):  # argparse does not look at defaults
        parser.error(f"FORMAT is text or json, not {arguments.format}")
    if unknown := sorted(set(arguments.subjects) - set(known)):
        parser.error(f"unknown subject {unknown[0]}; known are {', '.join(known)}")
    if arguments.rows < 1:
        parser.error("--rows must be at least 1")
    # A benchmark that is ended stops its servers and removes their folders, as one that is interrupted does.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    found: list[Measurement] = []
    for name in arguments.subjects or [one for one in known if one not in alone]:
        for measurement in modules[name].measure(arguments.rows):
            found.append(measurement)
            if arguments.format == "text":
                print(measurement.as_text(), flush=True)
    if arguments.format == "json":
        print(json.dumps({one.name: one.as_json() for one in found}, indent=2))
    return 0


if __name__ == "__main__":
    sys.exit(main())
