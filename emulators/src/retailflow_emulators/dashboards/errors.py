"""Refusals."""

from __future__ import annotations


class ApiError(Exception):
    """An answer other than success: ``errors`` by field, or one ``message``."""

    def __init__(self, status: int, message: str = "", errors: dict[str, str] | None = None) -> None:
        super().__init__(message or str(errors))
        self.status, self.message, self.errors = status, message, errors
