"""How AWS wraps a payload on its way: every wrapping is taken off, or refused by its name."""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

#: Wrappings inside each other: a message of a queue that holds a notification of a failed event has three.
MAX_DEPTH = 8
MAX_MESSAGES = 10_000  # the largest batch that AWS lets a queue deliver


class EnvelopeError(ValueError):
    """A delivery cannot be read; nothing was written."""


@dataclass(frozen=True)
class Delivery:
    """A payload without its wrappings.

    ``id`` is what AWS keeps when it delivers again, ``time`` the event's own in ISO 8601; None where no
    wrapping has one. ``event`` marks the event of a rule or a schedule, whose ``detail`` the payload is.
    """

    payload: Mapping[str, Any]
    id: str | None = None
    time: object = None
    event: bool = False


def deliveries(event: object) -> list[Delivery]:
    """Every payload of what Lambda was invoked with, in order. Raises EnvelopeError.

    Known are a bare payload; an event of an EventBridge rule or schedule (Scheduler sends ``detail`` as a
    text); the record of an asynchronous destination, in which a failed event lies (``requestPayload``);
    messages of SQS and SNS, also inside each other; records of a Kinesis stream; the list that a pipe
    sends; a request of a function URL, an API gateway or a load balancer. Shapes: AWS Lambda's developer
    guide, "Invoking Lambda with events from other AWS services"; EventBridge's user guide, "Pipes".
    """
    found = list(_unwrap(event, Delivery({}), 0))
    if len(found) > MAX_MESSAGES:
        raise EnvelopeError(f"a delivery may hold {MAX_MESSAGES} messages, got {len(found)}")
    return found


def _unwrap(event: object, outer: Delivery, depth: int) -> Iterator[Delivery]:
    if depth > MAX_DEPTH:
        raise EnvelopeError(f"more than {MAX_DEPTH} wrappings lie inside each other")
    if isinstance(event, list):
        if not event:
            raise EnvelopeError("the payload must be a JSON object, got list without a message")
        for one in event:
            if isinstance(one, list):
                raise EnvelopeError("the payload must be a JSON object, got list in a list")
            yield from _unwrap(one, outer, depth + 1)
        return
    if not isinstance(event, Mapping):
        raise EnvelopeError(f"the payload must be a JSON object, got {type(event).__name__}")
    inside = _inside(event, outer)
    if inside is None:
        yield replace(outer, payload=event, event=False)
    elif isinstance(inside, Delivery):
        if "requestPayload" in inside.payload:  # EventBridge as the destination of a failed event
            yield from _unwrap(inside.payload, replace(inside, payload={}), depth + 1)
        else:
            yield inside
    else:
        content, context = inside
        yield from _unwrap(content, context, depth + 1)


def _inside(event: Mapping[str, Any], outer: Delivery) -> Delivery | tuple[object, Delivery] | None:
    """What a wrapping holds and what it says of it; None where there is no wrapping."""
    if "detail-type" in event:
        detail = _json("detail", event.get("detail"))
        if not isinstance(detail, Mapping):
            raise EnvelopeError(f"detail must be a JSON object, got {type(detail).__name__}")
        return Delivery(detail, _text(event.get("id")) or outer.id, event.get("time") or outer.time, True)
    if "requestPayload" in event:
        about = event.get("requestContext")
        id_ = _text(about.get("requestId")) if isinstance(about, Mapping) else None
        return event["requestPayload"], replace(outer, id=id_ or outer.id)
    if "Records" in event:
        records = event["Records"]
        if not isinstance(records, list):
            raise EnvelopeError(f"Records must be a list, got {type(records).__name__}")
        return records, outer
    if "eventSource" in event or "EventSource" in event:
        return _record(event, outer)
    if event.get("Type") == "Notification" and "Message" in event:
        return _json("Message", event["Message"]), replace(
            outer, id=_text(event.get("MessageId")) or outer.id
        )
    if "requestContext" in event and ("body" in event or "httpMethod" in event or "rawPath" in event):
        body = event.get("body")
        if event.get("isBase64Encoded") is True:
            body = _decoded("body", body)
        return _json("body", body), outer
    return None


def _record(record: Mapping[str, Any], outer: Delivery) -> tuple[object, Delivery]:
    """What a message of an event source holds; a pipe leaves out one level that a mapping has."""
    source = record.get("eventSource") or record.get("EventSource")
    match source:
        case "aws:sqs":
            return _json("body", record.get("body")), replace(
                outer, id=_text(record.get("messageId")) or outer.id
            )
        case "aws:sns":
            message = record.get("Sns")
            if not isinstance(message, Mapping):
                raise EnvelopeError("a record of aws:sns must hold Sns, a JSON object")
            id_ = _text(message.get("MessageId")) or outer.id
            return _json("Message", message.get("Message")), replace(outer, id=id_)
        case "aws:kinesis":
            data = record.get("kinesis") if isinstance(record.get("kinesis"), Mapping) else record
            assert isinstance(data, Mapping)
            id_ = _text(record.get("eventID")) or outer.id
            return _json("data", _decoded("data", data.get("data"))), replace(outer, id=id_)
    raise EnvelopeError(
        f"records of {source!r:.80} are not understood; known are aws:sqs, aws:sns and aws:kinesis"
    )


def _text(value: object) -> str | None:
    return value if isinstance(value, str) and value else None


def _decoded(name: str, value: object) -> str:
    try:
        return base64.b64decode(value, validate=True).decode() if isinstance(value, str) else ""
    except (ValueError, binascii.Error) as error:
        raise EnvelopeError(f"{name} must be UTF-8 text in base64, got {value!r:.80}") from error


def _json(name: str, value: object) -> object:
    """JSON that travels as text; nothing at all is an empty object."""
    if value is None or (isinstance(value, str) and not value.strip()):
        return {}
    if not isinstance(value, str):
        return value
    try:
        return json.loads(value, parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        raise EnvelopeError(f"{name} must be a JSON object, got the text {value!r:.80}") from error


def _no_constant(name: str) -> object:
    raise ValueError(f"{name} is not a JSON number")
