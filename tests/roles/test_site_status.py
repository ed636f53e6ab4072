"""The module site_status: whether a site is well, which part is not, since when, and what to do."""

from __future__ import annotations

import datetime
import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

import site_status
import tls_support

ROOT = Path(__file__).parents[2]
NOW = datetime.datetime(2026, 11, 28, 12, 0, tzinfo=datetime.UTC)
CONTAINERS = {
    "postgres": ["postgres"],
    "airbyte": ["airbyte"],
    "dagster_dbt": ["dagster-dbt", "dagster-webserver", "dagster-daemon", "dagster-docs"],
    "metabase": ["metabase"],
}
EMULATORS = ["shop-dns", "shop-registry", "shop-engine", "shop-aws", "shop-snowflake", "shop-eventbridge"]
UP = "Up 3 hours (healthy)"


def run(
    status: str = "SUCCESS", end: str = "2026-11-28T11:58:00Z", failure: str | None = None
) -> dict[str, Any]:
    return {
        "run_id": "0123456789abcdef",
        "job": "sales_job",
        "status": status,
        "created": end,
        "start": end,
        "end": None if status == "STARTED" else end,
        "seconds": 20.0,
        "failure": failure,
    }


def site(**changes: Any) -> dict[str, Any]:
    """What the parts of a site say that is well."""
    hosts = {
        f"shop-{role.replace('_', '-')}": {
            "role": role,
            "reachable": True,
            "problem": "",
            "services": [f"{name}\t{UP}" for name in names],
            "expected": list(names),
        }
        for role, names in CONTAINERS.items()
    }
    return {
        "target": "local",
        "paused": "",
        "hosts": hosts,
        "cloud": {
            "services": [f"{name}\t{UP}" for name in [*EMULATORS, *hosts]],
            "expected": EMULATORS,
            "problem": "",
        },
        "source": {
            "answer": {
                "orders": 10,
                "age_seconds": 60,
                "newest": "2026-11-28T11:59:00Z",
                "slots": {"airbyte": {"status": "reserved", "bytes": 56}},
            },
            "error": "",
        },
        "warehouse": {"answer": {"raw_orders": "9", "mart_orders": "9", "last_change": None}, "error": ""},
        "credits": {"answer": [{"day": "2026-11-28", "credits": "0.516666667"}], "error": ""},
        "runs": {"answers": True, "problem": "", "runs": [run()], "last_success": run()},
        "ingress": {"differing": []},
        "quiet_minutes": 15,
        "stale_minutes": 30,
    } | changes


def judged(**changes: Any) -> dict[str, Any]:
    found: dict[str, Any] = site_status.judged(site(**changes), NOW)
    return found


def text(status: dict[str, Any]) -> str:
    return "\n".join(site_status.lines(status, {"Dagster": "http://localhost:3000"}))


@pytest.mark.parametrize(
    ("meter", "said", "days"),
    [
        ({"answer": [{"day": "2026-11-28", "credits": "0.516666667"}]}, "2026-11-28 0.517", 1),
        ({"answer": []}, "none metered yet", 0),
        ({"answer": None, "error": "Timed out after 10 second(s)."}, "not read: no answer within 10 s", 0),
        ({}, "not read: no reason given", 0),
    ],
)
def test_credits_are_told_and_a_late_meter_is_no_problem(meter: dict[str, Any], said: str, days: int) -> None:
    status = judged(credits=meter)
    assert status["well"] and len(status["credits"]["days"]) == days
    assert re.search(rf"^  credits +{re.escape(said)}$", text(status), re.MULTILINE)
    assert json.loads(json.dumps(status))["credits"]["answers"] == (meter.get("answer") is not None)


def test_a_site_that_is_well_says_so_first() -> None:
    status = judged()
    assert status["well"] and status["problems"] == []
    assert text(status).startswith("WELL: every part answers; the last cycle ended at 2026-11-28T11:58:00Z")
    assert json.loads(json.dumps(status)) == status, "it can be written as JSON"
    assert set(status["emulators"]) == set(EMULATORS)


@pytest.mark.parametrize(
    ("days", "what"),
    [(90, ""), (14.1, ""), (13.9, "ends at 20"), (0.01, "ends at 20"), (-1, "has ended")],
)
def test_a_certificate_is_named_fourteen_days_before_its_end(tmp_path: Path, days: float, what: str) -> None:
    now = datetime.datetime.now(datetime.UTC)
    path = tmp_path / "postgres.crt"
    path.write_text(tls_support.Authority().sign(days=days).certificate)

    def told(**files: Path) -> list[dict[str, str]]:
        given = site(certificates={name.replace("_", " "): str(file) for name, file in files.items()})
        problems = site_status.judged(given, now)["problems"]
        return [one for one in problems if "certificate" in one["part"]]

    found = told(PostgreSQL=path, the_authority=tmp_path / "elsewhere")
    assert len(found) == bool(what)
    if what:
        assert found[0]["part"] == "certificate of PostgreSQL" and what in found[0]["what"]
        assert found[0]["todo"] == "run make up"
        (one,) = told(the_authority=path)
        assert one["todo"] == 'see "Certificates" in docs/operations.md'


def test_a_certificate_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    (tmp_path / "postgres.crt").write_text("nothing")
    status = judged(certificates={"PostgreSQL": str(tmp_path / "postgres.crt")})
    assert "cannot be read" in status["headline"] and str(tmp_path) in status["headline"]


@pytest.mark.parametrize("name", EMULATORS)
@pytest.mark.parametrize(
    "words", [None, "Exited (137) 5 minutes ago", "Up 2 hours (unhealthy)", "Up 2 hours (Paused)"]
)
def test_an_emulator_that_is_missing_or_does_not_run_is_named(name: str, words: str | None) -> None:
    cloud = site()["cloud"]
    cloud["services"] = [line for line in cloud["services"] if not line.startswith(name + "\t")]
    cloud["services"] += [f"{name}\t{words}"] if words else []
    status = judged(cloud=cloud)
    (problem,) = status["problems"]
    assert problem["part"] == f"emulator {name}" and "make up" in problem["todo"]
    assert problem["since"] == ("2026-11-28T11:55:00Z" if words and "Exited" in words else problem["since"])
    assert status["emulators"][name] == (words or "MISSING")
    assert text(status).startswith(f"NOT WELL: emulator {name}: ")


@pytest.mark.parametrize("role", CONTAINERS)
def test_a_container_that_is_missing_is_a_line_and_not_an_empty_list(role: str) -> None:
    hosts = site()["hosts"]
    name = f"shop-{role.replace('_', '-')}"
    hosts[name]["services"] = []
    status = judged(hosts=hosts)
    assert [one["what"] for one in status["problems"]] == ["is missing"] * len(CONTAINERS[role])
    assert set(status["hosts"][name]["services"].values()) == {"MISSING"}
    assert f"    {CONTAINERS[role][0]:22} MISSING" in text(status)


@pytest.mark.parametrize(
    ("words", "since"),
    [
        ("Exited (1) About a minute ago", "2026-11-28T11:59:00Z"),
        ("Exited (0) 2 hours ago", "2026-11-28T10:00:00Z"),
        ("Restarting (1) Less than a second ago", "2026-11-28T11:59:59Z"),
        ("Created", ""),
        ("Dead", ""),
    ],
)
def test_the_moment_since_when_comes_from_dockers_words(words: str, since: str) -> None:
    hosts = site()["hosts"]
    hosts["shop-metabase"]["services"] = [f"metabase\t{words}"]
    (problem,) = judged(hosts=hosts)["problems"]
    assert (problem["part"], problem["since"]) == ("shop-metabase, container metabase", since)


def test_containers_of_ecs_have_the_names_of_their_services_and_ended_ones_are_not_told() -> None:
    hosts = site()["hosts"]
    ended = "ecs-shop-metabase-3-metabase-8ab3fe\tExited (1) 2 minutes ago\tmetabase"
    hosts["shop-metabase"]["services"] = [
        ended,
        f"ecs-agent\t{UP}\t",
        f"ecs-shop-metabase-3-metabase-77\t{UP}\tmetabase",
    ]
    status = judged(hosts=hosts)
    assert status["well"]
    assert status["hosts"]["shop-metabase"]["services"] == {"ecs-agent": UP, "metabase": UP}
    hosts["shop-metabase"]["services"] = [ended]
    assert judged(hosts=hosts)["problems"][0]["what"] == "is missing"


def test_services_by_ecs_are_told_where_it_starts_the_containers() -> None:
    assert judged()["ecs"] == {} and "Services by ECS" not in text(judged())
    status = judged(ecs=conducted())
    assert status["well"]
    assert "postgres               1 of 1  completed    17\n" in text(status)
    assert "    2026-11-28T11:00:00Z (service postgres) has reached a steady state." in text(status)
    assert json.loads(json.dumps(status))["ecs"]["services"][0]["tag"] == "17"


@pytest.mark.parametrize(
    ("change", "what"),
    [
        ({"running": 0}, "runs 0 of 1 tasks; (service postgres) has reached a steady state."),
        ({"rollout": "FAILED"}, "was given up by ECS after failed tasks; (service postgres) has"),
        ({"desired": 0, "running": 0}, "is stopped"),
    ],
)
def test_a_service_that_ecs_does_not_run_is_named_with_the_last_event(
    change: dict[str, Any], what: str
) -> None:
    status = judged(ecs=conducted(**change))
    (problem,) = status["problems"]
    assert problem["part"] == "service postgres of ECS" and problem["what"].startswith(what)
    assert judged(ecs=conducted(**change), paused="2026-11-28T11:00:00Z")["problems"][0]["part"] == "site"


def test_an_agent_that_is_away_is_named_unless_its_host_is_down() -> None:
    found = conducted()
    found["answer"]["agents"][3]["connected"] = False
    del found["answer"]["agents"][0]
    status = judged(ecs=found)
    assert {one["part"] for one in status["problems"]} == {"ECS agent of postgres", "ECS agent of airbyte"}
    assert "the agent of postgres is away" in text(status)
    hosts = site()["hosts"]
    hosts["shop-postgres"] |= {"reachable": False, "services": []}
    found = conducted(running=0)
    found["answer"]["agents"][3]["connected"] = False
    assert [one["part"] for one in judged(ecs=found, hosts=hosts)["problems"]] == ["host shop-postgres"]


def test_an_ecs_that_does_not_answer_is_named() -> None:
    status = judged(ecs={"answer": None, "error": "no answer within 10 s"})
    assert status["problems"][0]["part"] == "ECS"
    assert "not read: no answer within 10 s" in text(status)


def conducted(**changes: Any) -> dict[str, Any]:
    """What ECS tells of a site that is well."""
    service = {
        "name": "postgres",
        "role": "postgres",
        "desired": 1,
        "running": 1,
        "rollout": "COMPLETED",
        "since": "2026-11-28T11:00:00Z",
        "tag": "17",
        "event": "(service postgres) has reached a steady state.",
        "event_at": "2026-11-28T11:00:00Z",
    }
    agents = [{"role": role, "connected": True} for role in sorted(CONTAINERS)]
    return {"answer": {"services": [service | changes], "agents": agents}, "error": ""}


def test_a_host_that_is_down_is_one_problem_with_all_that_it_holds() -> None:
    hosts = site()["hosts"]
    hosts["shop-postgres"] |= {
        "reachable": False,
        "services": [],
        "problem": "…over ssh: Connection timed out",
    }
    nothing = {"answer": None, "error": ""}
    (problem,) = judged(hosts=hosts, source=nothing)["problems"]
    assert problem == {
        "part": "host shop-postgres",
        "what": "cannot be logged in to: Connection timed out",
        "since": "",
        "todo": "run make up",
    }
    cloud = site()["cloud"]
    cloud["services"].remove(f"shop-postgres\t{UP}")
    cloud["services"].append("shop-postgres\tExited (137) 5 minutes ago")
    status = judged(hosts=hosts, source=nothing, cloud=cloud)
    assert status["headline"] == (
        "NOT WELL: host shop-postgres: does not run (Exited (137) 5 minutes ago), since 2026-11-28T11:55:00Z; run make up"
    )
    assert "PostgreSQL         DOWN   its host is down" in text(status)
    cloud["services"].pop()
    (problem,) = judged(hosts=hosts, source=nothing, cloud=cloud)["problems"]
    assert problem["what"] == "is missing: this machine has no such container"


def test_a_pause_is_one_problem_with_the_way_back() -> None:
    hosts = {name: host | {"reachable": False, "services": []} for name, host in site()["hosts"].items()}
    status = judged(hosts=hosts, paused="2026-11-28T09:00:00Z")
    assert status["headline"] == "NOT WELL: site: is paused, since 2026-11-28T09:00:00Z; run make resume"
    assert {host["state"] for host in status["hosts"].values()} == {"paused"}
    assert text(status).count("PAUSED") == 4


def test_a_database_and_a_warehouse_that_do_not_answer_say_why() -> None:
    silent = {"answer": None, "error": "there was no answer within 5 s."}
    status = judged(source=silent, warehouse=silent)
    assert [one["part"] for one in status["problems"]] == ["PostgreSQL", "warehouse"]
    assert (
        status["source"]
        == status["warehouse"]
        == {"answers": False, "problem": "there was no answer within 5 s."}
    )
    assert text(status).count("DOWN   there was no answer within 5 s.") == 2


def test_failing_runs_are_a_problem_since_the_first_of_them() -> None:
    reason = "RAW differs by 13 orders … refresh the stream"
    runs = [
        run("STARTED", "2026-11-28T12:00:00Z"),
        run("FAILURE", "2026-11-28T11:55:00Z", reason),
        run("CANCELED", "2026-11-28T11:50:00Z"),
        run("FAILURE", "2026-11-28T11:45:00Z", "something else"),
        run("SUCCESS", "2026-11-28T11:40:00Z"),
        run("FAILURE", "2026-11-28T11:35:00Z", "long ago"),
    ]
    status = judged(runs={"answers": True, "problem": "", "runs": runs, "last_success": runs[4]})
    assert status["headline"] == (
        f"NOT WELL: pipeline: the last 3 runs failed: {reason}, since 2026-11-28T11:45:00Z; run make refresh"
    )
    assert reason in text(status)


@pytest.mark.parametrize(
    ("runs", "what"),
    [
        (
            {"answers": False, "problem": "Dagster cannot read its storage", "runs": []},
            "cannot read its storage",
        ),
        ({}, "does not answer"),
        ({"answers": True, "runs": [], "last_success": None}, "no cycle has succeeded yet"),
        ({"answers": True, "runs": [], "last_success": run(end="2026-11-28T11:00:00Z")}, "for long"),
    ],
)
def test_runs_that_are_not_reported_or_do_not_come_are_a_problem(runs: dict[str, Any], what: str) -> None:
    (problem,) = judged(runs=runs)["problems"]
    assert what in problem["what"]


def test_the_first_cycle_under_way_is_no_problem() -> None:
    assert judged(runs={"answers": True, "runs": [run("STARTED")], "last_success": None})["well"]


@pytest.mark.parametrize(
    ("changes", "part"),
    [
        ({"newest": "2026-11-28T11:30:00Z"}, "generator"),
        ({"slots": {"airbyte": {"status": "lost", "bytes": None}}}, "slot airbyte"),
        ({"slots": {"airbyte": {"status": "extended", "bytes": 3 << 30}}}, "slot airbyte"),
    ],
)
def test_rows_that_do_not_come_or_leave_are_a_problem(changes: dict[str, Any], part: str) -> None:
    answer = site()["source"]["answer"] | changes
    (problem,) = judged(source={"answer": answer, "error": ""})["problems"]
    assert problem["part"] == part


def test_an_empty_shop_is_well() -> None:
    assert judged(
        source={"answer": {"orders": 0, "age_seconds": None, "newest": None, "slots": {}}, "error": ""}
    )["well"]


def test_docker_and_the_emulated_api_are_parts_too() -> None:
    cloud = {"services": [], "expected": EMULATORS, "problem": "Cannot connect to the Docker daemon"}
    assert [one["part"] for one in judged(cloud=cloud)["problems"]] == ["Docker on this machine"]
    hung = site()["cloud"] | {"api_problem": "timed out"}
    assert [one["part"] for one in judged(cloud=hung)["problems"]] == ["AWS API (emulated)"]
    assert judged(ingress={"differing": ["shop-airbyte"]})["problems"][0]["part"] == "host shop-airbyte"


def test_rules_that_cannot_be_compared_are_reported_where_nothing_else_is_the_reason() -> None:
    ingress = {"differing": [], "error": "permission denied"}
    (problem,) = judged(ingress=ingress)["problems"]
    assert problem["part"] == "ingress rules" and "permission denied" in problem["what"]
    hosts = site()["hosts"]
    hosts["shop-airbyte"] |= {"reachable": False}
    assert [one["part"] for one in judged(hosts=hosts, ingress=ingress)["problems"]] == ["host shop-airbyte"]


def test_a_late_answer_is_told_apart_on_a_machine_that_is_too_busy() -> None:
    hosts = site()["hosts"]
    hosts["shop-airbyte"] |= {"reachable": False, "problem": "Task failed: Timed out after 10 second(s)."}
    status = judged(hosts=hosts)
    assert status["problems"][0]["what"] == "cannot be logged in to: no answer within 10 s"
    busy = site_status.overload(47.4, 2)
    assert "47 processes share 2 processors" in busy and site_status.overload(7.9, 2) == ""
    assert f"  {busy}\n" in text(status | {"overload": busy})
    assert busy not in text(judged() | {"overload": busy}), "who is well was not late"


def test_on_aws_there_are_no_emulators() -> None:
    status = judged(target="aws", cloud={"services": [], "expected": [], "problem": ""})
    assert status["well"] and "Emulators" not in text(status)


def test_the_names_that_are_expected_are_those_of_the_roles() -> None:
    parts = yaml.safe_load((ROOT / "playbooks/vars/parts.yml").read_text())
    containers = parts["retailflow_containers"]

    def default(role: str, name: str) -> str:
        return str(yaml.safe_load((ROOT / f"roles/{role}/defaults/main.yml").read_text())[name])

    assert containers["postgres"] == [default("postgres", "postgres_container_name")]
    assert containers["metabase"] == [default("metabase", "metabase_container_name")]
    airbyte = default("airbyte-bash-installer", "airbyte_bash_installer_container_name")
    assert f"'{airbyte}' if" in containers["airbyte"][0]
    prefix = "dagster_dbt_container_"
    assert containers["dagster_dbt"] == [
        default("dagster-dbt-container", prefix + name)
        for name in ("name", "webserver_name", "daemon_name", "docs_name")
    ]
    services = [
        one["name"]
        for one in yaml.safe_load((ROOT / "roles/local-cloud/vars/main.yml").read_text())[
            "__local_cloud_services"
        ]
    ]
    listed = re.search(r"\[(.*?)\]", parts["retailflow_emulators"])
    assert listed
    assert {"dns", "registry", *services} == set(re.findall(r"\w+", listed[1]))


@pytest.mark.parametrize(
    ("changes", "what"),
    [
        ({}, ""),
        ({"spool_files": 1, "spool_since": "2026-03-01T11:59:00Z"}, ""),
        ({"spool_files": 9, "spool_bytes": 9 << 24, "spool_since": "2026-03-01T11:00:00Z"}, "9 files with 150,994,944 bytes"),
        ({"error": {"since": "2026-03-01T11:58:00Z", "text": "NoSuchBucket"}}, "cannot be stored: NoSuchBucket"),
        ({"base": {}}, "has no base backup yet"),
        ({"base": {"ended": "2026-02-26T12:00:00Z"}}, "has an old base backup"),
    ],
)  # fmt: skip
def test_a_backup_that_is_not_stored_is_a_problem(changes: dict[str, Any], what: str) -> None:
    now = datetime.datetime(2026, 3, 1, 12, tzinfo=datetime.UTC)
    answer = {
        "spool_files": 0,
        "spool_bytes": 0,
        "error": {},
        "base": {"ended": "2026-03-01T02:30:00Z"},
    } | changes
    found = [one.what for one in site_status.of_backup({"answer": answer}, now)]
    assert (len(found) == 1 and what in found[0]) if what else found == []


def test_how_much_may_wait_is_said_with_what_waits() -> None:
    answer = {
        "spool_files": 9,
        "spool_bytes": 9 << 24,
        "error": {"since": "2026-03-01T11:58:00Z", "text": "full"},
    }
    answer["base"] = {"ended": site_status.iso(NOW)}
    (problem,) = site_status.of_backup({"answer": answer}, NOW, 4)
    assert problem.what == (
        "cannot be stored: full; 9 files with 150,994,944 bytes wait in the spool; at 4 GB the generator stops"
    )


def test_a_generator_that_was_stopped_says_why_and_not_that_it_writes_nothing() -> None:
    reason = "The generator is stopped: the disk of /data on shop-postgres has 1.2 GB of 30.0 GB free."
    stop = {"reason": reason, "since": "2026-11-28T10:00:00Z"}
    answer = {"orders": 10, "newest": "2026-11-28T10:00:00Z", "slots": {}, "stops": [stop]}
    (problem,) = site_status.of_source({"answer": answer}, NOW, 15)
    assert problem.part == "generator" and problem.since == stop["since"]
    assert problem.what == "is stopped: the disk of /data on shop-postgres has 1.2 GB of 30.0 GB free."
    assert '"A disk that fills"' in problem.todo
    assert "## A disk that fills\n" in (ROOT / "docs/operations.md").read_text()
    (silent,) = site_status.of_source({"answer": answer | {"stops": []}}, NOW, 15)
    assert silent.what == "writes no sales"


def test_a_host_without_an_answer_about_its_backups_is_a_problem() -> None:
    now = datetime.datetime.now(datetime.UTC)
    assert [one.what for one in site_status.of_backup({"answer": None, "error": "gone"}, now)] == [
        "cannot be asked: gone"
    ]
