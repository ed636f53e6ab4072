"""Ansible module: let Airbyte read streams of a connection again from the start."""

from __future__ import annotations

from typing import Any

from ansible.module_utils.airbyte_bash_installer import refresh
from ansible.module_utils.airbyte_bash_installer.api import Api
from ansible.module_utils.airbyte_bash_installer.applied import Applied
from ansible.module_utils.airbyte_bash_installer.errors import AirbyteError
from ansible.module_utils.basic import AnsibleModule

DOCUMENTATION = r"""
module: airbyte_refresh
short_description: Start a refresh of a connection's streams, or read its progress
description:
  - Without O(job_id) it checks the names of the streams and starts a refresh, which removes rows that the source no
    longer has. While another job of the connection runs, nothing is started and RV(busy) is true.
  - With O(job_id) it waits for O(wait) seconds at most and returns the state of the job. A job that failed fails the module.
author: RetailFlow
attributes:
  check_mode: {support: full, description: Checks the names and starts nothing.}
options:
  url: {description: "Address of Airbyte, such as V(http://localhost:8000).", type: str, required: true}
  client_id: {description: Client id of an application of this Airbyte., type: str, required: true}
  client_secret: {description: Its client secret., type: str, required: true}
  workspace: {description: Name of the workspace; empty takes every one., type: str, default: ""}
  connection: {description: Name of the connection; empty takes the only one., type: str, default: ""}
  streams:
    description: Streams as V(name) or V(namespace.name); none takes every stream of the connection.
    type: list
    elements: str
    default: []
  state_file: {description: File of M(airbyte_connections) that learns that the connection was read again., type: path}
  job_id: {description: The job to look at., type: int}
  wait: {description: Seconds to wait for the end of that job., type: int, default: 0}
  timeout: {description: Seconds to wait for one answer., type: int, default: 60}
  retries:
    description: How often a request is repeated while Airbyte is unreachable or answers 429, 502, 503 or 504.
    type: int
    default: 6
"""

EXAMPLES = r"""
- name: Read the orders again
  airbyte_refresh:
    url: http://localhost:8000
    client_id: "{{ client_id }}"
    client_secret: "{{ client_secret }}"
    streams: [orders]
  register: refresh
  until: not refresh.busy

- name: Wait for the end
  airbyte_refresh:
    url: http://localhost:8000
    client_id: "{{ client_id }}"
    client_secret: "{{ client_secret }}"
    job_id: "{{ refresh.job_id }}"
    wait: 30
  register: refresh
  until: refresh.ended
  retries: 120
"""

RETURN = r"""
busy: {description: Whether another job of the connection runs., type: bool, returned: without O(job_id)}
job_id: {description: The job; null where none was started., type: int, returned: success}
connection: {description: Name of the connection., type: str, returned: without O(job_id)}
streams: {description: The streams as V(namespace.name)., type: list, returned: without O(job_id)}
ended: {description: Whether the job has ended., type: bool, returned: with O(job_id)}
job: {description: The job in the public API's words., type: dict, returned: with O(job_id)}
"""

Item = dict[str, Any]


def begin(api: Api, params: Item, check_mode: bool) -> Item:
    """Check the names and start the job; returns the module's result. Raises AirbyteError."""
    connection = refresh.find_connection(api, params["workspace"], params["connection"])
    streams = refresh.choose(params["streams"], refresh.streams_of(api, connection))
    job_id = None if check_mode else refresh.start(api, connection, streams)
    if job_id is not None and params.get("state_file"):
        Applied(params["state_file"]).remember_connection(connection["name"], connection["connectionId"])
    busy = job_id is None and not check_mode
    return {
        "changed": not busy,
        "busy": busy,
        "job_id": job_id,
        "connection": connection["name"],
        "streams": [".".join(filter(None, stream)) for stream in streams],
        "msg": "Another job of the connection runs. Nothing was refreshed. Wait for its end." if busy else "",
    }


def look(api: Api, params: Item) -> Item:
    """Wait for the job; returns the module's result. Raises AirbyteError where it did not succeed."""
    job = refresh.watch(api, params["job_id"], params["wait"])
    status, ended = job["status"], job["status"] in refresh.ENDED
    if ended and status != "succeeded":
        reason = refresh.failure_of(api, params["job_id"]) if status == "failed" else ""
        raise AirbyteError(
            f"The refresh is {status}: Airbyte's job {params['job_id']}{': ' + reason if reason else '.'}"
            " The streams are in part read again; rows of before stay until a refresh is complete."
            " Mend the cause and refresh again."
        )
    words = f"Airbyte's job {params['job_id']} is {status}"
    return {"changed": False, "ended": ended, "job_id": params["job_id"], "job": job, "msg": words}


def main() -> None:
    """Entry point of the module."""
    text = {"type": "str", "default": ""}
    module = AnsibleModule(
        argument_spec={
            "url": {"type": "str", "required": True},
            "client_id": {"type": "str", "required": True},
            "client_secret": {"type": "str", "required": True, "no_log": True},
            "workspace": text,
            "connection": text,
            "streams": {"type": "list", "elements": "str", "default": []},
            "state_file": {"type": "path"},
            "job_id": {"type": "int"},
            "wait": {"type": "int", "default": 0},
            "timeout": {"type": "int", "default": 60},
            "retries": {"type": "int", "default": 6},
        },
        supports_check_mode=True,
    )
    params = module.params
    login = (params[name] for name in ("url", "client_id", "client_secret", "timeout", "retries"))
    api = Api(*login)
    try:
        result = begin(api, params, module.check_mode) if params["job_id"] is None else look(api, params)
    except AirbyteError as error:
        module.fail_json(msg=str(error))
    module.exit_json(**result)


if __name__ == "__main__":
    main()
