"""Why a run stops, in words that a person can act on."""

from __future__ import annotations


class MetabaseError(Exception):
    """What went wrong and what to do about it."""

    status = 0  # of HTTP, where a server refused


class UnreachableError(MetabaseError):
    """Nothing answers at the address."""
