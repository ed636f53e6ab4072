"""Ansible module: make a Metabase server hold what files of content declare."""

from __future__ import annotations

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.metabase.client import Api
from ansible.module_utils.metabase.errors import MetabaseError
from ansible.module_utils.metabase.reconciler import Reconciler
from ansible.module_utils.metabase.rules import load

DOCUMENTATION = r"""
module: metabase_content
short_description: Set up a Metabase server and make its content match files
description:
  - Does the first-run set-up where it is still open, connects the Snowflake database, waits for its first
    sync, and makes permissions, collections, cards and dashboards match what O(content) declares. A second run
    writes nothing. Where something was written, the card that O(content) says shows the role is run and compared.
  - Content is checked as a whole before the first write.
  - Cards are found again by their C(entity_id). Metabase takes no entity id for collections and dashboards but
    gives them one; O(state_file) remembers it, and without that they are found by name, a dashboard within its
    collection.
  - What an earlier run made and O(content) no longer names is archived. What a person made stays as it is.
author: RetailFlow
attributes:
  check_mode: {support: full, description: Writes nothing; a server that does not answer is taken as empty.}
  diff_mode: {support: full, description: Shows every field that would change, secrets excepted.}
options:
  url:
    description: Address of the server.
    type: str
    required: true
  admin:
    description: The administrator whom the first-run set-up creates and who logs in afterwards.
    type: dict
    required: true
    suboptions:
      email: {description: Address to log in with., type: str, required: true}
      password: {description: Password., type: str, required: true}
      former_password:
        description: The one before, with which the password is changed where it is not yet O(admin.password).
        type: str
      first_name: {description: First name., type: str, required: true}
      last_name: {description: Last name., type: str, required: true}
  site_name:
    description: Title of the site; set by the first-run set-up.
    type: str
    default: RetailFlow
  database:
    description: The Snowflake connection that every card reads. Needed unless O(state=set_up).
    type: dict
    suboptions:
      name: {description: Name in Metabase., type: str, required: true}
      details: {description: Connection details without secrets., type: dict, required: true}
      private_key: {description: Unencrypted PKCS#8 key in PEM., type: str, required: true}
  group:
    description:
      - Permissions group that reads the declared collections and asks questions of the database without SQL. Whoever
        is in no other group then sees neither. Empty leaves permissions alone. Nobody is put into the group.
    type: str
    default: ""
  content:
    description: >-
      File name to parsed content, with the maps C(collections), C(cards) and C(dashboards). Needed
      unless O(state=set_up).
    type: dict
  state:
    description: >-
      V(present) makes the content match; V(queried) only runs every card and returns its rows; V(set_up) only
      does the first-run set-up.
    type: str
    choices: [present, queried, set_up]
    default: present
  state_file:
    description:
      - Where the host keeps a hash of the private key applied last, which Metabase never shows again, and the
        entity ids of what this module made.
    type: path
    required: true
  timeout:
    description: Seconds to wait for one answer; the warehouse may have to wake up first.
    type: int
    default: 120
  sync_timeout:
    description: Seconds to wait for the first sync of the database.
    type: int
    default: 300
"""

EXAMPLES = r"""
- name: Make the dashboards match the files
  metabase_content:
    url: http://localhost:3000
    admin: {email: admin@example.com, password: "{{ secret }}", first_name: Retail, last_name: Flow}
    database:
      name: Snowflake
      details: {account: xy12345, user: METABASE, role: REPORTER, warehouse: REPORTING, db: ANALYTICS}
      private_key: "{{ key }}"
    content: {net_revenue.yml: "{{ lookup('ansible.builtin.file', 'net_revenue.yml') | from_yaml }}"}
    state_file: /var/lib/retailflow/metabase/applied.json
"""

RETURN = r"""
actions:
  description: Every write, in order, as a person would say it.
  type: list
  elements: str
  returned: always
database_id: {description: Id of the database., type: int, returned: when it exists}
cards:
  description: Key of a card to its C(id) and, with O(state=queried), C(columns) and C(rows) or C(truncated).
  type: dict
  returned: always
dashboards: {description: Key of a dashboard to its C(id) and C(path)., type: dict, returned: always}
"""


def main() -> None:
    """Run as an Ansible module."""
    text = {"type": "str", "required": True}
    module = AnsibleModule(
        argument_spec={
            "url": text,
            "admin": {
                "type": "dict",
                "required": True,
                "options": {
                    "email": text,
                    "password": dict(text, no_log=True),
                    "former_password": {"type": "str", "no_log": True},
                    "first_name": text,
                    "last_name": text,
                },
            },
            "site_name": {"type": "str", "default": "RetailFlow"},
            "database": {
                "type": "dict",
                "options": {
                    "name": text,
                    "details": {"type": "dict", "required": True},
                    "private_key": dict(text, no_log=True),
                },
            },
            "group": {"type": "str", "default": ""},
            "content": {"type": "dict"},
            "state": {"type": "str", "choices": ["present", "queried", "set_up"], "default": "present"},
            "state_file": {"type": "path", "required": True},
            "timeout": {"type": "int", "default": 120},
            "sync_timeout": {"type": "int", "default": 300},
        },
        required_if=[("state", state, ("database", "content")) for state in ("present", "queried")],
        supports_check_mode=True,
    )
    params = module.params
    try:
        content = load(params["content"] or {})
        work = Reconciler(Api(params["url"], params["timeout"]), params, content, module.check_mode)
        if params["state"] == "queried":
            module.exit_json(changed=False, actions=[], cards=work.query(), dashboards={})
        if params["state"] == "set_up":
            work.set_up()
        else:
            work.apply()
    except MetabaseError as error:
        module.fail_json(msg=str(error))
    module.exit_json(
        changed=bool(work.writer.actions),
        actions=work.writer.actions,
        diff=work.writer.diffs,
        database_id=work.database_id,
        cards={key: {"id": identity} for key, identity in work.cards.items()},
        dashboards={key: {"id": i, "path": f"/dashboard/{i}"} for key, i in work.dashboards.items()},
    )


if __name__ == "__main__":
    main()
