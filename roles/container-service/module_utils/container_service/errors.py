"""Why a run stops, in words that a person can act on."""

from __future__ import annotations


class WorkloadError(Exception):
    """What stands in the way, in words for the person who runs the play."""
