"""ECS conducts: what moto leaves out of ECS, in moto's own process.

moto keeps clusters, task definitions, services, container instances and tasks; this package puts richer entries into that store
and adds a scheduler that places tasks, rolls deployments out and replaces what died, and the API of the agents that run tasks.
Everything is kept in memory: an API that restarts is empty, see reports.py for what becomes of tasks that went on.

- words, timing: ECS's sentences and its times. query: the cluster query language.
- definitions, instances, tasks, services: what the entries are. store: how they are looked up, and the lock.
- placement, credentials, reports, rollout, scheduler: what happens to them.
- agent_api, cluster_api, instance_api, service_api, task_api: the operations.

Not emulated and refused by name: Fargate, awsvpc, DAEMON services, load balancers, service discovery, EFS and the like.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

from moto.ecs.responses import EC2ContainerServiceResponse

from . import scheduler
from .agent_api import AgentApi
from .cluster_api import ClusterApi
from .instance_api import InstanceApi
from .service_api import ServiceApi
from .task_api import TaskApi


def install(put: Callable[[Any, str, Any], None] = setattr, *, run: bool = True) -> None:
    """Put the operations in the place of moto's and start the scheduler; tests give a `put` that can be undone."""
    # moto turns its own attributes into a list here.
    put(EC2ContainerServiceResponse, "RESPONSE_KEY_PATH_TO_TRANSFORMER", {})
    for api in (AgentApi, ClusterApi, InstanceApi, ServiceApi, TaskApi):
        for name, method in vars(api).items():
            if inspect.isfunction(method):
                put(EC2ContainerServiceResponse, name, method)
    if run:
        scheduler.start()
