"""What of the Docker engine's API the emulated Lambda may use (moto's `awslambda/models.py`, 5.2.5).

It fills a volume with the code, in a container that sleeps meanwhile, and runs the function in another, which it waits for, reads
and removes. A request for a container is never passed on: a new one is made of the few settings that are known. So a setting that
a later engine adds is refused, and not overlooked.

Names of fields: https://docs.docker.com/reference/api/engine/version/v1.47/#tag/Container/operation/ContainerCreate
"""

from __future__ import annotations

import re
import secrets
from dataclasses import dataclass, field
from typing import Any

#: Where code and layers are: in a function, and in the container that fills their volumes (LAMBDA_DATA_DIR of moto's settings).
IN_A_FUNCTION = ("/var/task", "/opt")
IN_A_FILLER = ("/tmp/data", "/opt")
#: A function has 10,240 MB at most ("Lambda quotas", Lambda's developer guide).
MEMORY_BYTES = 10_240 * 2**20
#: An execution environment has 1,024 processes and threads at most (the same page).
PROCESSES = 1024
ENGINES_NAME = re.compile(r"(docker\.io/)?(library/)?")


class RefusedError(Exception):
    """What is asked for is not allowed; the text names it."""


@dataclass(frozen=True)
class Site:
    """What belongs to the site: images of functions, the one that fills volumes, network, prefix and marks of what it makes."""

    images: frozenset[str]
    filler: str
    network: str
    prefix: str
    labels: dict[str, str] = field(default_factory=dict)

    @property
    def marks(self) -> dict[str, str]:
        """The labels of all that is made here, which other containers of the site have not."""
        return self.labels | {"retailflow.engine": self.prefix}

    def image(self, name: str) -> str:
        """The image of this name, as the engine takes it."""
        short = ENGINES_NAME.sub("", name, count=1)
        if ":" not in short:
            short += ":latest"
        if short not in self.images | {self.filler}:
            raise RefusedError(f"the image {name}")
        return short

    def volume(self, asked: Any) -> dict[str, Any]:
        """The request for a volume with the code of this digest, which gets a name of the site."""
        name = _text("Name", asked.pop("Name", "") or secrets.token_hex(8))
        _nothing_else("a volume with", asked)
        if not re.fullmatch(r"[0-9a-zA-Z_-]{1,128}", name):
            raise RefusedError(f"the name {name!r} of a volume")
        return {"Name": f"{self.prefix}{name}", "Labels": self.marks}

    def owns_volume(self, name: str) -> bool:
        """Whether a volume was made here."""
        return re.fullmatch(re.escape(self.prefix) + "[0-9a-zA-Z_-]{1,128}", name) is not None

    def container(self, asked: dict[str, Any]) -> dict[str, Any]:
        """The request for a container, made of what is allowed of the one that was asked for."""
        image = self.image(_text("Image", asked.pop("Image", "")))
        targets = IN_A_FILLER if image == self.filler else IN_A_FUNCTION
        host = asked.pop("HostConfig", None) or {}
        networks = set((asked.pop("NetworkingConfig", None) or {}).get("EndpointsConfig") or {})
        networks |= {host.pop("NetworkMode", "")} - {"", None, "default", "bridge"}
        if networks - {self.network}:
            raise RefusedError(f"the network {sorted(networks - {self.network})[0]}")
        made: dict[str, Any] = {
            "Image": image,
            "Cmd": _texts("Cmd", asked.pop("Cmd", None)),
            "Env": _texts("Env", asked.pop("Env", None)),
            "Labels": self.marks,
            "HostConfig": self._host(host, targets),
        }
        if image == self.filler:
            made["HostConfig"]["NetworkMode"] = "none"
        elif networks:
            made["HostConfig"]["NetworkMode"] = self.network
            made["NetworkingConfig"] = {"EndpointsConfig": {self.network: {}}}
        if set(asked.pop("Volumes", None) or {}) - set(targets):
            raise RefusedError("a volume elsewhere than at " + " and ".join(targets))
        _nothing_else("a container with", asked)
        return made

    def _host(self, asked: dict[str, Any], targets: tuple[str, ...]) -> dict[str, Any]:
        binds = _texts("Binds", asked.pop("Binds", None))
        for bind in binds:
            name, _, place = bind.partition(":")
            if not self.owns_volume(name) or place not in {f"{target}:rw" for target in targets}:
                raise RefusedError(f"the mount {bind}")
        memory = asked.pop("Memory", 0) or 0
        if not isinstance(memory, int) or not 0 <= memory <= MEMORY_BYTES:
            raise RefusedError(f"{memory} bytes of memory")
        asked.pop("ExtraHosts", None)  # moto gives a function this machine's address; AWS gives none
        log = asked.pop("LogConfig", None) or {}
        if log.get("Type", "json-file") != "json-file" or log.get("Config"):
            raise RefusedError(f"the log {log}")
        _nothing_else("a container with HostConfig", asked)
        return {
            "Binds": binds,
            "Memory": memory,
            "PidsLimit": PROCESSES,
            "CapDrop": ["ALL"],
            "SecurityOpt": ["no-new-privileges"],
            "LogConfig": {"Type": "json-file", "Config": {"max-size": "10m"}},
        }


def _text(name: str, value: Any) -> str:
    if not isinstance(value, str):
        raise RefusedError(f"{name}: {value!r}")
    return value


def _texts(name: str, value: Any) -> list[str]:
    if not isinstance(value or [], list):
        raise RefusedError(f"{name}: {value!r}")
    return [_text(name, one) for one in value or []]


def _nothing_else(what: str, left: dict[str, Any]) -> None:
    """A client also sends what it leaves as it is: nulls, false, empty texts and lists, and volumes' local driver."""
    for name, value in left.items():
        if value and (name, value) != ("Driver", "local"):
            raise RefusedError(f"{what} {name}: {value!r}")
