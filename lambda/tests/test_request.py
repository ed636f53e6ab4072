"""What an invocation may ask for."""

from __future__ import annotations

import datetime as dt
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from retailflow_generator.config import InvalidConfiguration, Settings
from retailflow_generator.request import MAX_HISTORY_ROWS, MAX_ROWS, BatchRequest, InvalidRequest, parse_event

ENV = {"DB_HOST": "db", "DB_NAME": "retail", "DB_USER": "generator", "DB_PASSWORD": "s3cret"}


def parse(event: object) -> BatchRequest:
    return parse_event(event, request_id="request-1", default_rows=500)


def test_an_empty_payload_is_a_default_batch_of_today() -> None:
    before, request = dt.datetime.now(dt.UTC), parse({})
    assert (request.batch_id, request.rows, request.days) == ("request-1", 500, None)
    assert before <= request.as_of <= dt.datetime.now(dt.UTC)


def test_every_option_is_taken() -> None:
    event = {"rows": 7, "seed": 42, "as_of": "2026-01-31T23:30:00-05:00", "batch_id": "b"}
    moment = dt.datetime(2026, 2, 1, 4, 30, tzinfo=dt.UTC)
    assert parse(event | {"days": 30}) == BatchRequest("b", 7, 42, moment, 30), "days are those of UTC"


@pytest.mark.parametrize("day", ["2026-11-22", "20261122", "2026-W47-7"])
def test_a_day_is_its_last_moment(day: str) -> None:
    assert parse({"as_of": day}).as_of == dt.datetime.combine(dt.date(2026, 11, 22), dt.time.max, dt.UTC)


def test_the_batch_id_is_the_seed_when_there_is_none() -> None:
    assert parse({"batch_id": "a"}).seed == parse({"batch_id": "a"}).seed != parse({"batch_id": "b"}).seed


def test_an_eventbridge_event_gives_its_id_and_time() -> None:
    event = {
        "version": "0",
        "id": "e7c1",
        "detail-type": "Scheduled Event",
        "source": "aws.events",
        "time": "2026-11-22T12:03:00Z",
        "resources": ["arn:aws:events:us-east-1:123456789012:rule/r"],
        "detail": {},
    }
    request = parse(event)
    moment = dt.datetime(2026, 11, 22, 12, 3, tzinfo=dt.UTC)
    assert (request.batch_id, request.as_of, request.rows, request.scheduled) == ("e7c1", moment, 500, True)
    asked = parse(event | {"detail": {"rows": 3}})
    assert (asked.rows, asked.scheduled, parse({}).scheduled) == (3, False, False)


@pytest.mark.parametrize(
    ("event", "words"),
    [
        (None, "must be a JSON object, got NoneType"),
        ([], "must be a JSON object, got list"),
        ("{}", "must be a JSON object, got str"),
        ({"rows": 0}, "rows must be a whole number from 1"),
        ({"rows": -1}, "rows must be a whole number from 1"),
        ({"rows": MAX_ROWS + 1}, "to 1000000, got 1000001"),
        ({"rows": 10**400}, "rows must be a whole number"),
        ({"rows": 1.0}, "rows must be a whole number"),
        ({"rows": True}, "rows must be a whole number"),
        ({"rows": "5"}, "rows must be a whole number"),
        ({"rows": {"a": 1}}, "rows must be a whole number"),
        ({"seed": -1}, "seed must be a whole number"),
        ({"seed": 2**63}, "seed must be a whole number"),
        ({"as_of": "yesterday"}, "as_of must be an ISO 8601"),
        ({"as_of": 20260101}, "as_of must be an ISO 8601"),
        ({"as_of": "1999-12-31"}, "as_of must be an ISO 8601"),
        ({"as_of": "0001-01-01T00:00:00+14:00"}, "as_of must be an ISO 8601"),
        ({"as_of": "9999-12-31T23:00:00-05:00"}, "as_of must be an ISO 8601"),
        ({"days": 0}, "days must be a whole number from 1"),
        ({"days": 3661}, "days must be a whole number from 1"),
        ({"days": "all"}, "days must be a whole number from 1"),
        ({"days": 366, "as_of": "2000-12-31"}, "days must not reach back before 2000-01-01"),
        ({"days": 9, "rows": MAX_HISTORY_ROWS + 1}, "rows must be a whole number from 1 to 10000000"),
        ({"batch_id": ""}, "batch_id must be 1 to 200"),
        ({"batch_id": "x" * 201}, "batch_id must be 1 to 200"),
        ({"batch_id": "a\x00b"}, "batch_id must be 1 to 200"),
        ({"row": 5}, "unknown option 'row'"),
        ({"detail-type": "Scheduled Event", "detail": [1]}, "detail must be a JSON object"),
    ],
)
def test_nonsense_is_refused_and_named(event: object, words: str) -> None:
    with pytest.raises(InvalidRequest, match=words):
        parse(event)


text = st.text("aZ05-:T+ \x00\u00e9\ud800")
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | text,
    lambda inner: st.lists(inner) | st.dictionaries(text, inner),
    max_leaves=5,
)


@given(
    st.fixed_dictionaries(
        {}, optional=dict.fromkeys(("rows", "seed", "as_of", "batch_id", "days", "detail"), json_values)
    )
)
def test_any_json_is_a_valid_batch_or_an_error(event: dict[str, Any]) -> None:
    try:
        request = parse(event)
    except InvalidRequest as error:
        assert len(str(error)) < 400
    else:
        assert 1 <= request.rows <= (MAX_HISTORY_ROWS if request.days else MAX_ROWS)
        assert 0 <= request.seed < 2**63 and request.batch_id


def test_settings_come_from_the_environment_and_hide_the_password() -> None:
    settings = Settings.from_env(ENV | {"GENERATOR_ROWS": "9", "GENERATOR_DELETE_SHARE": "0.25"})
    assert (settings.port, settings.default_rows, settings.delete_share) == (5432, 9, 0.25)
    assert Settings.from_env(ENV).delete_share is None
    assert "s3cret" not in f"{settings} {settings.url}"
    assert settings.url.password == "s3cret"


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"DB_HOST": ""}, "DB_HOST is not set"),
        ({"DB_PASSWORD": ""}, "DB_PASSWORD is not set"),
        ({"DB_PORT": "five"}, "DB_PORT must be a whole number"),
        ({"DB_PORT": "70000"}, "DB_PORT must be a whole number"),
        ({"GENERATOR_DELETE_SHARE": "some"}, "GENERATOR_DELETE_SHARE must be a number from 0 to 1"),
        ({"GENERATOR_DELETE_SHARE": "1.5"}, "GENERATOR_DELETE_SHARE must be a number from 0 to 1"),
        ({"GENERATOR_DELETE_SHARE": "nan"}, "GENERATOR_DELETE_SHARE must be a number from 0 to 1"),
        ({"GENERATOR_ROWS": "0"}, "GENERATOR_ROWS must be a whole number"),
    ],
)
def test_bad_settings_are_named(change: dict[str, str], words: str) -> None:
    with pytest.raises(InvalidConfiguration, match=words):
        Settings.from_env(ENV | change)
