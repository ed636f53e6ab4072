"""Services by ECS as a site's status tells of them: what is not as it should be, and lines for people. For site_status."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from typing import Any

LOOK = 'see "When a service does not become stable" in docs/operations.md'


def of_services(found: Mapping[str, Any], up: Collection[str]) -> Iterator[tuple[str, str, str, str]]:
    """Yield part, what, since and what to do of each agent that is away and each service without its tasks.

    `found` is what ECS told, `up` are the roles of the hosts that answer: what another one holds is told with the host.
    """
    if not found:
        return
    answer = found.get("answer")
    if not isinstance(answer, dict):
        yield "ECS", f"cannot be asked: {found.get('error') or 'no reason given'}", "", "run make up"
        return
    agents = answer.get("agents") or []
    for one in agents:
        if one["role"] in up and not one["connected"]:
            yield f"ECS agent of {one['role']}", "is not connected: ECS starts nothing there", "", LOOK
    for role in sorted(set(up) - {one["role"] for one in agents}):
        yield f"ECS agent of {role}", "is not in the cluster", "", "run make up"
    for one in answer.get("services") or []:
        if one["role"] and one["role"] not in up:
            continue
        part = f"service {one['name']} of ECS"
        event = f"; {one['event']}" if one.get("event") else ""
        if one.get("rollout") == "FAILED":
            yield part, f"was given up by ECS after failed tasks{event}", one.get("since") or "", LOOK
        elif not one["desired"]:
            yield part, "is stopped", "", "run make up"
        elif one["running"] < one["desired"]:
            what = f"runs {one['running']} of {one['desired']} tasks{event}"
            yield part, what, one.get("since") or "", LOOK


def told(found: Mapping[str, Any]) -> dict[str, Any]:
    """Return what ECS told for status.json: `answers`, `problem`, `services`, and `agents_away`, the roles without an agent."""
    answer = found.get("answer")
    if not isinstance(answer, dict):
        return {"answers": False, "problem": str(found.get("error") or "no reason given")}
    away = [one["role"] for one in answer.get("agents") or [] if not one["connected"]]
    return {"answers": True, "problem": "", "services": answer.get("services") or [], "agents_away": away}


def lines(status: Mapping[str, Any]) -> Iterator[str]:
    """The section of the status for people; nothing where Docker starts the containers."""
    if not status:
        return
    yield from ("", "Services by ECS")
    if not status["answers"]:
        yield f"  not read: {status['problem']}"
        return
    for one in status["services"]:
        tasks = f"{one['running']} of {one['desired']}"
        yield f"  {one['name']:22} {tasks:7} {one['rollout'].lower() or '-':12} {one['tag']}"
        if one.get("event"):
            yield f"    {one['event_at']} {one['event']}"
    for role in status["agents_away"]:
        yield f"  the agent of {role} is away"
