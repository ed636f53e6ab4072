"""The agent's settings: `/etc/ecs/ecs.config`, and the environment, which wins.

Names, defaults and bounds of `ECS_*` are those of Amazon's agent (its README, "Environment Variables"). A name that this
agent does not know is refused: on AWS it may change how tasks run, and here it would be ignored. The file's format is that of
Docker's `--env-file`, which Amazon's init passes it to: KEY=VALUE lines, no quotes, `#` at the beginning of a line is a
comment.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

CONFIG = Path("/etc/ecs/ecs.config")
KNOWN = frozenset(
    {
        "ECS_CLUSTER",
        "ECS_INSTANCE_ATTRIBUTES",
        "ECS_CONTAINER_INSTANCE_TAGS",
        "ECS_RESERVED_MEMORY",
        "ECS_AVAILABLE_LOGGING_DRIVERS",
        "ECS_ENABLE_TASK_IAM_ROLE",
        "ECS_ENABLE_TASK_IAM_ROLE_NETWORK_HOST",
        "ECS_ENABLE_AWSLOGS_EXECUTIONROLE_OVERRIDE",
        "ECS_TASK_PIDS_LIMIT",
        "ECS_DISABLE_PRIVILEGED",
        "ECS_CONTAINER_STOP_TIMEOUT",
        "ECS_ENGINE_TASK_CLEANUP_WAIT_DURATION",
        "ECS_DATADIR",
    }
)
LOGGING_DRIVERS = frozenset({"json-file", "awslogs"})
#: `ParseBool` of Go, by which Amazon's agent reads switches.
SWITCHES = dict.fromkeys(("1", "t", "T", "TRUE", "true", "True"), True) | dict.fromkeys(
    ("0", "f", "F", "FALSE", "false", "False", ""), False
)
_DURATION = re.compile(r"(\d+(?:\.\d+)?)(ms|h|m|s)")
_UNITS = {"h": 3600.0, "m": 60.0, "s": 1.0, "ms": 0.001}
_ROLE = re.compile(r"arn:[a-z-]+:iam::(\d{12}):role/[\w+=,.@/-]{1,576}")


class SettingError(ValueError):
    """A setting that cannot be used; the text names it, and says what it may be."""


@dataclass(frozen=True)
class Settings:
    """What the agent was told. Times are seconds, memory is MiB; addresses are host and port."""

    cluster: str
    region: str
    endpoint: str
    access_key: str
    secret_key: str = field(repr=False)
    role_arn: str
    instance_id: str
    attributes: dict[str, str] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)
    reserved_memory: int = 0
    instance_memory: int | None = None
    logging_drivers: tuple[str, ...] = ("json-file",)
    task_roles: bool = False
    task_roles_on_host_network: bool = False
    logs_by_execution_role: bool = False
    pids_limit: int | None = None
    stop_timeout: int = 30
    cleanup_wait: float = 3 * 3600.0
    data: Path = Path("/var/lib/ecs/data")
    engine: str = "unix:///var/run/docker.sock"
    credentials_address: tuple[str, int] = ("169.254.170.2", 80)
    introspection_address: tuple[str, int] = ("127.0.0.1", 51678)

    @property
    def account(self) -> str:
        """The account of the instance's role, which is the instance's."""
        match = _ROLE.fullmatch(self.role_arn)
        assert match, "checked when it was read"
        return match[1]


def read_config(text: str, source: str = str(CONFIG)) -> dict[str, str]:
    """The values of an `ecs.config`; SettingError for a line that is none."""
    found: dict[str, str] = {}
    for number, line in enumerate(text.splitlines(), start=1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        name, equals, value = line.strip().partition("=")
        if not equals or not re.fullmatch(r"\w+", name):
            raise SettingError(f"line {number} of {source} is not KEY=VALUE")
        if name in found:
            raise SettingError(f"{name} is set twice in {source}")
        found[name] = value
    return found


def load(environ: Mapping[str, str], config: Path = CONFIG) -> Settings:
    """The settings of this host; SettingError names the first that is missing, unknown or bad."""
    values = read_config(config.read_text(), str(config)) if config.exists() else {}
    values |= environ
    unknown = sorted(name for name in values if name.startswith("ECS_") and name not in KNOWN)
    if unknown:
        raise SettingError(f"{unknown[0]} is not emulated: remove it from {config} or the environment")
    read = _Reader(values)
    region, account_role = read.needed("AWS_REGION"), read.needed("EMULATED_INSTANCE_ROLE_ARN")
    if not _ROLE.fullmatch(account_role):
        raise SettingError(f"EMULATED_INSTANCE_ROLE_ARN must be the ARN of a role, not {account_role!r}")
    read.switch("ECS_DISABLE_PRIVILEGED")  # no task is privileged here, whatever it says
    return Settings(
        cluster=read.matching("ECS_CLUSTER", r"[\w-]{1,255}", "default"),
        region=region,
        endpoint=read.url("AWS_ENDPOINT_URL"),
        access_key=read.needed("AWS_ACCESS_KEY_ID"),
        secret_key=read.needed("AWS_SECRET_ACCESS_KEY"),
        role_arn=account_role,
        instance_id=read.matching("EMULATED_INSTANCE_ID", r"i-[0-9a-f]{8,17}"),
        attributes=read.texts("ECS_INSTANCE_ATTRIBUTES"),
        tags=read.texts("ECS_CONTAINER_INSTANCE_TAGS"),
        reserved_memory=read.number("ECS_RESERVED_MEMORY", 0, 0),
        instance_memory=read.number("EMULATED_INSTANCE_MEMORY", 0, 0) or None,
        logging_drivers=read.drivers(),
        task_roles=read.switch("ECS_ENABLE_TASK_IAM_ROLE"),
        task_roles_on_host_network=read.switch("ECS_ENABLE_TASK_IAM_ROLE_NETWORK_HOST"),
        logs_by_execution_role=read.switch("ECS_ENABLE_AWSLOGS_EXECUTIONROLE_OVERRIDE"),
        pids_limit=read.number("ECS_TASK_PIDS_LIMIT", 0, 0, 4_194_304) or None,
        stop_timeout=round(read.duration("ECS_CONTAINER_STOP_TIMEOUT", 30.0, 1.0)),
        cleanup_wait=read.duration("ECS_ENGINE_TASK_CLEANUP_WAIT_DURATION", 3 * 3600.0, 1.0),
        data=Path(values.get("ECS_DATADIR") or "/var/lib/ecs/data"),
        engine=values.get("DOCKER_HOST") or "unix:///var/run/docker.sock",
        credentials_address=read.address("EMULATED_CREDENTIALS_ADDRESS", "169.254.170.2:80"),
        introspection_address=read.address("EMULATED_INTROSPECTION_ADDRESS", "127.0.0.1:51678"),
    )


def introspection_address(environ: Mapping[str, str]) -> tuple[str, int]:
    """Where the agent of this environment tells about itself; needs no other setting."""
    return _Reader(environ).address("EMULATED_INTROSPECTION_ADDRESS", "127.0.0.1:51678")


class _Reader:
    """Reads single values, and refuses them by name."""

    def __init__(self, values: Mapping[str, str]) -> None:
        self._values = values

    def needed(self, name: str) -> str:
        if not (value := self._values.get(name, "")):
            raise SettingError(f"{name} is missing")
        return value

    def matching(self, name: str, pattern: str, default: str = "") -> str:
        value = self._values.get(name) or default or self.needed(name)
        if not re.fullmatch(pattern, value):
            raise SettingError(f"{name} must match {pattern}, but is {value!r}")
        return value

    def url(self, name: str) -> str:
        value = self.needed(name)
        parts = urlsplit(value)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise SettingError(f"{name} must be a URL, but is {value!r}")
        return value.rstrip("/")

    def switch(self, name: str) -> bool:
        value = self._values.get(name, "")
        if value not in SWITCHES:
            raise SettingError(f"{name} must be true or false, but is {value!r}")
        return SWITCHES[value]

    def number(self, name: str, default: int, least: int, most: int = 2**31) -> int:
        value = self._values.get(name) or str(default)
        if not re.fullmatch(r"\d{1,10}", value) or not least <= int(value) <= most:
            raise SettingError(f"{name} must be a number from {least} to {most}, but is {value!r}")
        return int(value)

    def duration(self, name: str, default: float, least: float) -> float:
        """As Go writes durations: `30s`, `10m`, `1h30m`."""
        value = self._values.get(name)
        if not value:
            return default
        parts = _DURATION.findall(value)
        seconds = sum(float(count) * _UNITS[unit] for count, unit in parts)
        if "".join(count + unit for count, unit in parts) != value or seconds < least:
            raise SettingError(
                f"{name} must be a duration of at least {least:g} s such as 90s or 1h30m, but is {value!r}"
            )
        return seconds

    def json(self, name: str, default: Any) -> Any:
        value = self._values.get(name)
        if not value:
            return default
        try:
            return json.loads(value)
        except ValueError:
            raise SettingError(f"{name} must be JSON, but is {value!r}") from None

    def texts(self, name: str) -> dict[str, str]:
        found = self.json(name, {})
        if not isinstance(found, dict) or not all(isinstance(one, str) for one in found.values()):
            raise SettingError(f"{name} must be a JSON object of texts")
        return found

    def drivers(self) -> tuple[str, ...]:
        name = "ECS_AVAILABLE_LOGGING_DRIVERS"
        found = self.json(name, ["json-file"])
        if not isinstance(found, list) or not set(map(str, found)) <= LOGGING_DRIVERS:
            raise SettingError(
                f"{name} must be a JSON list of {' and '.join(sorted(LOGGING_DRIVERS))}; others are not emulated"
            )
        return tuple(map(str, found))

    def address(self, name: str, default: str) -> tuple[str, int]:
        value = self._values.get(name) or default
        host, _, port = value.rpartition(":")
        if not host or not port.isdecimal() or int(port) > 65535:
            raise SettingError(f"{name} must be HOST:PORT, but is {value!r}")
        return host, int(port)
