"""Ansible module: whether a site is well, from what its parts said."""

from __future__ import annotations

import datetime
import json
import os
import re
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.site_certificates import of_certificates
from ansible.module_utils.site_report import lines
from ansible.module_utils.site_services import of_services as of_ecs
from ansible.module_utils.site_services import told

DOCUMENTATION = r"""
---
module: site_status
short_description: Judge whether a site is well
description:
  - Takes what hosts, emulators, database, warehouse and Dagster said, or why they said nothing, and returns one judgement
    with every problem by name. It asks nobody itself and never fails because a part is missing.
options:
  folder: {description: "Folder of C(status.json) and C(status.txt), which are written.", type: path, required: true}
  pages: {description: Addresses of the pages by name., type: dict, default: {}}
  target: {description: "Name of the target, C(local) or C(aws).", type: str, required: true}
  hosts:
    description: >-
      The hosts by name, each with C(role), C(reachable), C(problem), C(services) (lines of name, tab, Docker's status, and for a
      container of ECS a tab and its service) and C(expected) (names of its containers).
    type: dict
    required: true
  paused: {description: "Since when the site is paused, ISO 8601; empty where it is not.", type: str, default: ""}
  cloud:
    description: >-
      What runs on the control node beside the hosts: C(services) (lines as above, those of the hosts among them), C(expected)
      and C(problem).
    type: dict
    required: true
  source: {description: "C(answer) of PostgreSQL and C(error).", type: dict, required: true}
  warehouse: {description: "C(answer) of the warehouse and C(error).", type: dict, required: true}
  credits:
    description: >-
      C(answer), a list of C(day) and C(credits) that the warehouse was metered with, newest first, and C(error). Meters come
      late, so what they lack is no problem.
    type: dict
    default: {}
  runs: {description: "C(answers), C(problem), C(runs) and C(last_success) of Dagster.", type: dict, required: true}
  backup:
    description: >-
      C(answer) of the program that stores PostgreSQL's backups, with C(spool_files), C(spool_bytes), C(spool_since), C(error) and
      C(base), and C(error) where it did not answer. Empty where there is none.
    type: dict
    default: {}
  spool_gb: {description: GB of the spool at which the generator stops; 0 for no limit., type: int, default: 0}
  certificates:
    description: Files of certificates on the control node by who shows them; one that ends within 14 days is a problem.
    type: dict
    default: {}
  ecs:
    description: >-
      C(answer) of the module ecs_services and C(error) where it did not answer. Empty where Docker starts the containers.
    type: dict
    default: {}
  ingress: {description: "C(differing) hosts, or C(error).", type: dict, required: true}
  quiet_minutes: {description: Minutes after which missing rows are a problem., type: int, default: 15}
  stale_minutes: {description: Minutes after which a missing cycle is a problem., type: int, default: 30}
author: RetailFlow
attributes:
  check_mode: {support: full, description: It writes a report and changes nothing else.}
  diff_mode: {support: none, description: There is no diff.}
"""

EXAMPLES = r"""
- name: Judge the site
  site_status:
    folder: /tmp
    target: local
    hosts: {shop-web: {role: web, reachable: true, services: ["web\tUp 2 hours (healthy)"], expected: [web]}}
    cloud: {expected: [], services: []}
    source: {answer: {orders: 1}, error: ""}
    warehouse: {answer: {}, error: ""}
    runs: {answers: true, runs: [], last_success: null}
    ingress: {differing: []}
"""

RETURN = r"""
status:
  description: >-
    C(well), C(headline), C(problems) (each with C(part), C(what), C(since), C(todo)), C(overload), C(target), C(hosts),
    C(emulators), C(ecs), C(source), C(backup), C(warehouse), C(credits), C(dagster_answers), C(runs), C(last_success) and
    C(ingress_differs).
  type: dict
  returned: always
"""

UNITS = {
    "second": 1,
    "minute": 60,
    "hour": 3600,
    "day": 86400,
    "week": 604800,
    "month": 2629746,
    "year": 31556952,
}
UNFINISHED = {"QUEUED", "NOT_STARTED", "MANAGED", "STARTING", "STARTED", "CANCELING"}
BUSY = 4  # processes for each processor
SLOT_LIMIT_BYTES = 1 << 30  # half of max_slot_wal_keep_size: PostgreSQL drops what a slot needs beyond that
SPOOL_MINUTES = 5  # the log leaves its host after less than one
BASE_MINUTES = 2 * 24 * 60  # twice the time between two base backups
MAKE_UP = "run make up"


@dataclass(frozen=True)
class Problem:
    """One thing that is not as it should be; `since` is ISO 8601 in UTC, or empty where nobody knows."""

    part: str
    what: str
    since: str
    todo: str


@dataclass(frozen=True)
class Service:
    """A container as Docker describes it: its state in one word, Docker's own words, and since when."""

    state: str
    words: str
    since: str

    @property
    def well(self) -> bool:
        return self.state in ("up", "starting")


def iso(moment: datetime.datetime) -> str:
    """A moment as ISO 8601 in UTC, to the second."""
    return moment.astimezone(datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def before(words: str, now: datetime.datetime) -> str:
    """The moment that Docker's words name, such as `Exited (1) About an hour ago`; empty where they name none."""
    found = re.search(r"(\d+|an?)\s+(second|minute|hour|day|week|month|year)s?\b", words)
    if not found:
        return ""
    count = int(found[1]) if found[1].isdigit() else 1
    return iso(now - datetime.timedelta(seconds=count * UNITS[found[2]]))


def parse(lines: list[str], now: datetime.datetime) -> dict[str, Service]:
    """Containers by name, from lines of name, tab and Docker's status.

    Those of ECS have other names and say their service's in a third column. One that does not run is of a task that has ended:
    ECS has started another or tells why not.
    """
    found = {}
    for line in lines:
        name, words, service = [*line.split("\t"), "", ""][:3]
        if not name or (service and not words.startswith("Up")):
            continue
        name = service or name
        if not words.startswith("Up"):
            state = words.split(" ")[0].lower() or "unknown"
        elif "(unhealthy)" in words:
            state = "unhealthy"
        elif "(Paused)" in words:
            state = "paused"
        else:
            state = "starting" if "health: starting" in words else "up"
        found[name] = Service(state, words, before(words, now))
    return found


def of_services(where: str, expected: list[str], services: dict[str, Service]) -> Iterator[Problem]:
    """Yield the containers that are missing, stopped or ill."""
    for name in expected:
        service = services.get(name)
        part = f"{where}{name}"
        if service is None:
            yield Problem(part, "is missing", "", MAKE_UP)
        elif service.state == "unhealthy":
            yield Problem(
                part,
                "runs and does not answer (unhealthy)",
                "",
                f"look at its log, or restart it; then {MAKE_UP}",
            )
        elif not service.well:
            yield Problem(part, f"does not run ({service.words})", service.since, MAKE_UP)


def of_host(name: str, host: dict[str, Any], cloud: dict[str, Service]) -> Problem:
    """Say why a host cannot be logged in to: its container is known on one machine, and ssh's last words elsewhere."""
    service = cloud.get(name)
    if service and not service.well:
        return Problem(f"host {name}", f"does not run ({service.words})", service.since, MAKE_UP)
    if cloud and not service:
        return Problem(f"host {name}", "is missing: this machine has no such container", "", MAKE_UP)
    words = plain(host.get("problem") or "no answer").rpartition("over ssh: ")[2].strip()
    return Problem(f"host {name}", f"cannot be logged in to: {words}", "", MAKE_UP)


def of_runs(runs: dict[str, Any], now: datetime.datetime, stale_minutes: int) -> Iterator[Problem]:
    """Yield what is wrong with Dagster's runs: nobody answers, the last ones failed, none has succeeded for long."""
    if not runs.get("answers"):
        yield Problem("Dagster", f"does not answer: {runs.get('problem') or 'no reason given'}", "", MAKE_UP)
        return
    ended = [run for run in runs.get("runs") or [] if run["status"] not in UNFINISHED]
    failing: list[dict[str, Any]] = []
    for run in ended:
        if run["status"] == "SUCCESS":
            break
        failing.append(run)
    success = runs.get("last_success") or {}
    if failing:
        reason = next((run["failure"] for run in failing if run.get("failure")), "no reason was recorded")
        count = "the last run" if len(failing) == 1 else f"the last {len(failing)} runs"
        todo = "run make refresh" if "refresh" in reason else "run make open-dagster and look at the run"
        since = failing[-1].get("end") or failing[-1].get("start") or ""
        yield Problem("pipeline", f"{count} failed: {reason}", since, todo)
        return
    ended_at = success.get("end") or ""
    if not ended_at:
        running = [run for run in runs.get("runs") or [] if run["status"] in UNFINISHED]
        if not running:
            yield Problem("pipeline", "no cycle has succeeded yet", "", "run make run")
    elif older(ended_at, now, stale_minutes):
        yield Problem(
            "pipeline",
            "no cycle has succeeded for long",
            ended_at,
            "look whether Dagster's schedule is on (make open-dagster)",
        )


def older(moment: str, now: datetime.datetime, minutes: int) -> bool:
    """Whether an ISO 8601 moment is more than so many minutes ago."""
    return now - datetime.datetime.fromisoformat(moment) > datetime.timedelta(minutes=minutes)


def of_source(source: dict[str, Any], now: datetime.datetime, quiet_minutes: int) -> Iterator[Problem]:
    """Yield what is wrong with PostgreSQL: no answer, no new rows, a slot that is lost or far behind."""
    answer = source.get("answer")
    if not isinstance(answer, dict):
        yield Problem(
            "PostgreSQL", f"does not answer: {source.get('error') or 'no reason given'}", "", MAKE_UP
        )
        return
    stops = answer.get("stops") or []
    for stop in stops:
        todo = 'see "A disk that fills" in docs/operations.md'
        yield Problem("generator", plain(stop["reason"]).removeprefix("The generator "), stop["since"], todo)
    newest = answer.get("newest")
    if newest and not stops and older(newest, now, quiet_minutes):
        yield Problem(
            "generator", "writes no sales", newest, "run make print-lambda, then look at the function's log"
        )
    if answer.get("archive_failed"):
        what = f"cannot be copied into the spool: the segment {answer['archive_failed']}"
        yield Problem("PostgreSQL's log", what, "", 'see "Backups" in docs/operations.md')
    for slot, found in (answer.get("slots") or {}).items():
        if found.get("status") == "lost":
            todo = "nothing: the next sync makes it again and reads every table"
            yield Problem(f"slot {slot}", "is lost", "", todo)
        elif (found.get("bytes") or 0) > SLOT_LIMIT_BYTES:
            yield Problem(
                f"slot {slot}",
                f"is {found['bytes']:,} bytes behind",
                "",
                'see "When changes stop arriving" in docs/operations.md',
            )


def of_backup(backup: dict[str, Any], now: datetime.datetime, spool_gb: int = 0) -> Iterator[Problem]:
    """Yield what is wrong with PostgreSQL's backups: storing fails, the spool grows, the last base backup is old."""
    if not backup:
        return
    answer = backup.get("answer")
    if not isinstance(answer, dict):
        yield Problem("backup", f"cannot be asked: {backup.get('error') or 'no reason given'}", "", MAKE_UP)
        return
    look = 'see "Backups" in docs/operations.md'
    error = answer.get("error") or {}
    held = f"{answer.get('spool_files') or 0} files with {answer.get('spool_bytes') or 0:,} bytes wait in the spool"
    if spool_gb:
        held += f"; at {spool_gb} GB the generator stops"
    if error:
        yield Problem("backup", f"cannot be stored: {plain(error['text'])}; {held}", error["since"], look)
    elif answer.get("spool_since") and older(answer["spool_since"], now, SPOOL_MINUTES):
        yield Problem("backup", f"is not stored: {held}", answer["spool_since"], look)
    base = answer.get("base") or {}
    if not base:
        yield Problem("backup", "has no base backup yet", "", "run make backup")
    elif older(base["ended"], now, BASE_MINUTES):
        yield Problem("backup", "has an old base backup", base["ended"], "run make backup")


def judged(params: dict[str, Any], now: datetime.datetime) -> dict[str, Any]:
    """The status of the whole site; problems in the order in which they should be looked at."""
    cloud = parse(params["cloud"].get("services") or [], now)
    emulators = {name: one for name, one in cloud.items() if name not in params["hosts"]}
    problems: list[Problem] = []
    if params["paused"]:
        problems.append(Problem("site", "is paused", params["paused"], "run make resume"))
    if params["cloud"].get("problem"):
        problems.append(
            Problem(
                "Docker on this machine", params["cloud"]["problem"], "", "start the engine, then " + MAKE_UP
            )
        )
    elif params["cloud"].get("expected"):
        problems += of_services("emulator ", params["cloud"]["expected"], emulators)
    if params["cloud"].get("api_problem"):
        problems.append(
            Problem("AWS API (emulated)", f"does not answer: {params['cloud']['api_problem']}", "", MAKE_UP)
        )

    hosts: dict[str, Any] = {}
    up = set()
    for name, host in sorted(params["hosts"].items()):
        services = parse(host.get("services") or [], now)
        state = "up" if host.get("reachable") else "paused" if params["paused"] else "down"
        hosts[name] = {
            "role": host.get("role", ""),
            "reachable": bool(host.get("reachable")),
            "state": state,
            "services": {key: one.words for key, one in sorted(services.items())},
        }
        if state == "up":
            up.add(host.get("role"))
            for missing in (one for one in host.get("expected") or [] if one not in services):
                hosts[name]["services"][missing] = "MISSING"
            problems += of_services(f"{name}, container ", host.get("expected") or [], services)
        elif state == "down":
            problems.append(of_host(name, host, cloud))

    differing = params["ingress"].get("differing") or []
    problems += [
        Problem(f"host {one}", "has other ingress rules than its security group", "", MAKE_UP)
        for one in differing
    ]
    if not params["paused"]:
        problems += [Problem(*one) for one in of_ecs(params.get("ecs") or {}, up)]
    # Where a host or the API is down, that is the reason, and told already.
    if params["ingress"].get("error") and not problems:
        problems.append(
            Problem("ingress rules", f"cannot be compared: {params['ingress']['error']}", "", MAKE_UP)
        )
    # What a host that is down held is told with the host.
    if "postgres" in up:
        problems += of_source(params["source"], now, params["quiet_minutes"])
        problems += of_backup(params.get("backup") or {}, now, params.get("spool_gb") or 0)
    problems += [Problem(*one) for one in of_certificates(params.get("certificates") or {}, now)]
    warehouse = params["warehouse"].get("answer")
    if not isinstance(warehouse, dict):
        error = plain(params["warehouse"].get("error") or "no reason given")
        problems.append(Problem("warehouse", f"cannot be read: {error}", "", MAKE_UP))
    if "dagster_dbt" in up:
        problems += of_runs(params["runs"], now, params["stale_minutes"])

    status: dict[str, Any] = {
        "well": not problems,
        "headline": headline(problems, params, now),
        "problems": [asdict(one) for one in problems],
        "overload": overload(os.getloadavg()[0], os.cpu_count() or 1),
        "target": params["target"],
        "hosts": hosts,
        "emulators": {name: one.words for name, one in sorted(emulators.items())},
        "ecs": told(params["ecs"]) if params.get("ecs") else {},
        "source": part(params["source"] if "postgres" in up else {"error": "its host is down"}),
        "backup": part(params.get("backup") or {}),
        "warehouse": part(params["warehouse"]),
        "credits": metered(params["credits"]),
        "dagster_answers": bool(params["runs"].get("answers")),
        "runs": params["runs"].get("runs") or [],
        "last_success": params["runs"].get("last_success"),
        "ingress_differs": differing,
    }
    for missing in params["cloud"].get("expected") or []:
        status["emulators"].setdefault(missing, "MISSING")
    return status


def part(found: dict[str, Any]) -> dict[str, Any]:
    """What a part said, with `answers` and, where it said nothing, why."""
    answer = found.get("answer")
    if isinstance(answer, dict):
        return {"answers": True, "problem": "", **answer}
    return {"answers": False, "problem": plain(found.get("error") or "no reason given")}


def metered(found: dict[str, Any]) -> dict[str, Any]:
    """Credits by day, newest first, with `answers` and, where the meter said nothing, why."""
    answer = found.get("answer")
    if isinstance(answer, list):
        days = [{"day": str(one["day"]), "credits": float(one["credits"])} for one in answer]
        return {"answers": True, "problem": "", "days": days}
    return {"answers": False, "problem": plain(found.get("error") or "no reason given"), "days": []}


def headline(problems: list[Problem], params: dict[str, Any], now: datetime.datetime) -> str:
    """One line: well or not, what, since when, what to do."""
    if not problems:
        success = params["runs"].get("last_success") or {}
        last = f"the last cycle ended at {success['end']}" if success.get("end") else "a cycle is under way"
        return f"WELL: every part answers; {last}, now it is {iso(now)}"
    first = problems[0]
    since = f", since {first.since}" if first.since else ""
    more = f" ({len(problems) - 1} more below)" if len(problems) > 1 else ""
    return f"NOT WELL: {first.part}: {first.what}{since}; {first.todo}{more}"


def plain(reason: str) -> str:
    """A reason without what Ansible puts around it."""
    words = " ".join(reason.split()).removeprefix("Task failed: ").removeprefix("Module failed: ")
    return re.sub(r"^Timed out after (\d+) second\(s\)\.?$", r"no answer within \1 s", words)


def overload(load: float, processors: int) -> str:
    """A sentence where this machine is so busy that answers may only be late; empty where it is not."""
    if load <= BUSY * processors:
        return ""
    return (
        f"This machine is overloaded: {load:.0f} processes share {processors} processors, so answers may only be late. "
        "Run make status again when it has time."
    )


def main() -> None:
    """Entry point of the module."""
    module = AnsibleModule(
        argument_spec={
            "folder": {"type": "path", "required": True},
            "pages": {"type": "dict", "default": {}},
            "target": {"type": "str", "required": True},
            "hosts": {"type": "dict", "required": True},
            "paused": {"type": "str", "default": ""},
            "cloud": {"type": "dict", "required": True},
            "source": {"type": "dict", "required": True},
            "warehouse": {"type": "dict", "required": True},
            "credits": {"type": "dict", "default": {}},
            "runs": {"type": "dict", "required": True},
            "backup": {"type": "dict", "default": {}},
            "spool_gb": {"type": "int", "default": 0},
            "certificates": {"type": "dict", "default": {}},
            "ecs": {"type": "dict", "default": {}},
            "ingress": {"type": "dict", "required": True},
            "quiet_minutes": {"type": "int", "default": 15},
            "stale_minutes": {"type": "int", "default": 30},
        },
        supports_check_mode=True,
    )
    status = judged(module.params, datetime.datetime.now(datetime.UTC))
    folder = Path(module.params["folder"])
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "status.json").write_text(
        json.dumps(status, indent=4, ensure_ascii=False) + "\n", encoding="utf-8"
    )
    (folder / "status.txt").write_text(
        "\n".join(lines(status, module.params["pages"])) + "\n", encoding="utf-8"
    )
    module.exit_json(changed=False, status=status)


if __name__ == "__main__":
    main()
