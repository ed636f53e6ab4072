"""How the server is told what to be: environment variables only."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Self


class SettingsError(Exception):
    """A setting is missing or unusable; the message names the variable."""


@dataclass(frozen=True)
class Settings:
    """All times in seconds.

    Variables: EMBEDDED_AIRBYTE_HOST, _PORT, _DATA_DIR, _WORKSPACE (name of the one workspace), _TOKEN_LIFETIME,
    _JOB_TIMEOUT, _MAX_ATTEMPTS, _RETRY_DELAY, _MAX_JOBS (how many run at once), _JOB_DAYS (how long ended jobs and their logs
    are kept).
    """

    host: str = "0.0.0.0"
    port: int = 8000
    data_dir: Path = Path("/data")
    workspace: str = "Default Workspace"
    token_lifetime: int = 900
    job_timeout: int = 10_800
    max_attempts: int = 3
    retry_delay: float = 5.0
    max_jobs: int = 2
    job_days: int = 30

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] = os.environ) -> Self:
        """Raises SettingsError."""

        def text(name: str, default: str) -> str:
            value = environment.get(f"EMBEDDED_AIRBYTE_{name}", default)
            if not value:
                raise SettingsError(f"set EMBEDDED_AIRBYTE_{name}")
            return value

        def number(name: str, default: float) -> int:
            value = text(name, str(default))
            if not value.isdigit() or int(value) < 1:
                raise SettingsError(
                    f"EMBEDDED_AIRBYTE_{name} must be a whole number of at least 1, not {value!r}"
                )
            return int(value)

        return cls(
            host=text("HOST", cls.host),
            port=number("PORT", cls.port),
            data_dir=Path(text("DATA_DIR", str(cls.data_dir))),
            workspace=text("WORKSPACE", cls.workspace),
            token_lifetime=number("TOKEN_LIFETIME", cls.token_lifetime),
            job_timeout=number("JOB_TIMEOUT", cls.job_timeout),
            max_attempts=number("MAX_ATTEMPTS", cls.max_attempts),
            retry_delay=number("RETRY_DELAY", int(cls.retry_delay)),
            max_jobs=number("MAX_JOBS", cls.max_jobs),
            job_days=number("JOB_DAYS", cls.job_days),
        )
