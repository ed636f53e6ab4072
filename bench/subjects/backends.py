"""The running site by ECS beside the same site by Docker's engines: what a second run and a move of all services take.

It moves the services of the site that is up here, and leaves them with ECS; so it runs only where it is named.
"""

from __future__ import annotations

import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

from ..measurement import Measurement

NEEDS_SITE = True
ROOT = Path(__file__).parents[2]
MORE_SECONDS = 20.0  # that a run with ECS may take more than one with Docker


def _converge(backend: str) -> float:
    """Seconds that the site's playbook takes to bring the services to a backend; RuntimeError with the end of its output."""
    began = time.monotonic()
    command = ["ansible-playbook", "site.yml", "-e", f"retailflow_container_backend={backend}"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=3600, check=False)
    if done.returncode:
        raise RuntimeError(
            f"the site does not come to the backend {backend}:\n{done.stdout[-3000:]}{done.stderr[-1000:]}"
        )
    return time.monotonic() - began


def measure(rows: int) -> Iterator[Measurement]:
    """Bring the site to Docker, again to Docker, to ECS and again to ECS; ``rows`` counts for nothing."""
    del rows
    _converge("ecs")
    to_docker, docker, to_ecs, ecs = (_converge(one) for one in ("docker", "docker", "ecs", "ecs"))
    note = "the site's playbook, its proof of a cycle included"
    for name, value, beside in (("again_by_ecs", ecs, docker), ("moved_to_ecs", to_ecs, to_docker)):
        limit = (beside + MORE_SECONDS) / beside
        yield Measurement(f"site.{name}", value, "s", limit, beside=beside, at_most=True, note=note)
