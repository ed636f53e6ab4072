"""Settings of the server, from its environment."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

PREFIX = "EMULATED_SNOWFLAKE_"


@dataclass(frozen=True)
class Settings:
    """Where to listen and where the databases lie; times are seconds."""

    host: str = "127.0.0.1"
    port: int = 8080
    data: Path = Path("/data")
    memory_limit: str = "2GB"
    patience: float = 40.0
    lock: float = 60.0

    @classmethod
    def from_env(cls, env: Mapping[str, str]) -> Settings:
        """Read the ``EMULATED_SNOWFLAKE_*`` variables; ValueError names the one that is wrong."""
        port = env.get(PREFIX + "PORT", str(cls.port))
        if not port.isdigit() or not 0 < int(port) < 65536:
            raise ValueError(f"{PREFIX}PORT must be a port number, got {port!r}")
        data = Path(env.get(PREFIX + "DATA", str(cls.data)))
        if not data.is_dir():
            raise ValueError(f"{PREFIX}DATA: {data} is not a folder; create it or mount a volume there")
        return cls(
            env.get(PREFIX + "HOST", cls.host),
            int(port),
            data,
            env.get(PREFIX + "MEMORY_LIMIT", cls.memory_limit),
            _seconds(env, "PATIENCE_SECONDS", cls.patience),
            _seconds(env, "LOCK_SECONDS", cls.lock),
        )


def _seconds(env: Mapping[str, str], name: str, default: float) -> float:
    text = env.get(PREFIX + name, str(default))
    if not re.fullmatch(r"\d+(\.\d+)?", text) or not float(text):
        raise ValueError(f"{PREFIX}{name} must be seconds above 0, got {text!r}")
    return float(text)
