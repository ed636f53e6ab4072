"""Ansible module: make sources, destinations and connections of Airbyte what they are declared to be."""

from __future__ import annotations

from typing import Any

from ansible.module_utils.airbyte_bash_installer.api import Api
from ansible.module_utils.airbyte_bash_installer.applied import Applied
from ansible.module_utils.airbyte_bash_installer.errors import AirbyteError
from ansible.module_utils.airbyte_bash_installer.workspace import Workspace
from ansible.module_utils.basic import AnsibleModule

DOCUMENTATION = r"""
module: airbyte_connections
short_description: Reconcile sources, destinations and connections of an Airbyte workspace
description:
  - Works over Airbyte's public API. Everything is found again by its name; two of one name are an error.
    Only fields that differ are written, objects that are not declared are left alone.
  - Airbyte never shows a secret again, so O(state_file) keeps a salted hash of those that were applied last. It keeps the ids
    of connections too, so that one which was deleted and made again is noticed, whoever made it.
author: RetailFlow
attributes:
  check_mode: {support: full, description: Writes nothing; an Airbyte that does not answer is taken as empty.}
  diff_mode: {support: full, description: Shows the fields that differ, secrets excepted.}
options:
  url:
    description: Address of Airbyte, such as V(http://localhost:8000).
    type: str
    required: true
  client_id:
    description: Client id of an application of this Airbyte.
    type: str
    required: true
  client_secret:
    description: Its client secret.
    type: str
    required: true
  workspace:
    description: Name of the workspace; empty takes the only one there is.
    type: str
    default: ""
  sources:
    description: Declared objects of this kind.
    type: list
    elements: dict
    default: []
    suboptions: &actor
      name: {description: Name., type: str, required: true}
      type: {description: "Connector, such as V(postgres).", type: str, required: true}
      version:
        description: Version of the connector, such as V(4) for any 4.x; another one is an error. Empty takes any.
        type: str
        default: ""
      configuration: {description: Configuration without secrets., type: dict, default: {}}
      secrets: {description: Secrets; merged into the configuration., type: dict, default: {}}
  destinations:
    description: Declared objects of this kind.
    type: list
    elements: dict
    default: []
    suboptions: *actor
  connections:
    description: Declared connections.
    type: list
    elements: dict
    default: []
    suboptions:
      name: {description: Name., type: str, required: true}
      source: {description: Name of the source., type: str, required: true}
      destination: {description: Name of the destination., type: str, required: true}
      streams:
        description: Stream configurations in the API's words; exactly these are selected.
        type: list
        elements: dict
        required: true
      options: {description: Other fields of the connection in the API's words., type: dict, default: {}}
  slot_replaced:
    description: Names of connections whose replication slot was lost and has been made again.
    type: list
    elements: str
    default: []
  state_file:
    description: File that keeps the hashes of the secrets applied last and the ids of connections.
    type: path
    required: true
  timeout:
    description: Seconds to wait for one answer; making a connection makes Airbyte read the source's schema.
    type: int
    default: 300
  retries:
    description: How often a request is repeated while Airbyte is unreachable or answers 429, 502, 503 or 504.
    type: int
    default: 6
"""

EXAMPLES = r"""
- name: Replicate sales
  airbyte_connections:
    url: http://localhost:8000
    client_id: "{{ client_id }}"
    client_secret: "{{ client_secret }}"
    sources:
      - name: shop
        type: postgres
        configuration: {host: db.example.com, port: 5432, database: shop, username: airbyte}
        secrets: {password: "{{ password }}"}
    destinations: "{{ destinations }}"
    connections:
      - name: shop to warehouse
        source: shop
        destination: warehouse
        streams: [{name: sales, syncMode: incremental_deduped_history, cursorField: [updated_at]}]
    state_file: /var/lib/airbyte/applied.json
"""

RETURN = r"""
actions:
  description: Every write, in order, as a person would say it.
  type: list
  elements: str
  returned: always
workspace_id: {description: Id of the workspace., type: str, returned: always}
sources: {description: Name to id., type: dict, returned: always}
destinations: {description: Name to id., type: dict, returned: always}
connections: {description: Name to id., type: dict, returned: always}
read_again:
  description: >-
    Connections that need a refresh, which drops rows of before: their id is another one than when they were read, or their
    source has lost changes, as the last job or O(slot_replaced) says.
  type: list
  elements: str
  returned: always
"""


Item = dict[str, Any]


def run(parameters: Item, check_mode: bool) -> Item:
    """Reconcile; returns the module's result."""
    api = Api(
        parameters["url"],
        parameters["client_id"],
        parameters["client_secret"],
        parameters["timeout"],
        parameters["retries"],
    )
    workspace = Workspace(api, Applied(parameters["state_file"]), parameters["workspace"], check_mode)
    sources = workspace.actors("source", parameters["sources"])
    destinations = workspace.actors("destination", parameters["destinations"])
    connections = workspace.connections(
        parameters["connections"], sources, destinations, parameters["slot_replaced"]
    )
    return {
        "changed": bool(workspace.actions),
        "actions": workspace.actions,
        "workspace_id": workspace.id,
        "sources": sources,
        "destinations": destinations,
        "connections": connections,
        "read_again": workspace.read_again,
        "diff": {"before": workspace.before, "after": workspace.after},
    }


def main() -> None:
    actor = {
        "name": {"type": "str", "required": True},
        "type": {"type": "str", "required": True},
        "version": {"type": "str", "default": ""},
        "configuration": {"type": "dict", "default": {}},
        "secrets": {"type": "dict", "default": {}, "no_log": True},
    }
    connection = {
        "name": {"type": "str", "required": True},
        "source": {"type": "str", "required": True},
        "destination": {"type": "str", "required": True},
        "streams": {"type": "list", "elements": "dict", "required": True},
        "options": {"type": "dict", "default": {}},
    }
    module = AnsibleModule(
        argument_spec={
            "url": {"type": "str", "required": True},
            "client_id": {"type": "str", "required": True},
            "client_secret": {"type": "str", "required": True, "no_log": True},
            "workspace": {"type": "str", "default": ""},
            "sources": {"type": "list", "elements": "dict", "default": [], "options": actor},
            "destinations": {"type": "list", "elements": "dict", "default": [], "options": actor},
            "connections": {"type": "list", "elements": "dict", "default": [], "options": connection},
            "slot_replaced": {"type": "list", "elements": "str", "default": []},
            "state_file": {"type": "path", "required": True},
            "timeout": {"type": "int", "default": 300},
            "retries": {"type": "int", "default": 6},
        },
        supports_check_mode=True,
    )
    try:
        module.exit_json(**run(module.params, module.check_mode))
    except AirbyteError as error:
        module.fail_json(msg=str(error))


if __name__ == "__main__":
    main()
