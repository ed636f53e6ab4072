"""Why an attempt ended."""

from __future__ import annotations

import time

from ..protocol import REFRESH_REQUIRED, JsonObject


class AttemptFailedError(Exception):
    """An attempt that did not succeed; `origin` is source, destination or airbyte_platform."""

    def __init__(
        self, origin: str, message: str, failure_type: str = "system_error", internal: str = ""
    ) -> None:
        super().__init__(message)
        self.failure: JsonObject = {
            "failureOrigin": origin,
            "failureType": failure_type,
            "externalMessage": message,
            "internalMessage": internal,
            "timestamp": int(time.time() * 1000),
        }

    @property
    def refresh(self) -> bool:
        """Whether it says that streams must be read again from the start."""
        return bool(self.failure["internalMessage"] == REFRESH_REQUIRED)

    @property
    def retryable(self) -> bool:
        return bool(self.failure["failureType"] != "config_error")
