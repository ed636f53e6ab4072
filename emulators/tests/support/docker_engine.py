"""A Docker engine in memory: what `retailflow_emulators.ecs_agent.engine` uses of the SDK's `APIClient`."""

from __future__ import annotations

import secrets
import threading
from collections.abc import Iterator
from typing import Any

import docker.errors
import requests


class _Response(requests.Response):
    def __init__(self, status: int) -> None:
        super().__init__()
        self.status_code = status


def refused(status: int, text: str) -> docker.errors.APIError:
    """The SDK's error for an answer of the engine."""
    kind = docker.errors.NotFound if status == 404 else docker.errors.APIError
    return kind(text, response=_Response(status), explanation=text)


class DockerEngine:
    """Images, containers and volumes; `down` makes it silent, `ends` are containers that end as soon as they start."""

    def __init__(self) -> None:
        self.registry: dict[str, str] = {}  # what can be pulled, with its digest
        self.images: dict[str, str] = {}
        self.made: dict[str, dict[str, Any]] = {}
        self.volumes: dict[str, dict[str, Any]] = {}
        self.calls: list[tuple[str, str]] = []
        self.ends: dict[str, int] = {}  # exit codes by image
        self.cannot_start: dict[str, str] = {}  # the engine's words by image
        self.entries: dict[str, list[bytes]] = {}  # logs by container
        self.hung: dict[str, threading.Event] = {}  # stops that wait, by image
        self.down = False
        self.memory = 2048 * 2**20
        self._lock = threading.RLock()

    def _ask(self, call: str, what: str = "") -> None:
        if self.down:
            raise requests.exceptions.ConnectionError("Connection aborted")
        with self._lock:
            self.calls.append((call, what))

    def called(self, *names: str) -> list[tuple[str, str]]:
        """The calls of these names, in their order."""
        return [one for one in self.calls if one[0] in names]

    def running(self) -> list[str]:
        """The names in their tasks of the containers that run."""
        return [
            one["Config"]["Labels"]["com.amazonaws.ecs.container-name"]
            for one in self.made.values()
            if one["State"]["Status"] == "running"
        ]

    def dies(self, container: str, code: int, **state: Any) -> None:
        """End a container by itself."""
        self.made[container]["State"] = {"Status": "exited", "ExitCode": code} | state

    def reboot(self) -> None:
        """Restart the host: all that ran is stopped."""
        for identity, one in self.made.items():
            if one["State"]["Status"] == "running":
                self.dies(identity, 137)

    # --- the SDK's surface ---------------------------------------------------------------------------------------------

    def reload_config(self) -> None:
        self._ask("reload_config")

    def info(self) -> dict[str, Any]:
        self._ask("info")
        return {"NCPU": 2, "MemTotal": self.memory, "Architecture": "x86_64", "ServerVersion": "20.10.24"}

    def version(self) -> dict[str, Any]:
        self._ask("version")
        return {"ApiVersion": "1.41"}

    def pull(self, repository: str, *, tag: str, stream: bool, decode: bool) -> Iterator[dict[str, Any]]:
        image = f"{repository}{'@' if ':' in tag else ':'}{tag}"
        self._ask("pull", image)
        if image not in self.registry:
            raise refused(404, f"manifest for {image} not found: manifest unknown")
        if error := self.registry[image].partition("error ")[2]:
            yield {"error": error}
            return
        yield {"status": f"Pulling from {repository}"}
        self.images[image] = self.registry[image]

    def inspect_image(self, image: str) -> dict[str, Any]:
        self._ask("inspect_image", image)
        if image not in self.images:
            raise refused(404, f"No such image: {image}")
        return {"Id": "sha256:" + "0" * 64, "RepoDigests": [f"{image.split(':')[0]}@{self.images[image]}"]}

    def containers(self, *, all: bool, filters: dict[str, list[str]]) -> list[dict[str, Any]]:
        self._ask("containers")
        wanted = dict(one.split("=", 1) for one in filters["label"])
        return [
            {"Id": identity}
            for identity, one in list(self.made.items())
            if wanted.items() <= one["Config"]["Labels"].items()
            and (all or one["State"]["Status"] == "running")
        ]

    def create_container_from_config(self, config: dict[str, Any], *, name: str) -> dict[str, Any]:
        self._ask("create", name)
        if config["Image"] not in self.images:
            raise refused(404, f"No such image: {config['Image']}")
        identity = secrets.token_hex(32)
        self.made[identity] = {
            "Id": identity,
            "Name": f"/{name}",
            "Config": config,
            "State": {"Status": "created", "ExitCode": 0},
            "NetworkSettings": {"Ports": {}},
        }
        return {"Id": identity, "Warnings": []}

    def _found(self, container: str) -> dict[str, Any]:
        if container not in self.made:
            raise refused(404, f"No such container: {container}")
        return self.made[container]

    def inspect_container(self, container: str) -> dict[str, Any]:
        self._ask("inspect", container)
        return self._found(container)

    def start(self, container: str) -> None:
        one = self._found(container)
        image = one["Config"]["Image"]
        self._ask("start", image)
        if words := self.cannot_start.get(image):
            one["State"] = {"Status": "created", "ExitCode": 128, "Error": words}
            raise refused(500, words)
        one["State"] = {"Status": "running", "ExitCode": 0}
        if image in self.ends:
            self.dies(container, self.ends[image])
        bindings = one["Config"]["HostConfig"]["PortBindings"]
        one["NetworkSettings"]["Ports"] = {
            port: [
                {"HostIp": "0.0.0.0", "HostPort": "32768" if two["HostPort"] == "0" else two["HostPort"]}
                for two in found
            ]
            for port, found in bindings.items()
        }

    def stop(self, container: str, *, timeout: int) -> None:
        one = self._found(container)
        image = one["Config"]["Image"]
        self._ask("stop", f"{image} {timeout}")
        if image in self.hung and not self.hung[image].wait(20):
            raise requests.exceptions.ReadTimeout("Read timed out")
        if one["State"]["Status"] == "running":
            self.dies(container, 0)

    def remove_container(self, container: str, *, v: bool) -> None:
        self._found(container)
        self._ask("remove", container)
        if self.made[container]["State"]["Status"] == "running":
            raise refused(409, f"You cannot remove a running container {container}")
        del self.made[container]

    def inspect_volume(self, name: str) -> dict[str, Any]:
        self._ask("inspect_volume", name)
        if name not in self.volumes:
            raise refused(404, f"get {name}: no such volume")
        return self.volumes[name]

    def create_volume(
        self, name: str, *, driver: str, driver_opts: dict[str, str], labels: dict[str, str]
    ) -> None:
        self._ask("create_volume", name)
        self.volumes[name] = {"Driver": driver, "Options": driver_opts, "Labels": labels}

    def logs(self, container: str, *, since: int, **_options: Any) -> Iterator[bytes]:
        self._ask("logs", container)
        self._found(container)
        for entry in list(self.entries.get(container, [])):
            if int(entry.split(b" ", 1)[0][17:19]) + 60 * int(entry[14:16]) + BASE >= since:
                yield entry


#: The hour in which all entries of logs are: 2026-11-30T08:00:00Z.
BASE = 1796025600
