"""Ansible module: read rows from Snowflake."""

from __future__ import annotations

DOCUMENTATION = r"""
module: snowflake_query
short_description: Read rows from Snowflake
description:
  - Runs queries in one session and returns their rows; refuses statements that would change something.
options:
  login:
    description: Account, host, port, authority, user, role, warehouse, password or private_key_path, and timeout in seconds.
    type: dict
    required: true
  queries: {description: Statements that begin with select, with or show., type: list, elements: str, required: true}
author: [RetailFlow]
"""

EXAMPLES = r"""
- name: Read the totals
  snowflake_query:
    login: "{{ login }}"
    queries:
      - select count(*) as "rows" from RAW.RETAIL.SALES
"""

RETURN = r"""
results:
  description: The rows of each query, as dictionaries; decimals are text, so that cents stay exact.
  type: list
  returned: success
"""

import datetime
import decimal
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.snowflake_login import FAILURES, LOGIN_SPEC, connect, explain, rows

READS = ("select", "with", "show")


def plain(value: Any) -> Any:
    """A value as JSON can hold it, without losing a digit."""
    if isinstance(value, decimal.Decimal | datetime.date | datetime.time):
        return str(value)
    return value


def main() -> None:
    """Run as an Ansible module."""
    module = AnsibleModule(
        argument_spec={
            "login": {"type": "dict", "required": True, "options": LOGIN_SPEC},
            "queries": {"type": "list", "elements": "str", "required": True},
        },
        supports_check_mode=True,
    )
    for query in module.params["queries"]:
        if not query.lstrip().lower().startswith(READS):
            module.fail_json(msg=f"only {', '.join(READS)} are run here, not: {query}")
    query = "login"
    try:
        with connect(module.params["login"]) as connection:
            results = []
            for query in module.params["queries"]:
                results.append([{k: plain(v) for k, v in row.items()} for row in rows(connection, query)])
        module.exit_json(changed=False, results=results)
    except FAILURES as error:
        module.fail_json(msg=explain(error, module.params["login"], query), query=query)


if __name__ == "__main__":
    main()
