"""Why a run stops, in words that a person can act on."""

from __future__ import annotations


class ImageError(Exception):
    """What went wrong with an image, in words for the person who runs the play."""
