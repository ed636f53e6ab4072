"""A source that does as it is told. It spells the protocol as Airbyte's CDK does, not as ours does.

rows: how many; fail_at: exit without a word after so many; error: end with this message; sleep: seconds
between two rows; secret: never to be seen again.
"""

import json
import sys
import time

STREAM = {
    "name": "things",
    "json_schema": {"type": "object", "properties": {"id": {"type": "integer"}, "text": {"type": "string"}}},
    "supported_sync_modes": ["full_refresh", "incremental"],
    "source_defined_primary_key": [["id"]],
    "default_cursor_field": ["id"],
}
SPEC = {
    "type": "object",
    "required": ["rows"],
    "properties": {
        "rows": {"type": "integer"},
        "nested": {"type": "object", "properties": {"secret": {"type": "string", "airbyte_secret": True}}},
    },
}


def say(message):
    print(json.dumps(message), flush=True)


def trace(kind, body):
    say({"type": "TRACE", "trace": {"type": kind.upper(), "emitted_at": 1.0, kind: body}})


def read(config, state):
    start = state[0]["stream"]["stream_state"]["id"] if state else 0
    trace("stream_status", {"stream_descriptor": {"name": "things"}, "status": "STARTED"})
    for id_ in range(start + 1, config["rows"] + 1):
        if id_ == config.get("fail_at"):
            sys.exit(3)
        data = {"id": id_, "text": '{"type": "RECORD"}\n'}
        say(
            {
                "type": "RECORD",
                "record": {"stream": "things", "data": data, "emitted_at": 1700000000000 + id_},
            }
        )
        if id_ % 10 == 0:
            descriptor = {"stream_descriptor": {"name": "things"}, "stream_state": {"id": id_}}
            say({"type": "STATE", "state": {"type": "STREAM", "stream": descriptor}})
        time.sleep(config.get("sleep", 0))
    if "error" in config:
        trace(
            "error", {"message": config["error"], "failure_type": config.get("failure_type", "system_error")}
        )
        sys.exit(1)
    trace("stream_status", {"stream_descriptor": {"name": "things"}, "status": "COMPLETE"})


command, options = sys.argv[1], dict(zip(sys.argv[2::2], sys.argv[3::2], strict=True))
if command == "spec":
    say({"type": "SPEC", "spec": {"connectionSpecification": SPEC}})
else:
    config = json.load(open(options["--config"]))
    say({"type": "LOG", "log": {"level": "INFO", "message": f"{command} begins"}})
    if command == "discover":
        say({"type": "CATALOG", "catalog": {"streams": [STREAM]}})
    elif command == "read":
        read(config, json.load(open(options["--state"])))
