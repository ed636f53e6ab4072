"""The status of a site as people read it: lines of text from what the module site_status judged."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from ansible.module_utils import site_services

STATES = {
    "up": "up",
    "paused": "PAUSED: make resume starts it again",
    "down": "DOWN: make up starts it again",
}


def lines(status: dict[str, Any], pages: dict[str, str]) -> Iterator[str]:
    """The status as people read it."""
    yield status["headline"]
    for one in status["problems"]:
        yield f"  - {one['part']}: {one['what']}" + (f", since {one['since']}" if one["since"] else "")
        yield f"      {one['todo']}"
    if status["problems"] and status["overload"]:
        yield f"  {status['overload']}"
    yield from ("", "Hosts and containers")
    for name, host in status["hosts"].items():
        yield f"  {name:24} {STATES[host['state']]}"
        for service, words in host["services"].items():
            yield f"    {service:22} {words}"
    if status["emulators"]:
        yield from ("", "Emulators")
        for name, words in sorted(status["emulators"].items()):
            yield f"  {name:24} {words}"
    yield from site_services.lines(status.get("ecs") or {})
    yield from ("", "Rows")
    source, warehouse = status["source"], status["warehouse"]
    if source["answers"]:
        yield f"  PostgreSQL   {source['orders']:>10}   newest {source.get('age_seconds')} s ago"
        for slot, found in sorted((source.get("slots") or {}).items()):
            yield f"  slot {slot}: {found['bytes']} bytes behind, {found['status']}"
    else:
        yield f"  PostgreSQL         DOWN   {source['problem']}"
    backup = status.get("backup") or {}
    if backup.get("answers"):
        ended = (backup.get("base") or {}).get("ended", "never")[:19]
        waiting = (
            f"{backup.get('spool_files', 0)} files ({backup.get('spool_bytes', 0):,} bytes) wait to be stored"
        )
        yield f"  backup: the last base backup {ended}, {waiting}"
    if warehouse["answers"]:
        yield f"  RAW          {warehouse['raw_orders']:>10}   (as far as the marts go)"
        yield f"  mart         {warehouse['mart_orders']:>10}   last change {warehouse.get('last_change') or '-'}"
    else:
        yield f"  warehouse          DOWN   {warehouse['problem']}"
    credits = status["credits"]
    if credits["answers"]:
        days = ", ".join(f"{one['day']} {float(one['credits']):.3f}" for one in credits["days"])
        yield f"  credits      {days or 'none metered yet'}"
    else:
        yield f"  credits      not read: {credits['problem']}"
    yield from ("", "Last runs")
    for run in status["runs"]:
        when = run.get("end") or run.get("start") or run.get("created") or ""
        took = f"{run['seconds']:5.0f} s" if run.get("seconds") is not None else ""
        yield f"  {run['run_id'][:8]}  {run['status']:9} {when:20} {took:7} {run['job']}"
        if run.get("failure"):
            yield f"            {run['failure']}"
    if not status["runs"]:
        yield "  none" if status["dagster_answers"] else "  Dagster does not answer"
    yield from ("", "Pages")
    for name, address in pages.items():
        yield f"  {name:12} {address}"
