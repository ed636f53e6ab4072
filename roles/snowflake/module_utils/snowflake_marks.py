"""Refuses objects that have our names and not our mark: they are never adopted, changed or dropped."""

from __future__ import annotations

import re
from typing import Any

from ansible.module_utils.snowflake_plan import Wanted, marked, text

#: What every mark begins with, whatever the site.
MARK = re.compile(r"managed by retailflow: [\w-]+")


class NotOursError(ValueError):
    """Objects exist that are not this site's; the message names all of them and says what to do."""


def refuse_others(wanted: Wanted, found: dict[tuple[str, str], dict[str, Any]]) -> None:
    """Raise NotOursError where an object with one of our names lacks our mark."""
    unmarked, other_sites, statements = [], [], []
    for kind, one in wanted.names():
        row = found.get((kind, one))
        if row is None or marked(row, wanted.mark):
            continue
        comment = str(row.get("comment") or "").strip()
        if MARK.match(comment):
            other_sites.append(f"{kind} {one} ({comment})")
            continue
        unmarked.append(f"{kind} {one}" + (f" (comment {comment!r})" if comment else ""))
        statements.append(f"alter {kind} {one} set comment = {text(wanted.mark)};")
        owner = str(row.get("owner") or "")
        if owner and owner != wanted.roles.of(kind):
            statements.append(
                f"grant ownership on {kind} {one} to role {wanted.roles.of(kind)} copy current grants;"
            )
    if not unmarked and not other_sites:
        return
    sentences = ["Nothing was changed in Snowflake."]
    if other_sites:
        sentences.append(
            f"These belong to another site: {', '.join(other_sites)}. Give this site other names: "
            "retailflow_name, or the prefix retailflow_snowflake_prefix alone."
        )
    if unmarked:
        sentences.append(
            f"These exist without the mark of this site, the comment {wanted.mark!r}: {', '.join(unmarked)}. If they are "
            "somebody else's, choose other names (retailflow_snowflake_prefix, or the variable that holds the name). Only if "
            f"they are this site's own, mark them: {' '.join(statements)}"
        )
    raise NotOursError(" ".join(sentences))
