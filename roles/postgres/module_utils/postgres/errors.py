"""How the module postgres_setup fails."""

from __future__ import annotations


class SetupError(Exception):
    """What went wrong, in words for the person who runs the play."""
