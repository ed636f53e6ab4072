"""Secrets of a task's containers: parameters of SSM, read with the credentials of the task's execution role."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from .api import ApiRefusedError, Keys, asking
from .containers import Definition

#: GetParameters takes no more ("GetParameters", Systems Manager's API reference).
AT_ONCE = 10
WORDS = "ResourceInitializationError: unable to pull secrets or registry auth: execution resource retrieval failed: "
FAILED = "unable to retrieve secrets from ssm: service call has been retried 1 time(s): "


class SecretsError(Exception):
    """A secret that cannot be read; the text is the reason of the task's end."""

    def __init__(self, what: str) -> None:
        super().__init__(f"{WORDS}{what}")


def resolve(
    planned: list[Definition], keys: Keys | None, client: Callable[[str, Keys, str], Any], region: str
) -> dict[str, dict[str, str]]:
    """The secret part of the environment of each container by its name; `client` makes a client of a service."""
    wanted = {one["valueFrom"] for definition in planned for one in definition.get("secrets") or []}
    if wanted and keys is None:
        raise SecretsError("unable to get credentials of the task's execution role")
    by_region: dict[str, list[str]] = {}
    for one in sorted(wanted):
        by_region.setdefault(_region(one, region), []).append(one)
    values: dict[str, str] = {}
    for place, sources in by_region.items():
        assert keys
        values |= _read(client("ssm", keys, place), sources, place)
    return {
        definition["name"]: {one["name"]: values[one["valueFrom"]] for one in definition.get("secrets") or []}
        for definition in planned
    }


def _region(source: str, default: str) -> str:
    return source.split(":")[3] if source.startswith("arn:") else default


def parameter(source: str) -> str:
    """The name of a parameter of an ARN: `arn:aws:ssm:…:parameter/a` is `/a` or `a`, and a name is itself."""
    return source.partition(":parameter")[2] if source.startswith("arn:") else source


def _read(client: Any, sources: list[str], region: str) -> dict[str, str]:
    """Values by source. A parameter is asked for by its path; one without a slash in its name is known without it too."""
    names = {parameter(one): one for one in sources}
    values: dict[str, str] = {}
    asked = list(names)
    for start in range(0, len(asked), AT_ONCE):
        part = asked[start : start + AT_ONCE]
        found = _ask(client, part, region)
        # `parameter/x` in an ARN stands for the parameter `x` as well as for `/x`.
        again = [
            name[1:] for name in part if name not in found and name.count("/") == 1 and name.startswith("/")
        ]
        if again:
            found |= {f"/{name}": value for name, value in _ask(client, again, region).items()}
        if missing := [name for name in part if name not in found]:
            raise SecretsError(f"{FAILED}invalid parameters: {','.join(missing)}")
        values |= {names[name]: found[name] for name in part}
    return values


def _ask(client: Any, names: list[str], region: str) -> dict[str, str]:
    try:
        with asking():
            answer = client.get_parameters(Names=names, WithDecryption=True)
    except ApiRefusedError as error:
        raise SecretsError(
            f"{FAILED}fetching secret data from SSM Parameter Store in {region}: {error.code}: {error.message}"
        ) from error
    return {one["Name"]: one["Value"] for one in answer["Parameters"]}
