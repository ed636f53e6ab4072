"""Where a task goes: what it needs, constraints and strategies ("Amazon ECS task placement", developer guide)."""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from typing import Any

from . import query, store, words
from .instances import Instance
from .store import Backend
from .tasks import Needs, Task

_STRATEGIES = ("random", "spread", "binpack")
# The reason that is nearest to a place comes first.
_NEAREST = (
    words.PORTS,
    words.CPU,
    words.MEMORY,
    words.AGENT,
    words.ATTRIBUTE,
    words.DISTINCT,
    words.MEMBER_OF,
)


@dataclass(frozen=True)
class Wish:
    """A task that needs a place."""

    group: str
    needs: Needs
    constraints: list[dict[str, Any]] = field(default_factory=list)
    strategy: list[dict[str, Any]] = field(default_factory=list)


@dataclass(frozen=True)
class Refused:
    """Why there is no place: the reason of each instance, and which of them comes closest."""

    reasons: list[tuple[Instance, str]]

    @property
    def closest(self) -> tuple[str, str]:
        """The nearest reason and the instance's id; without instances only a reason."""
        if not self.reasons:
            return words.NO_INSTANCES, ""
        instance, reason = min(self.reasons, key=lambda one: _NEAREST.index(one[1]))
        return reason, instance.id


def check(constraints: list[dict[str, Any]], strategy: list[dict[str, Any]]) -> None:
    """Raise for constraints and strategies that ECS does not have."""
    for one in constraints:
        if one.get("type") == "memberOf":
            query.compile_query(str(one.get("expression") or ""))
        elif one.get("type") != "distinctInstance":
            raise words.invalid("Invalid placement constraint type. It is distinctInstance or memberOf.")
    for one in strategy:
        if one.get("type") not in _STRATEGIES:
            raise words.invalid("Invalid placement strategy type. It is random, spread or binpack.")
        if one.get("type") == "binpack" and str(one.get("field")).lower() not in ("cpu", "memory"):
            raise words.invalid("Invalid field of a placement strategy. For binpack it is cpu or memory.")


def why_not(instance: Instance, wish: Wish, tasks: list[Task]) -> str:
    """Why a task has no place on an instance with these live tasks; empty where it has one."""
    for one in wish.constraints:
        if one.get("type") == "memberOf":
            if not query.compile_query(str(one.get("expression") or ""))(instance.facts(tasks)):
                return words.MEMBER_OF
        elif any(task.group == wish.group for task in tasks):
            return words.DISTINCT
    if not instance.is_connected:
        return words.AGENT
    left = instance.remaining(tasks)
    if wish.needs.memory > left["MEMORY"]:
        return words.MEMORY
    if wish.needs.cpu > left["CPU"]:
        return words.CPU
    if wish.needs.tcp & left["PORTS"] or wish.needs.udp & left["PORTS_UDP"]:
        return words.PORTS
    return ""


def place(backend: Backend, cluster: str, wish: Wish) -> Instance | Refused:
    """Choose an instance."""
    found, reasons = [], []
    for instance in store.instances(backend, cluster):
        if instance.status != "ACTIVE":
            continue
        reason = why_not(instance, wish, store.live_on(backend, instance))
        if reason:
            reasons.append((instance, reason))
        else:
            found.append(instance)
    return _choose(backend, wish, found) if found else Refused(reasons)


def _choose(backend: Backend, wish: Wish, found: list[Instance]) -> Instance:
    tasks = {one.id: store.live_on(backend, one) for one in found}

    def same(instance: Instance, key: str) -> int:
        """Tasks of the group where the field has the instance's value."""
        return sum(
            task.group == wish.group
            for other in found
            if _field(other, key) == _field(instance, key)
            for task in tasks[other.id]
        )

    def rank(instance: Instance) -> list[float]:
        order: list[float] = []
        for one in wish.strategy:
            if one["type"] == "random":
                order.append(random.random())
            elif one["type"] == "binpack":
                order.append(instance.remaining(tasks[instance.id])[str(one["field"]).upper()])
            else:
                order.append(same(instance, str(one.get("field") or "instanceId")))
        own = sum(task.group == wish.group for task in tasks[instance.id])
        return [*order, own, len(tasks[instance.id])]

    return min(found, key=rank)


def _field(instance: Instance, key: str) -> str:
    if key in ("host", "instanceId"):
        return instance.id
    return str(instance.attributes.get(key.removeprefix("attribute:")))
