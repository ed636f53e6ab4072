"""What the agent tells about itself on the host: `http://127.0.0.1:51678/v1/…`.

Paths and names are those of Amazon's agent ("Amazon ECS container introspection", ECS's developer guide). It answers when the
agent has an instance in the cluster, so its answer is the health of the agent's container. Amazon's listens on all addresses.
"""

from __future__ import annotations

import http.client
import json
from collections.abc import Callable
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from .state import Known, Task

#: The version of Amazon's agent whose tasks this one runs as far as it can; RegisterContainerInstance sends it.
VERSION = "1.99.0"
FULL_VERSION = f"Embedded ECS agent in the place of Amazon ECS Agent - v{VERSION}"
HEALTH_SECONDS = 4


def _described(task: Task) -> dict[str, Any]:
    return {
        "Arn": task.arn,
        "DesiredStatus": task.desired,
        "KnownStatus": task.status,
        "Family": task.family,
        "Version": str(task.definition.get("revision", "")),
        "Containers": [
            {"DockerId": one.runtime_id, "DockerName": one.docker_name, "Name": one.name}
            for one in task.containers.values()
        ],
    }


def application(known: Callable[[], Known]) -> Starlette:
    """The server; `known` gives what the agent knows now."""

    async def metadata(_request: Request) -> JSONResponse:
        now = known()
        if not now.instance_arn:
            return JSONResponse({"message": "not registered"}, status_code=503)
        return JSONResponse(
            {"Cluster": now.cluster, "ContainerInstanceArn": now.instance_arn, "Version": FULL_VERSION}
        )

    async def tasks(request: Request) -> JSONResponse:
        found = [_described(one) for one in list(known().tasks.values())]
        arn, container = request.query_params.get("taskarn"), request.query_params.get("dockerid")
        if arn is None and container is None:
            return JSONResponse({"Tasks": found})
        for one in found:
            ids = [part["DockerId"] for part in one["Containers"] if part["DockerId"]]
            if one["Arn"] == arn or (container and any(part.startswith(container) for part in ids)):
                return JSONResponse(one)
        return JSONResponse({}, status_code=404)

    return Starlette(
        routes=[Route("/v1/metadata", metadata, methods=["GET"]), Route("/v1/tasks", tasks, methods=["GET"])]
    )


def health(address: tuple[str, int]) -> str:
    """An empty text where the agent of this host is registered, or else what is wrong."""
    connection = http.client.HTTPConnection(*address, timeout=HEALTH_SECONDS)
    try:
        connection.request("GET", "/v1/metadata")
        answer = connection.getresponse()
        found = json.loads(answer.read())
        return "" if answer.status == 200 else f"the agent is {found.get('message', answer.status)}"
    except (OSError, ValueError, http.client.HTTPException) as error:
        return f"the agent does not answer at {address[0]}:{address[1]}: {error}"
    finally:
        connection.close()
