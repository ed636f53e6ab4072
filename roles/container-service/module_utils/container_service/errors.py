"""Why a run stops, in words that a person can act on."""

from __future__ import annotations


class WorkloadError(Exception):
    """What stands in the way, in words for the person who runs the play."""


class UnstableError(WorkloadError):
    """ECS did not bring the service to a healthy task; `refused_role` where it could not take on one of its roles."""

    def __init__(self, message: str, refused_role: bool = False) -> None:
        super().__init__(message)
        self.refused_role = refused_role
