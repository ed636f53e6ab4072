"""The host's Docker engine, by the `docker` SDK: what a task needs of it, and errors that say who is at fault.

An answer of the engine is an `EngineRefusedError`: the request was bad, and would be again. No answer is an
`EngineAwayError`: nothing is known about what was done, so whoever gets it looks at the containers again.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

import docker.errors
import requests.exceptions
import urllib3.exceptions
from docker import APIClient

Inspected = dict[str, Any]
Answer = TypeVar("Answer")
LABEL = "com.amazonaws.ecs."
#: What changes the state of a task; the commands of health checks would be events as well.
EVENTS = ["start", "die", "oom", "destroy", "health_status"]
#: Seconds in which the engine answers; what may take longer has a time of its own on top.
ANSWER_SECONDS = 60
#: A stream that the engine's end cuts off is no JSON, which is a RuntimeError of the SDK.
AWAY = (
    docker.errors.DockerException,
    docker.errors.StreamParseError,
    requests.exceptions.RequestException,
    urllib3.exceptions.HTTPError,
    OSError,
)


class EngineAwayError(Exception):
    """The engine does not answer."""


class EngineRefusedError(Exception):
    """The engine refuses; the text is as Amazon's agent reports it."""


class NotFoundError(EngineRefusedError):
    """The engine has no such container, image or volume."""


@contextlib.contextmanager
def _asking() -> Iterator[None]:
    try:
        yield
    except docker.errors.NotFound as error:
        raise NotFoundError(_told(error)) from error
    except docker.errors.APIError as error:
        raise EngineRefusedError(_told(error)) from error
    except AWAY as error:
        raise EngineAwayError(str(error)) from error


def _told(error: docker.errors.APIError) -> str:
    return f"Error response from daemon: {error.explanation or error}"


class Engine:
    """One engine; `connect` makes the SDK's client, again after the engine was away at the start."""

    def __init__(self, connect: Callable[[], APIClient]) -> None:
        self._connect = connect
        self._made: APIClient | None = None

    @classmethod
    def at(cls, address: str) -> Engine:
        """The engine at an address such as `unix:///var/run/docker.sock`."""
        return cls(lambda: APIClient(address, version="auto", timeout=ANSWER_SECONDS))

    def _client(self) -> APIClient:
        if self._made is None:
            self._made = self._connect()
        return self._made

    def _ask(self, what: Callable[[APIClient], Answer]) -> Answer:
        with _asking():
            return what(self._client())

    def info(self) -> dict[str, Any]:
        """The engine's description of its host: `NCPU`, `MemTotal`, `Architecture`, `ServerVersion`."""
        found: dict[str, Any] = self._ask(lambda client: client.info())
        return found

    def api_version(self) -> str:
        """The newest version of its API."""
        return str(self._ask(lambda client: client.version())["ApiVersion"])

    def pull(self, image: str, wanted: Callable[[], bool] = lambda: True) -> None:
        """Pull an image with the login that the host has for its registry; given up when it is no longer wanted.

        The logins are those of `$DOCKER_CONFIG/config.json` (or of `.docker` in the home folder), read again at each pull.
        """

        def pulled(client: APIClient) -> None:
            client.reload_config()
            name, tag = split(image)
            for event in client.pull(name, tag=tag, stream=True, decode=True):
                if "error" in event:
                    raise EngineRefusedError(f"Error response from daemon: {event['error']}")
                if not wanted():
                    break

        self._ask(pulled)

    def image(self, name: str) -> dict[str, Any]:
        """What the engine knows about an image; NotFoundError where it has none of this name."""
        found: dict[str, Any] = self._ask(lambda client: client.inspect_image(name))
        return found

    def containers(self, **labels: str) -> list[Inspected]:
        """The containers, running or not, with these labels of ECS."""
        wanted = [f"{LABEL}{name.replace('_', '-')}={value}" for name, value in labels.items()]
        listed = self._ask(lambda client: client.containers(all=True, filters={"label": wanted}))
        found = []
        for one in listed:
            with contextlib.suppress(NotFoundError):  # removed since
                found.append(self.inspect(one["Id"]))
        return found

    def running(self, cluster: str) -> set[str]:
        """The containers of a cluster that run."""
        wanted = {"label": [f"{LABEL}cluster={cluster}"]}
        return {one["Id"] for one in self._ask(lambda client: client.containers(all=False, filters=wanted))}

    def inspect(self, container: str) -> Inspected:
        """What the engine knows about a container."""
        found: Inspected = self._ask(lambda client: client.inspect_container(container))
        return found

    def create(self, name: str, config: dict[str, Any]) -> str:
        """Create a container and return its id."""
        return str(self._ask(lambda client: client.create_container_from_config(config, name=name))["Id"])

    def start(self, container: str) -> None:
        """Start a container that was created."""
        self._ask(lambda client: client.start(container))

    def stop(self, container: str, seconds: int) -> None:
        """Ask a container to end, and kill it after that many seconds; returns when it has ended."""
        self._ask(lambda client: client.stop(container, timeout=seconds))

    def remove(self, container: str) -> None:
        """Remove a container that does not run, with its anonymous volumes; one that is gone is no error."""
        with contextlib.suppress(NotFoundError):
            self._ask(lambda client: client.remove_container(container, v=True))

    def volume(self, name: str) -> bool:
        """Whether a volume exists."""
        try:
            self._ask(lambda client: client.inspect_volume(name))
        except NotFoundError:
            return False
        return True

    def create_volume(self, name: str, options: dict[str, str], labels: dict[str, str]) -> None:
        """Make a volume of the driver `local`."""
        self._ask(
            lambda client: client.create_volume(name, driver="local", driver_opts=options, labels=labels)
        )

    def logs(self, container: str, since: int) -> Iterator[bytes]:
        """The entries of a container's log from a second on, each with its time in front; waits for more until it ends."""
        with _asking():
            yield from self._client().logs(
                container, stdout=True, stderr=True, stream=True, follow=True, timestamps=True, since=since
            )

    def events(self, cluster: str) -> Iterator[dict[str, Any]]:
        """What happens to the containers of a cluster, from now on."""
        filters = {"type": "container", "event": EVENTS, "label": [f"{LABEL}cluster={cluster}"]}
        with _asking():
            yield from self._client().events(decode=True, filters=filters)


def split(image: str) -> tuple[str, str]:
    """The name of an image, and its tag or digest; `latest` where it has none, as Docker's command line reads it."""
    if "@" in image:
        name, _, digest = image.partition("@")
        return name, digest
    name, colon, tag = image.rpartition(":")
    if colon and "/" not in tag:
        return name, tag
    return image, "latest"
