"""How the module lambda_operation fails, beside ForeignError."""

from __future__ import annotations


class OperationError(Exception):
    """What stands in the way, in words for the person who runs the play."""
