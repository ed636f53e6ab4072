"""What the sensors decide: which foreign sync is transformed, and who is told that a run failed."""

from __future__ import annotations

import base64
import html
import json
import re
import shlex
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import quote, quote_plus

import dagster as dg
import pytest

from retailflow_dagster.defs.airbyte.assets import RAW_SALES
from retailflow_dagster.defs.orchestration.alerts import alert_sensor
from retailflow_dagster.defs.orchestration.sensors import airbyte_sensor
from retailflow_dagster.lib import alerts
from retailflow_dagster.lib.airbyte import AirbyteSync, Job
from retailflow_dagster.lib.concurrency import TAG
from retailflow_dagster.lib.runs import AIRBYTE_JOB, HISTORY_JOB, SOURCE, last_transform_began

LONG_AGO = 1_000_000_000.0


def airbyte(*syncs: Job | None) -> AirbyteSync:
    """Airbyte with the given syncs; None for an Airbyte that does not answer."""

    class Airbyte(AirbyteSync):
        def latest_syncs(self) -> list[Job]:
            if None in syncs:
                raise dg.Failure("Max retries (0) exceeded.")
            return [sync for sync in syncs if sync]

    return Airbyte(url="u", client_id="i", client_secret="s", connection_name="c")


NOW = float(int(time.time()))


def sync(job_id: int, succeeded: bool = True, ended: float = NOW, started: float = NOW - 5) -> Job:
    return Job(job_id, succeeded, under_way=False, ended=ended, started=started)


def seen(job_id: int, ended: float = NOW) -> str:
    """The cursor after a look at this sync."""
    return json.dumps({"job": job_id, "ended": ended})


@dg.op(name="dbt_models")
def transforms() -> None:
    """Bears the name of the step that builds the marts."""


@dg.job(tags=TAG)
def cycle() -> None:
    """A cycle, as far as the sensor can see."""
    transforms()


@dg.op
def reads() -> None:
    """Builds nothing."""


@dg.job(name=HISTORY_JOB, tags=TAG)
def history() -> None:
    """Tests of the whole history, as far as the sensor can see."""
    reads()


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    """An instance on which a cycle has synced."""
    with dg.DagsterInstance.ephemeral() as made:
        made.report_runless_asset_event(dg.AssetMaterialization(RAW_SALES))
        yield made


def look(
    instance: dg.DagsterInstance, cursor: str | None, found: AirbyteSync
) -> tuple[dg.RunRequest | None, str, str | None]:
    """The request, or the reason to skip; and the cursor that is left."""
    context = dg.build_sensor_context(instance, cursor=cursor, resources={"airbyte": found})
    tick = airbyte_sensor.evaluate_tick(context)
    (request,) = tick.run_requests or [None]
    return request, tick.skip_message or "", tick.cursor


def test_a_sync_that_was_started_elsewhere_is_transformed_once(instance: dg.DagsterInstance) -> None:
    request, _, cursor = look(instance, seen(4), airbyte(sync(6, succeeded=False), sync(5), sync(4)))
    assert request is not None
    assert request.run_key == f"airbyte-job-5-{NOW:.0f}"
    assert (request.tags[SOURCE], request.tags[AIRBYTE_JOB]) == ("airbyte", "5")
    assert cursor == seen(5)
    assert look(instance, cursor, airbyte(sync(5)))[1] == "No sync has succeeded since the last look."


def test_of_several_syncs_one_run_transforms_all(instance: dg.DagsterInstance) -> None:
    request, _, cursor = look(instance, seen(4), airbyte(sync(7), sync(6), sync(5)))
    assert request is not None and request.tags[AIRBYTE_JOB] == "7"
    assert cursor == seen(7)


def test_what_was_there_before_the_first_look_is_left_alone(instance: dg.DagsterInstance) -> None:
    request, _, cursor = look(instance, None, airbyte(sync(9), sync(8)))
    assert (request, cursor) == (None, seen(9))
    request, _, cursor = look(instance, None, airbyte())
    assert (request, cursor) == (None, seen(0, 0.0))
    assert look(instance, cursor, airbyte(sync(1)))[0] is not None


def test_ids_that_begin_again_with_another_airbyte_hide_no_sync(instance: dg.DagsterInstance) -> None:
    """The cursor is at job 500 of the Airbyte before; a run of that one bears the id that comes again, and its key."""
    old = instance.create_run_for_job(
        cycle, status=dg.DagsterRunStatus.STARTED, tags=TAG | {AIRBYTE_JOB: "2"}
    )
    instance.report_run_canceled(old)
    (record,) = instance.get_run_records(dg.RunsFilter(run_ids=[old.run_id]))
    ended = (record.end_time or 0) + 60  # of a job that started after that run
    before = look(instance, seen(1), airbyte(sync(2, ended=NOW - 9000, started=NOW - 9060)))[2]
    for cursor in (seen(500, LONG_AGO), "500", before):
        request, _, now = look(instance, cursor, airbyte(sync(2, ended=ended, started=ended - 5), sync(1)))
        assert request is not None and request.run_key == f"airbyte-job-2-{ended:.0f}"
        assert now == seen(2, ended)
    assert look(instance, "500", airbyte(sync(500)))[0] is None, (
        "a cursor of an earlier release, and nothing new"
    )


def test_a_history_that_was_cleared_starts_no_run(instance: dg.DagsterInstance) -> None:
    assert cycle.execute_in_process(instance=instance).success
    request, reason, _ = look(instance, seen(9), airbyte(sync(3, ended=LONG_AGO, started=LONG_AGO - 5)))
    assert request is None and "A cycle has transformed since Airbyte job 3 ended." in reason
    assert look(instance, seen(9), airbyte())[1] == "No sync has succeeded since the last look."


@pytest.mark.parametrize("status", ["STARTED", "FAILURE"])
def test_a_sync_that_our_run_started_is_ours_however_the_run_goes(
    instance: dg.DagsterInstance, status: str
) -> None:
    run = instance.create_run_for_job(cycle, status=dg.DagsterRunStatus.STARTED, tags=TAG)
    instance.add_run_tags(run.run_id, {AIRBYTE_JOB: "5"})
    if status == "FAILURE":
        instance.report_run_failed(run)
    request, reason, cursor = look(instance, seen(4), airbyte(sync(5)))
    assert (request, cursor) == (None, seen(5))
    assert run.run_id in reason


def test_a_cycle_under_way_is_waited_for_and_the_sync_not_forgotten(instance: dg.DagsterInstance) -> None:
    run = instance.create_run_for_job(cycle, status=dg.DagsterRunStatus.STARTED, tags=TAG)
    request, reason, cursor = look(instance, seen(4), airbyte(sync(5)))
    assert (request, cursor) == (None, seen(4))
    assert run.run_id in reason
    instance.report_run_canceled(run)
    assert look(instance, cursor, airbyte(sync(5)))[0] is not None


@pytest.mark.parametrize(
    ("ended", "wanted"), [(LONG_AGO, False), (NOW + 3600, True)], ids=["before", "after"]
)
def test_a_sync_before_the_last_build_is_in_the_marts_and_one_after_is_not(
    instance: dg.DagsterInstance, ended: float, wanted: bool
) -> None:
    assert cycle.execute_in_process(instance=instance).success
    request, _, cursor = look(instance, seen(4), airbyte(sync(5, ended=ended)))
    assert (request is not None, cursor) == (wanted, seen(5, ended))


def test_tests_of_the_history_transform_nothing_and_hide_no_cycle(instance: dg.DagsterInstance) -> None:
    assert cycle.execute_in_process(instance=instance).success
    began = last_transform_began(instance, "dbt_models")
    assert began > LONG_AGO
    assert history.execute_in_process(instance=instance).success
    assert last_transform_began(instance, "dbt_models") == began
    instance.create_run_for_job(history, status=dg.DagsterRunStatus.STARTED, tags=TAG)
    assert look(instance, seen(4), airbyte(sync(5, ended=NOW + 3600)))[0] is not None


def test_before_the_first_cycle_there_is_nothing_to_reconcile_by() -> None:
    with dg.DagsterInstance.ephemeral() as fresh:
        request, reason, cursor = look(fresh, seen(4), airbyte(sync(5)))
    assert (request, cursor) == (None, seen(4))
    assert "No cycle has synced yet" in reason


def test_an_airbyte_that_is_down_is_no_reason_to_fail(instance: dg.DagsterInstance) -> None:
    request, reason, cursor = look(instance, seen(4), airbyte(None))
    assert (request, cursor) == (None, seen(4))
    assert reason == "Airbyte gives no answer: Max retries (0) exceeded."


SECRET = "p@ss w:/ö'r\"d&<%+\\$1~\tß"
SPELLINGS = {
    "as it is": str,
    "in a URL": lambda text: quote(text, safe=""),
    "in a URL, lower case": lambda text: re.sub("%..", lambda found: found[0].lower(), quote(text, safe="")),
    "in a path": quote,
    "in a form": quote_plus,
    "every character in a URL": lambda text: "".join(f"%{octet:02X}" for octet in text.encode()),
    "in a URL within a URL": lambda text: quote(quote(text, safe=""), safe=""),
    "in JSON": lambda text: json.dumps(text)[1:-1],
    "in JSON that keeps letters": lambda text: json.dumps(text, ensure_ascii=False)[1:-1],
    "in JSON within JSON": lambda text: json.dumps(json.dumps(text))[3:-3],
    "as Python writes it": lambda text: repr(text)[1:-1],
    "as Python writes bytes": lambda text: repr(text.encode())[2:-1],
    "in a shell": lambda text: shlex.quote(f" {text}")[2:-1],
    "in HTML": html.escape,
    "in HTML within HTML": lambda text: html.escape(html.escape(text)),
    "in XML": lambda text: "".join(f"&#{ord(one)};" for one in text),
    "in SQL": lambda text: text.replace("'", "''"),
    "in base64": lambda text: base64.b64encode(text.encode()).decode().rstrip("="),
    "in base64 for a URL": lambda text: base64.urlsafe_b64encode(text.encode()).decode().rstrip("="),
    "in hexadecimal": lambda text: text.encode().hex(),
    "in capital hexadecimal": lambda text: text.encode().hex().upper(),
}


@pytest.mark.parametrize("spelling", SPELLINGS)
@pytest.mark.parametrize("secret", [SECRET, "hunter2-secret", "a+b/c=d"])
def test_a_secret_is_masked_in_every_spelling(spelling: str, secret: str) -> None:
    spelt = SPELLINGS[spelling](secret)
    told = alerts.without_secrets(f"postgresql://auditor:{spelt}@db/shop", {"SHOP_PG_PASSWORD": secret})
    assert spelt not in told
    left = told.removeprefix("postgresql://auditor:").removesuffix("@db/shop")
    assert "***" in left and len(left.replace("***", "")) <= 2, (
        "base64 shares its last letters with what follows"
    )


@pytest.mark.parametrize("user", ["u", "ab", "abc", "auditor"])
def test_a_secret_is_masked_in_a_basic_authorization(user: str) -> None:
    header = base64.b64encode(f"{user}:hunter2-secret@x".encode()).decode()
    told = alerts.without_secrets(f"Authorization: Basic {header}", {"SHOP_PG_PASSWORD": "hunter2-secret"})
    assert "***" in told
    left = told.removeprefix("Authorization: Basic ")
    for part in left.split("***"):
        padded = part[len(part) % 4 :] if part != left.split("***")[0] else part[: len(part) // 4 * 4]
        assert b"hunter" not in base64.b64decode(padded + "=" * (-len(padded) % 4))


def test_secrets_of_several_lines_and_the_path_of_an_address_are_masked() -> None:
    key = "-----BEGIN PRIVATE KEY-----\nMIIEvQIBADANBg+/kqh\nkiG9w0BAQEFAASC\n-----END PRIVATE KEY-----\n"
    settings = {"SNOWFLAKE_PRIVATE_KEY": key, alerts.URL: "https://chat.example.com/hooks/T0/token-4711?x=1"}
    told = alerts.without_secrets(
        f"{key!r} {json.dumps(key)} kiG9w0BAQEFAASC {quote(key)} url: /hooks/T0/token-4711?x=1", settings
    )
    assert not re.search("kiG9w0BAQEFAASC|MIIEvQ|token-4711", told)


def test_what_is_no_secret_is_left_alone_and_long_messages_take_no_time() -> None:
    settings = {
        "SHOP_PG_PASSWORD": "hunter2-secret",
        "AIRBYTE_CLIENT_SECRET": "abc",
        "DAGSTER_PG_PASSWORD": "",
    }
    text = "hunter2 abc secret %68unter2 " * 1000
    began = time.monotonic()
    assert alerts.without_secrets(text, settings) == text
    assert time.monotonic() - began < 5


class Webhook:
    """A web server that keeps what it is sent. `status` is its answer; None for none at all."""

    def __init__(self) -> None:
        self.status: int | None = 200
        self.got: list[dict[str, Any]] = []
        self.released = threading.Event()
        webhook = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                webhook.got.append(json.loads(body))
                if webhook.status is None:
                    webhook.released.wait(30)
                    return
                self.send_response(webhook.status)
                self.send_header("location", "http://127.0.0.1:1/")
                self.send_header("content-length", "0")
                self.end_headers()

            def log_message(self, *_: Any) -> None: ...

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/hook/token-4711"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()


@pytest.fixture
def webhook(monkeypatch: pytest.MonkeyPatch) -> Iterator[Webhook]:
    made = Webhook()
    monkeypatch.setenv(alerts.URL, made.url)
    monkeypatch.setattr(alerts, "PATIENCE", 1.0)
    yield made
    made.released.set()
    made.server.shutdown()
    made.server.server_close()


@dg.op
def quotes_a_secret() -> None:
    """Fails as a careless library would."""
    raise ValueError("cannot log in with hunter2-secret")


@dg.job(tags=TAG | {SOURCE: "schedule"})
def fails() -> None:
    """A job that fails."""
    quotes_a_secret()


def failed(instance: dg.DagsterInstance) -> tuple[str, dg.RunFailureSensorContext]:
    result = fails.execute_in_process(instance=instance, raise_on_error=False)
    context = dg.build_run_status_sensor_context(
        "alert_sensor", result.get_run_failure_event(), instance, result.dagster_run
    ).for_run_failure()
    return result.run_id, context


def test_a_failed_run_is_reported_with_step_and_reason_and_without_secrets(
    instance: dg.DagsterInstance, webhook: Webhook, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SHOP_PG_PASSWORD", "hunter2-secret")
    run_id, context = failed(instance)
    alert_sensor(context)
    (told,) = webhook.got
    assert (told["event"], told["job"], told["run_id"]) == ("run_failed", "fails", run_id)
    assert told["tags"] == {"retailflow/pipeline": "sales", "retailflow/source": "schedule"}
    assert "quotes_a_secret: " in told["text"] and "cannot log in with ***" in told["text"]
    assert "hunter2" not in json.dumps(told)


@pytest.mark.parametrize("status", [500, 302, None])
def test_a_webhook_that_does_not_take_it_fails_nothing_and_costs_a_second(
    instance: dg.DagsterInstance, webhook: Webhook, status: int | None
) -> None:
    webhook.status = status
    _, context = failed(instance)
    began = time.monotonic()
    alert_sensor(context)
    assert time.monotonic() - began < 5
    assert len(webhook.got) == 1, "a redirection is not followed: it might lead anywhere"


@pytest.mark.parametrize(
    ("url", "problem"),
    [("http://127.0.0.1:1/token-4711", "ConnectionError"), ("nonsense/token-4711", "MissingSchema")],
)
def test_what_is_wrong_with_the_webhook_is_said_without_its_address(url: str, problem: str) -> None:
    assert alerts.send(url, {}) == problem


def test_without_an_address_the_alert_is_off() -> None:
    assert alert_sensor.default_status == dg.DefaultSensorStatus.STOPPED
