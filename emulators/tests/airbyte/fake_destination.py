"""A destination that appends what it gets to the file `path`, and sends each state back."""

import json
import sys

command, options = sys.argv[1], dict(zip(sys.argv[2::2], sys.argv[3::2], strict=True))
if command == "spec":
    properties = {"path": {"type": "string"}, "password": {"type": "string", "airbyte_secret": True}}
    spec = {"type": "object", "required": ["path"], "properties": properties}
    print(json.dumps({"type": "SPEC", "spec": {"connectionSpecification": spec}}))
    sys.exit()
config = json.load(open(options["--config"]))
catalog = json.load(open(options["--catalog"]))
with open(config["path"], "a") as file:
    file.write(json.dumps({"type": "CATALOG", "catalog": catalog}) + "\n")
    for line in sys.stdin:
        file.write(line)
        file.flush()
        if json.loads(line)["type"] == "STATE":
            print(line, end="", flush=True)
        if (
            config.get("die_at")
            and json.loads(line).get("record", {}).get("data", {}).get("id") == config["die_at"]
        ):
            sys.exit(7)
