"""How the modules for Airbyte fail."""

from __future__ import annotations


class AirbyteError(Exception):
    """What went wrong and what to do about it; ``status`` is Airbyte's HTTP status where it answered."""

    def __init__(self, message: str, status: int | None = None) -> None:
        super().__init__(message)
        self.status = status


class UnreachableError(AirbyteError):
    """No server answers at the address."""
