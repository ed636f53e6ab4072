"""Times as people read them, for the page."""

from __future__ import annotations


def took(seconds: float) -> str:
    """``2.6 s``, ``3 min 20 s`` or ``1 h 5 min``."""
    if seconds < 60:
        return f"{max(seconds, 0):.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s"


def ago(seconds: float) -> str:
    """``just now``, ``4 minutes ago``, ``2 hours ago`` or ``3 days ago``."""
    for name, size in (("day", 86_400), ("hour", 3_600), ("minute", 60)):
        count = int(seconds // size)
        if count > 0:
            return f"{count} {name}{'' if count == 1 else 's'} ago"
    return "just now"
