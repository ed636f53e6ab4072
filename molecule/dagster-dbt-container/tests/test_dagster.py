"""Cycles in the containers: by hand, over GraphQL, interrupted."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest

QUERY = Path(__file__).parents[2] / "shared/files/query.py"
BOUNDED = Path(__file__).parents[2] / "shared/files/bounded.py"
JOB = {"repositoryLocationName": "retailflow", "repositoryName": "__repository__", "jobName": "sales_job"}
ENDED = {"SUCCESS", "FAILURE", "CANCELED"}
# On the host, as one process however often it asks: to start one costs more than a question.
ASK = """
import json, sys, time, urllib.request
query, variables, wanted, seconds = sys.argv[1:]
body = json.dumps({"query": query, "variables": json.loads(variables)}).encode()
request = urllib.request.Request("http://localhost:3000/graphql", body, {"Content-Type": "application/json"})
deadline = time.monotonic() + float(seconds)
while True:
    answer = json.load(urllib.request.urlopen(request, timeout=60))
    if "errors" in answer or eval(wanted, {"found": answer["data"]}) or time.monotonic() > deadline:
        break
    time.sleep(0.5)
print(json.dumps(answer))
"""
RUN = (
    "query ($id: ID!) { runOrError(runId: $id) "
    "{ ... on Run { status startTime endTime stepStats { stepKey status } } } }"
)


def shop(host: Any, statement: str) -> str:
    return str(host.check_output("docker exec postgres psql -U shop -AtF, -c %s shop", statement))


def warehouse(host: Any, statement: str) -> str:
    command = "docker exec -i snowflake python -W ignore - %s < /tmp/query.py"
    return str(host.check_output(command, statement))


def graphql(host: Any, query: str, wanted: str = "True", seconds: float = 0, **variables: Any) -> Any:
    """Ask until an expression about what was `found` is true, for so many seconds; return the last answer."""
    command = "python3 -c %s %s %s %s %s"
    answer = json.loads(host.check_output(command, ASK, query, json.dumps(variables), wanted, str(seconds)))
    assert "errors" not in answer, answer
    return answer["data"]


def launch(host: Any) -> str:
    mutation = (
        "mutation ($params: ExecutionParams!) { launchRun(executionParams: $params) "
        "{ ... on LaunchRunSuccess { run { runId } } } }"
    )
    answer = graphql(host, mutation, params={"selector": JOB, "runConfigData": {}})
    run_id: str = answer["launchRun"]["run"]["runId"]
    return run_id


def ended(host: Any, run_id: str, seconds: float = 300) -> dict[str, Any]:
    over = f"found['runOrError']['status'] in {sorted(ENDED)}"
    found: dict[str, Any] = graphql(host, RUN, over, seconds, id=run_id)["runOrError"]
    assert found["status"] in ENDED, f"{found}\n{host.check_output('docker logs --tail 50 dagster-dbt 2>&1')}"
    return found


@pytest.fixture(autouse=True, scope="module")
def query_script(host: Any) -> None:
    host.check_output("printf %%s %s > /tmp/query.py", QUERY.read_text())


def test_a_cycle_by_hand_brings_every_cent_into_the_marts(host: Any) -> None:
    shop(
        host,
        "insert into sales (cust_name, product, product_category, quantity, price, discount, customer_id,"
        " product_id, purchased_at, order_date_at, city, state, country)"
        " values ('a', 'b', 'c', 3, 19.99, 0.05, 1, 1, '2026-01-01', '2026-01-01', 'Lyon', ' ', 'France')",
    )
    host.check_output("docker exec dagster-dbt dagster job execute -f dbt_sales_staging.py")
    source = shop(
        host,
        "select count(*), sum(quantity * price)::numeric(38, 2), sum(quantity * discount)::numeric(38, 2) from sales",
    )
    for mart in ("city", "state", "country"):
        sums = "sum(cast(orders as int)), sum(cast(total_revenue as number(38, 2))), sum(cast(total_discount as number(38, 2)))"
        assert warehouse(host, f"select {sums} from ANALYTICS.MARTS.net_revenue_by_{mart}") == source
    lyon = "select state, net_revenue from ANALYTICS.MARTS.net_revenue_by_city where city = 'Lyon'"
    assert warehouse(host, lyon) == "Unknown,59.82"


def test_two_cycles_never_run_at_once_and_bring_changed_and_deleted_orders(host: Any) -> None:
    count = "select count(*) from ANALYTICS.MARTS.fct_sales where order_id = 9"
    assert warehouse(host, count) == "1"
    shop(host, "update sales set quantity = 0 where order_id = 7")
    shop(host, "delete from sales where order_id = 9")
    first, second = launch(host), launch(host)
    one, two = ended(host, first), ended(host, second)
    assert {one["status"], two["status"]} == {"SUCCESS"}
    early, late = sorted((one, two), key=lambda found: float(found["startTime"]))
    assert late["startTime"] >= early["endTime"]
    assert warehouse(host, "select total_revenue from ANALYTICS.MARTS.fct_sales where order_id = 7") == "0.00"
    assert warehouse(host, count) == "0"


def test_a_restart_in_the_middle_of_a_cycle_blocks_nothing(host: Any) -> None:
    interrupted = launch(host)
    begun = "any(step['status'] == 'IN_PROGRESS' for step in found['runOrError']['stepStats'])"
    found = graphql(host, RUN, begun, 300, id=interrupted)["runOrError"]
    assert [step for step in found["stepStats"] if step["status"] == "IN_PROGRESS"], found
    host.check_output("docker restart --time 5 dagster-dbt dagster-webserver dagster-daemon")
    host.check_output(
        "timeout 180 sh -c 'until curl -fs localhost:3000/server_info || python3 -c \"import urllib.request as u;"
        ' u.urlopen(\\"http://localhost:3000/server_info\\")"; do sleep 1; done\' >/dev/null 2>&1'
    )
    assert ended(host, interrupted)["status"] == "FAILURE"
    deadline = time.monotonic() + 120
    while True:  # until the webserver has found the new code server
        try:
            again = launch(host)
            break
        except (AssertionError, KeyError):
            assert time.monotonic() < deadline
            time.sleep(2)
    assert ended(host, again)["status"] == "SUCCESS"


def test_a_process_that_is_told_to_end_does_so_gracefully_and_is_started_again(host: Any) -> None:
    names = ("dagster-dbt", "dagster-webserver", "dagster-daemon", "dagster-docs")

    def restarts(name: str) -> int:
        return int(host.check_output("docker inspect --format '{{.RestartCount}}' %s", name))

    def healthy(name: str) -> bool:
        return (
            str(host.check_output("docker inspect --format '{{.State.Health.Status}}' %s", name)) == "healthy"
        )

    before = {name: restarts(name) for name in names}
    # From before the first end: the engine remembers 256 events, and health checks alone are two a second.
    form = "{{.Actor.Attributes.name}} {{.Actor.Attributes.exitCode}}"
    record = "docker events --filter event=die --format %s > /tmp/ends 2> /dev/null & echo $!; sleep 1"
    recorder = host.check_output(record, form)
    for name in names:
        host.check_output("docker exec %s bash -c 'kill -TERM 1'", name)
    deadline = time.monotonic() + 240
    while not all(restarts(name) > before[name] and healthy(name) for name in names):
        assert time.monotonic() < deadline, host.check_output("docker ps -a")
        time.sleep(1)
    host.check_output("kill %s", recorder)
    assert set(host.check_output("cat /tmp/ends").splitlines()) == {f"{name} 0" for name in names}


def test_a_sync_that_was_started_elsewhere_is_transformed(host: Any) -> None:
    """Nobody waits for the schedule: the sensor sees the job and starts what follows the sync."""
    shop(host, "update sales set quantity = 0 where order_id = 11")
    start = (
        "from retailflow_dagster.resources import resources_from_env as r;"
        "sync = r()['airbyte'].process_config_and_initialize(); client = sync.client();"
        "print(client.start_sync_job(sync.connection_id(client))['jobId'])"
    )
    job_id = host.check_output("docker exec dagster-dbt python -W ignore -c %s", start).split()[-1]
    query = (
        'query ($job: String!) { runsOrError(filter: {tags: [{key: "retailflow/airbyte_job_id", value: $job}]})'
        " { ... on Runs { results { runId jobName status tags { key value } } } } }"
    )
    runs = graphql(host, query, "found['runsOrError']['results']", 240, job=job_id)["runsOrError"]["results"]
    assert runs, host.check_output("docker logs --tail 50 dagster-daemon 2>&1")
    (found,) = runs
    assert found["jobName"] == "transform_job"
    assert {"key": "retailflow/source", "value": "airbyte"} in found["tags"]
    assert ended(host, found["runId"])["status"] == "SUCCESS"
    assert (
        warehouse(host, "select total_revenue from ANALYTICS.MARTS.fct_sales where order_id = 11") == "0.00"
    )


def test_the_documentation_is_served(host: Any) -> None:
    read = (
        "import urllib.request as u; print(u.urlopen('http://localhost:3001/', timeout=10).read().decode())"
    )
    page = host.check_output("python3 -c %s", read)
    assert "net_revenue_by_country" in page and "<html" in page


def test_the_schedule_is_on(host: Any) -> None:
    query = (
        '{ schedulesOrError(repositorySelector: {repositoryLocationName: "retailflow", repositoryName: "__repository__"})'
        " { ... on Schedules { results { name scheduleState { status } } } } }"
    )
    schedules = graphql(host, query)["schedulesOrError"]["results"]
    assert {s["name"]: s["scheduleState"]["status"] for s in schedules}["sales_schedule"] == "RUNNING"


@pytest.mark.parametrize("name", ["dagster-dbt", "dagster-webserver", "dagster-daemon", "dagster-docs"])
def test_no_container_is_root_or_has_a_capability_and_all_are_bounded(host: Any, name: str) -> None:
    assert host.check_output("printf %%s %s | python3 - %s 1000", BOUNDED.read_text(), name) == ""


def test_no_secret_is_in_the_configuration(host: Any) -> None:
    files = host.check_output("cat /etc/retailflow/dagster/*")
    assert "secret" not in files and "PRIVATE KEY" not in files
