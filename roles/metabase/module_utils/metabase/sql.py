"""SQL as Metabase reads it: ``{{name}}`` is a variable, ``[[…]]`` goes where one of its variables has no value.

By metabase/metabase, src/metabase/driver/common/parameters/parse.clj: comments outside of ``[[ ]]`` are left alone,
strings are not.
"""

from __future__ import annotations

import re

from .errors import MetabaseError

_TOKEN = re.compile(r"\[\[|\]\]|\{\{(?!\{)|\}\}")
_TOKEN_OR_COMMENT = re.compile(r"/\*.*?(?:\*/|\Z)|--[^\n]*|" + _TOKEN.pattern, re.DOTALL)
_NAME = re.compile(r"\w+")


def variables(sql: str) -> list[str]:
    """The names of the variables, each once; MetabaseError where Metabase would not run the SQL without a value."""
    names: set[str] = set()
    counts: list[int] = []  # of the variables in each clause that is open
    at = 0
    while token := (_TOKEN if counts else _TOKEN_OR_COMMENT).search(sql, at):
        at = token.end()
        if token[0] == "[[":
            counts.append(0)
        elif token[0] == "]]" and counts:
            if not counts.pop():
                raise MetabaseError(
                    "Metabase reads [[ ]] as an optional clause, also within a string, and one of them holds no"
                    " {{variable}}: put a space between brackets that belong to a string or an array, or"
                    " concatenate the string from two"
                )
        elif token[0] == "{{":
            end = sql.find("}}", at)
            name = sql[at:end].strip() if end >= 0 else ""
            if not _NAME.fullmatch(name):
                raise MetabaseError("a {{variable}} must be closed, and named by letters, digits and _ alone")
            if not counts:
                raise MetabaseError(
                    f"put the condition with {{{{ {name} }}}} into [[ ]], so that it runs without a value"
                )
            names.add(name)
            counts[-1] += 1
            at = end + 2
    if counts:
        raise MetabaseError("a [[ has no ]] that closes it")
    return sorted(names)
