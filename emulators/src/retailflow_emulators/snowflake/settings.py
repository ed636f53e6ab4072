"""Settings of the server, from its environment."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
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
    account: str = "RETAILFLOW"
    admin_user: str = ""
    admin_password: str = field(default="", repr=False)
    certificate: Path = Path("/run/certificate/server.pem")

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
            _name(env, "ACCOUNT", r"[A-Z0-9][A-Z0-9_-]*"),
            _name(env, "ADMIN_USER", r"[A-Z_][A-Z0-9_$]*"),
            _password(env),
            _certificate(env),
        )


def _seconds(env: Mapping[str, str], name: str, default: float) -> float:
    text = env.get(PREFIX + name, str(default))
    if not re.fullmatch(r"\d+(\.\d+)?", text) or not float(text):
        raise ValueError(f"{PREFIX}{name} must be seconds above 0, got {text!r}")
    return float(text)


def _name(env: Mapping[str, str], name: str, pattern: str) -> str:
    text = env.get(PREFIX + name, "").upper()
    if not re.fullmatch(pattern, text):
        raise ValueError(
            f"{PREFIX}{name} must be set to a plain name, got {text!r}; "
            "without an account and its administrator nobody could log in"
        )
    return text


def _certificate(env: Mapping[str, str]) -> Path:
    """The file of the server's certificate and its private key; like Snowflake, the server never speaks plain HTTP."""
    name = PREFIX + "CERTIFICATE_FILE"
    path = Path(env.get(name, str(Settings.certificate)))
    if not path.is_file():
        raise ValueError(
            f"{name} must name a file with the server's certificate and its private key, got {path}"
        )
    return path


def _password(env: Mapping[str, str]) -> str:
    """The password of the administrator: the first line of a file."""
    name = PREFIX + "ADMIN_PASSWORD_FILE"
    file = env.get(name, "")
    if not file:
        raise ValueError(f"{name} must name a file that holds the password of the administrator")
    try:
        lines = Path(file).read_text().splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"{name}: cannot read {file}: {error}") from error
    if not lines or not lines[0]:
        raise ValueError(f"{name}: the first line of {file} is empty")
    return lines[0]
