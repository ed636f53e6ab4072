"""What an invocation may ask for."""

from __future__ import annotations

import base64
import datetime as dt
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from retailflow_generator.config import InvalidConfigurationError, Settings
from retailflow_generator.parameter import Parameter
from retailflow_generator.request import (
    MAX_HISTORY_ROWS,
    MAX_ROWS,
    BatchRequest,
    InvalidRequestError,
    parse_event,
    parse_events,
)

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


def test_a_history_without_a_number_of_rows_is_that_of_the_schedule() -> None:
    asked = {"days": 30, "batch_id": "b"}
    for request in (parse(asked), parse(RULE | {"detail": asked})):
        assert (request.batch_id, request.days, request.rows, request.scheduled) == ("b", 30, 500, True)
    assert parse(asked | {"rows": 7}).scheduled is False


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
    ("day", "moment"),
    [
        ("2026-11-22T12:03:00Z", "2026-11-22T12:03:00"),
        ("2026-11-22t12:03:00z", "2026-11-22T12:03:00"),
        ("2026-11-22 12:03", "2026-11-22T12:03:00"),
        ("2026-11-22T12", "2026-11-22T12:00:00"),
        ("20261122T120305Z", "2026-11-22T12:03:05"),
        ("20261122T1203+0530", "2026-11-22T06:33:00"),
        ("20261122T12-05", "2026-11-22T17:00:00"),
        ("2026-11-22T12:03+05:30", "2026-11-22T06:33:00"),
        ("2026-11-22T12:03\u221205:00", "2026-11-22T17:03:00"),
        ("2026-11-22T00:30:00+14:00", "2026-11-21T10:30:00"),
        ("2026-11-22T12:03:05.1", "2026-11-22T12:03:05.100000"),
        ("2026-11-22T12:03:05,123456789Z", "2026-11-22T12:03:05.123456"),
        ("2026-11-22T12:03.5", "2026-11-22T12:03:30"),
        ("2026-11-22T12.25", "2026-11-22T12:15:00"),
        ("2026-11-22T24:00", "2026-11-23T00:00:00"),
        ("2026-12-31T24:00:00Z", "2027-01-01T00:00:00"),
        ("20261122T2400", "2026-11-23T00:00:00"),
        ("2026-W47-7T12:03", "2026-11-22T12:03:00"),
        ("2026W477T1203", "2026-11-22T12:03:00"),
        ("2026W477", "2026-11-22T23:59:59.999999"),
        ("2026-W53-5", "2027-01-01T23:59:59.999999"),
        ("2026-326", "2026-11-22T23:59:59.999999"),
        ("2026326T12", "2026-11-22T12:00:00"),
        ("2024-366", "2024-12-31T23:59:59.999999"),
        ("2024-02-29", "2024-02-29T23:59:59.999999"),
    ],
)
def test_every_form_of_iso_8601_that_names_a_moment_is_read(day: str, moment: str) -> None:
    assert parse({"as_of": day}).as_of == dt.datetime.fromisoformat(moment).replace(tzinfo=dt.UTC)


@pytest.mark.parametrize(
    "day",
    [
        *("2026", "2026-11", "202611", "2026-W47", "2026W47", "20", "+002026-11-22", "-2026-11-22"),
        *("2026W47T12", "2026-W47T12:00", "2026-11T12:00", "2026T12", "T12:00", "12:00"),
        *("2026-11-22T", "2026-11-22T1", "2026-11-22T120", "2026-11-22T12:0", "2026-11-22T12:03:5"),
        *("2026-11-22T12:03:60Z", "2026-12-31T23:59:60Z", "2026-11-22T24:01", "2026-11-22T24:00:00.1"),
        *("2026-11-22T25:00", "2026-11-22T12:60", "2026-11-22T12:03:05.", "2026-11-22T12:03:05.1.2"),
        *("20261122T12:03", "2026-11-22T1203", "2026-11-22T12:03+0530", "20261122T1203+05:30", "2026-1122"),
        *("2026-11-22T12:03+5", "2026-11-22T12:03+24:00", "2026-11-22T12:03+05:60", "2026-11-22T12:03ZZ"),
        *("2026-11-22T12:03:00+05:30:15", "2026-11-22T12:03 Z", "2026-11-22Z", "2026-11-22+01:00"),
        *(
            "2026-11-31",
            "2026-02-29",
            "2026-366",
            "2026-000",
            "2026-W00-1",
            "2025-W53-1",
            "2026-W47-8",
            "2026-W47-0",
        ),
        *(
            " 2026-11-22",
            "2026-11-22 ",
            "2026-11-22\n",
            "2026-11-22T12:03\n",
            "2026-11-22  12:03",
            "2026/11/22",
        ),
        *(
            "\uff12026-11-22",
            "2026-11-22T12:03\u0663",
            "2026-11-22T12:03:00[Europe/Paris]",
            "2026-11-22x12:03",
        ),
        *("2026-11-22/2026-11-23", "P1D", "now", "1764000000", "Sun, 22 Nov 2026 12:03:00 GMT", "", " "),
    ],
)
def test_what_names_no_moment_is_refused(day: str) -> None:
    with pytest.raises(InvalidRequestError, match="as_of must be an ISO 8601 day or time"):
        parse({"as_of": day})


@given(
    st.datetimes(min_value=dt.datetime(2000, 1, 2), max_value=dt.datetime(2099, 12, 30)),
    st.sampled_from(["calendar", "week", "ordinal"]),
    st.booleans(),
    st.integers(-23 * 60, 23 * 60),
)
def test_any_moment_written_in_any_form_is_that_moment(
    moment: dt.datetime, form: str, extended: bool, offset: int
) -> None:
    local = moment + dt.timedelta(minutes=offset)
    year, week, weekday = local.isocalendar()
    date = {
        "calendar": local.strftime("%Y-%m-%d"),
        "week": f"{year}-W{week:02}-{weekday}",
        "ordinal": local.strftime("%Y-%j"),
    }[form]
    sign = "-" if offset < 0 else "+"
    zone = f"{sign}{abs(offset) // 60:02}:{abs(offset) % 60:02}"
    written = f"{date}T{local:%H:%M:%S}.{local:%f}{zone}"
    if not extended:
        written = f"{date.replace('-', '')}T{local:%H%M%S}.{local:%f}{zone.replace(':', '')}"
    assert parse({"as_of": written}).as_of == moment.replace(tzinfo=dt.UTC)


RULE = {
    "version": "0",
    "id": "e7c1",
    "detail-type": "Scheduled Event",
    "source": "aws.events",
    "time": "2026-11-22T12:03:00Z",
    "detail": {},
}
#: What the function's destination of failed events holds (AWS Lambda's guide, "Capturing records of asynchronous invocations").
FAILED = {
    "version": "1.0",
    "timestamp": "2026-11-22T12:10:00.000Z",
    "requestContext": {
        "requestId": "r-1",
        "functionArn": "arn:aws:lambda:us-east-1:123456789012:function:generator:$LATEST",
        "condition": "RetriesExhausted",
        "approximateInvokeCount": 3,
    },
    "requestPayload": RULE,
    "responseContext": {"statusCode": 200, "executedVersion": "$LATEST", "functionError": "Unhandled"},
    "responsePayload": {"errorMessage": "no", "errorType": "DatabaseUnavailableError"},
}
RESULT = {
    "version": "0",
    "id": "e9",
    "detail-type": "Lambda Function Invocation Result - Failure",
    "source": "lambda",
    "time": "2026-11-22T12:10:00Z",
}


def sqs(body: object, **more: Any) -> dict[str, Any]:
    text = body if isinstance(body, str) else json.dumps(body)
    message = {
        "messageId": "m-1",
        "receiptHandle": "h",
        "body": text,
        "attributes": {"SentTimestamp": "1764000000000"},
    }
    return {**message, "messageAttributes": {}, "eventSource": "aws:sqs", "awsRegion": "us-east-1", **more}


def sns(message: object) -> dict[str, Any]:
    about = {"Type": "Notification", "MessageId": "n-1", "Message": json.dumps(message)}
    return {"EventSource": "aws:sns", "EventVersion": "1.0", "Sns": about}


def kinesis(data: object) -> dict[str, Any]:
    return {"data": base64.b64encode(json.dumps(data).encode()).decode(), "partitionKey": "p"}


def nested(depth: int) -> object:
    event: object = {}
    for _ in range(depth):
        event = {"requestPayload": event}
    return event


@pytest.mark.parametrize(
    ("event", "batch_id", "rows", "scheduled"),
    [
        (RULE, "e7c1", 500, True),
        ({**RULE, "source": "aws.scheduler", "detail": "{}"}, "e7c1", 500, True),
        ({**RULE, "source": "aws.scheduler", "detail": ""}, "e7c1", 500, True),
        ({**RULE, "source": "aws.scheduler", "detail": '{"rows": 3}'}, "e7c1", 3, False),
        ({**RULE, "detail": None, "replay-name": "again"}, "e7c1", 500, True),
        (FAILED, "e7c1", 500, True),
        ({**FAILED, "requestPayload": {"rows": 3}}, "r-1", 3, False),
        ({**FAILED, "requestPayload": {"batch_id": "mine"}}, "mine", 500, False),
        ({**RESULT, "detail": FAILED}, "e7c1", 500, True),
        ({**RESULT, "detail": {**FAILED, "requestPayload": {}}}, "r-1", 500, False),
        ({"Records": [sqs(RULE)]}, "e7c1", 500, True),
        ({"Records": [sqs(FAILED)]}, "e7c1", 500, True),
        ({"Records": [sqs({"rows": 3})]}, "m-1", 3, False),
        ({"Records": [sqs("")]}, "m-1", 500, False),
        ({"Records": [sqs(sns(FAILED)["Sns"])]}, "e7c1", 500, True),
        ({"Records": [sns(RULE)]}, "e7c1", 500, True),
        ({"Records": [sns({"rows": 3})]}, "n-1", 3, False),
        ([sqs(FAILED)], "e7c1", 500, True),
        ([sqs({"rows": 3})], "m-1", 3, False),
        ([{"rows": 3, "batch_id": "of the pipe"}], "of the pipe", 3, False),
        ([{"eventSource": "aws:kinesis", "eventID": "s:1", **kinesis({"rows": 3})}], "s:1", 3, False),
        (
            {"Records": [{"eventSource": "aws:kinesis", "eventID": "s:1", "kinesis": kinesis(RULE)}]},
            "e7c1",
            500,
            True,
        ),
        (
            {"version": "2.0", "rawPath": "/", "requestContext": {"http": {}}, "body": '{"rows": 3}'},
            "request-1",
            3,
            False,
        ),
        ({"version": "2.0", "rawPath": "/", "requestContext": {"http": {}}}, "request-1", 500, False),
        (
            {
                "httpMethod": "POST",
                "requestContext": {"elb": {}},
                "body": "eyJyb3dzIjogM30=",
                "isBase64Encoded": True,
            },
            "request-1",
            3,
            False,
        ),
    ],
)
def test_every_wrapping_of_aws_is_taken_off(event: object, batch_id: str, rows: int, scheduled: bool) -> None:
    request = parse(event)
    assert (request.batch_id, request.rows, request.scheduled) == (batch_id, rows, scheduled)
    if scheduled:
        assert request.as_of == dt.datetime(2026, 11, 22, 12, 3, tzinfo=dt.UTC)
    assert parse(event).batch_id == batch_id, "what is delivered again is the same batch"


def test_several_messages_are_as_many_requests() -> None:
    records = [sqs({"rows": n}, messageId=f"m-{n}") for n in (1, 2, 3)]
    for event in ({"Records": records}, records):
        found = parse_events(event, request_id="r", default_rows=500)
        assert [(one.batch_id, one.rows) for one in found] == [("m-1", 1), ("m-2", 2), ("m-3", 3)]
    bare = parse_events([{"rows": 1}, {"rows": 2}], request_id="r", default_rows=500)
    assert [one.batch_id for one in bare] == ["r/0", "r/1"], "none is taken for a repeat of the other"
    with pytest.raises(InvalidRequestError, match="rows must be a whole number"):
        parse_events([{"rows": 1}, {"rows": 0}], request_id="r", default_rows=500)


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
        ({"detail-type": "Scheduled Event", "detail": "{"}, "detail must be a JSON object, got the text"),
        ({"detail-type": "Scheduled Event", "detail": '{"rows": NaN}'}, "detail must be a JSON object"),
        ({"detail-type": "Scheduled Event", "detail": "3"}, "detail must be a JSON object, got int"),
        ({"detail-type": "S3 Object Created", "detail": {"bucket": 1}}, "unknown option 'bucket'"),
        ({"requestContext": {}, "requestPayload": "again"}, "must be a JSON object, got str"),
        ({"Records": {}}, "Records must be a list, got dict"),
        ({"Records": []}, "got list without a message"),
        ({"Records": [sqs("not JSON")]}, "body must be a JSON object, got the text 'not JSON'"),
        ({"Records": [sqs("[" * 100_000)]}, "body must be a JSON object"),
        ({"Records": [{"eventSource": "aws:s3"}]}, "records of 'aws:s3' are not understood"),
        ({"Records": [{"eventSource": "aws:dynamodb"}]}, "records of 'aws:dynamodb' are not understood"),
        ({"eventSource": "aws:kafka", "records": {}}, "records of 'aws:kafka' are not understood"),
        ({"Records": [{"EventSource": "aws:sns"}]}, "must hold Sns"),
        (
            {"Records": [{"eventSource": "aws:kinesis", "kinesis": {"data": "%"}}]},
            "data must be UTF-8 text in base64",
        ),
        ([[{}]], "got list in a list"),
        ([sqs({}), sqs({})], "must hold one request, got 2"),
        (nested(9), "more than 8 wrappings"),
        ({"awslogs": {"data": "x"}}, "unknown option 'awslogs'"),
    ],
)
def test_nonsense_is_refused_and_named(event: object, words: str) -> None:
    with pytest.raises(InvalidRequestError, match=words):
        parse(event)


text = st.text("aZ05-:T+ \x00\u00e9\ud800")
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | text,
    lambda inner: st.lists(inner) | st.dictionaries(text, inner),
    max_leaves=5,
)


@given(
    st.fixed_dictionaries(
        {},
        optional=dict.fromkeys(
            (
                "rows",
                "seed",
                "as_of",
                "batch_id",
                "days",
                "detail",
                "detail-type",
                "id",
                "time",
                "Records",
                "requestPayload",
                "requestContext",
                "body",
                "eventSource",
                "EventSource",
                "Sns",
                "Type",
                "Message",
            ),
            json_values,
        ),
    )
)
def test_any_json_is_a_valid_batch_or_an_error(event: dict[str, Any]) -> None:
    try:
        request = parse(event)
    except InvalidRequestError as error:
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


KEPT = {"DB_PASSWORD_PARAMETER": "/p", "AWS_ENDPOINT_URL_SSM": "https://ssm", "AWS_REGION": "eu-west-1"}


def test_a_password_that_is_a_parameter_is_in_no_setting() -> None:
    settings = Settings.from_env(ENV | KEPT | {"DB_PASSWORD": ""})
    assert settings.parameter == Parameter("/p", "https://ssm", "eu-west-1")
    assert settings.password == "" and settings.url.password is None


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"DB_HOST": ""}, "DB_HOST is not set"),
        ({"DB_PASSWORD": ""}, "DB_PASSWORD is not set"),
        (KEPT, "Set DB_PASSWORD or DB_PASSWORD_PARAMETER, not both"),
        # By no address that is public: the function asks where it was told to.
        (KEPT | {"DB_PASSWORD": "", "AWS_ENDPOINT_URL_SSM": ""}, "AWS_ENDPOINT_URL_SSM is not set"),
        (KEPT | {"DB_PASSWORD": "", "AWS_ENDPOINT_URL_SSM": "http://ssm/path"}, "and nothing behind it"),
        (KEPT | {"DB_PASSWORD": "", "AWS_ENDPOINT_URL_SSM": "ssm:443"}, "must be http:// or https://"),
        (KEPT | {"DB_PASSWORD": "", "AWS_REGION": ""}, "AWS_REGION is not set"),
        ({"DB_PORT": "five"}, "DB_PORT must be a whole number"),
        ({"DB_AUTHORITY": "/etc/authority.crt"}, "DB_AUTHORITY must be a certificate in PEM"),
        ({"DB_PORT": "70000"}, "DB_PORT must be a whole number"),
        ({"GENERATOR_DELETE_SHARE": "some"}, "GENERATOR_DELETE_SHARE must be a number from 0 to 1"),
        ({"GENERATOR_DELETE_SHARE": "1.5"}, "GENERATOR_DELETE_SHARE must be a number from 0 to 1"),
        ({"GENERATOR_DELETE_SHARE": "nan"}, "GENERATOR_DELETE_SHARE must be a number from 0 to 1"),
        ({"GENERATOR_ROWS": "0"}, "GENERATOR_ROWS must be a whole number"),
    ],
)
def test_bad_settings_are_named(change: dict[str, str], words: str) -> None:
    with pytest.raises(InvalidConfigurationError, match=words):
        Settings.from_env(ENV | change)
