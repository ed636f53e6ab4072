"""Commands that upstream cannot do: ``drop database``, GET, REMOVE, and what it has no metadata for."""

from __future__ import annotations

import re

import fakesnow.server as upstream
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse

from . import batches, indenting, metadata, requests, stages
from .databases import drop_database
from .quoting import literal
from .session import Session
from .text import bare

_DROP_DATABASE = re.compile(
    r"\s*drop\s+database\s+(?P<if_exists>if\s+exists\s+)?(?:(?P<name>[\w$]+)|\"(?P<quoted>(?:[^\"]|\"\")+)\")"
    r"(\s+(cascade|restrict))?\s*;?\s*",
    re.IGNORECASE,
)
_STATEMENT_COUNT = re.compile(
    r"^alter\s+session\s+set\b.*\bmulti_statement_count\s*=\s*(\d+)", re.IGNORECASE | re.DOTALL
)
_STAGE = r"(?P<stage>'@(?:[^']|'')*'|@(?:\"(?:[^\"]|\"\")*\"|[^\s\";])+)"
_GET = re.compile(
    rf"\s*get\s+{_STAGE}\s+(?P<q>'?)(?P<target>file://[^'\s]+(?:(?<=[^'])\s[^'=]*?)?)(?P=q)(?:\s+\w+\s*=\s*\S+)*\s*;?\s*",
    re.IGNORECASE,
)
_REMOVE = re.compile(rf"\s*(?:remove|rm)\s+{_STAGE}\s*;?\s*", re.IGNORECASE)


async def serve(request: Request) -> JSONResponse | None:
    """Take in how a statement is sent, and do what upstream cannot; None where upstream answers the client."""
    statement = await requests.body(request)
    text = bare(statement["sqlText"])
    # https://docs.snowflake.com/en/sql-reference/parameters#multi-statement-count
    session = requests.session(request)
    count = (statement.get("parameters") or {}).get("MULTI_STATEMENT_COUNT", session.statement_count)
    session.several = str(count) != "1"
    indenting.WIDTH.set(session.json_indent)
    if set_ := _STATEMENT_COUNT.search(text):
        session.statement_count = set_[1]
    if bound := batches.bound(statement):
        statement["bindings"] = bound
        requests.replace(request, statement, statement["sqlText"])
    if match := _GET.fullmatch(text):
        base = f"{request.url.scheme}://{request.url.netloc}"
        session.guard.check_stage(match["stage"], "READ", "USAGE")
        found = await run_in_threadpool(stages.download, match["stage"], match["target"], base, session)
        return JSONResponse({"data": found, "success": True})
    if match := _REMOVE.fullmatch(text):
        session.guard.check_stage(match["stage"], "WRITE", "USAGE")
        removed = await run_in_threadpool(stages.remove, match["stage"], session)
        rows = ", ".join(f"({literal(name)}, 'removed')" for name in removed) or "(null, null)"
        where = "" if removed else " where false"
        requests.replace(request, statement, f'select * from (values {rows}) as r("name", "result"){where}')
        return None
    if described := metadata.result(text, session):
        requests.replace(request, statement, described)  # upstream cannot parse it
        return None
    match = _DROP_DATABASE.fullmatch(text)
    if not match:
        return None
    name = match["name"].upper() if match["name"] else match["quoted"].replace('""', '"')
    guard = session.guard
    if ("DATABASE", name) in guard.account.things or not match["if_exists"]:
        forget = guard.drop_database(name)
        await run_in_threadpool(drop_database, requests.instance(), name)
        forget()
    for there in list(upstream.sessions.values()):
        if isinstance(there, Session) and there.database == name:
            await run_in_threadpool(there.leave)
    said = literal(f"{name} successfully dropped.").replace("\\", "\\\\")
    requests.replace(request, statement, f'select {said} as "status"')
    return None
