"""Requests that no client would send, for tests that say what a server does with them."""

from __future__ import annotations

import functools
import json
import os
from collections.abc import Iterator, Sequence
from typing import Any
from urllib.parse import quote, urlencode

from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from pydantic import BaseModel
from starlette.routing import BaseRoute, Mount, Route

#: RETAILFLOW_FUZZ_REQUESTS=20000 tries more, and others each time.
REQUESTS = os.environ.get("RETAILFLOW_FUZZ_REQUESTS")
MANY = settings(
    max_examples=int(REQUESTS or 25),
    derandomize=not REQUESTS,
    database=None,
    deadline=None,
    phases=[Phase.generate, Phase.shrink],
    suppress_health_check=list(HealthCheck),
)
METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS", "TRACE")
ODD = (
    *(
        "",
        " ",
        "0",
        "-1",
        "1",
        "2",
        "root",
        "trash",
        "true",
        "null",
        "NaN",
        "1e999",
        "9" * 25,
        "a" * 300,
        "\x00",
        "é",
    ),
    *(
        "\ud7ff\U0001f600",
        "..",
        "../../etc/passwd",
        "a/b",
        "%",
        "%00",
        "'",
        '"',
        "\\",
        "{{a}}",
        "[[a",
        "*",
        "csv",
        "json",
    ),
    *(
        "2026-11-29",
        "0000-00-00T99:99",
        "2026-11-29T00:00:00+99:99",
        "createdAt|ASC",
        "sync",
        "archived",
        "card",
        "x'; --",
    ),
)
NAMES = (
    *(
        "offset",
        "limit",
        "workspaceIds",
        "sourceId",
        "orderBy",
        "jobType",
        "status",
        "createdAtStart",
        "updatedAtEnd",
    ),
    *(
        "connectionId",
        "f",
        "archived",
        "models",
        "redirect",
        "country",
        "download",
        "sort",
        "tab",
        "page",
        "parameters",
    ),
    *("requestId", "delete", "databaseName", "schemaName", "warehouse", "roleName", "X-Goog-Signature"),
)


Request = tuple[str, str, dict[str, str], bytes | None]


def paths(routes: list[BaseRoute], prefix: str = "") -> Iterator[tuple[str, tuple[str, ...]]]:
    for route in routes:
        if isinstance(route, Mount):
            yield from paths(route.routes, prefix + route.path)
        elif isinstance(route, Route):
            yield prefix + route.path, tuple(sorted(route.methods or ("GET",)))


@functools.cache
def schema_of(model: type[BaseModel]) -> dict[str, Any]:
    """The JSON schema of a body."""
    return model.model_json_schema()


def models_of(module: Any) -> list[type[BaseModel]]:
    """The bodies that a module describes."""
    return [
        one
        for one in vars(module).values()
        if isinstance(one, type) and issubclass(one, BaseModel) and one.__module__ == module.__name__
    ]


scalars = (
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.sampled_from(ODD)
    | st.text(max_size=8)
)
words = st.sampled_from((*NAMES, *ODD))
anything = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(words, inner, max_size=3),
    max_leaves=6,
)


@st.composite
def like(draw: st.DrawFn, schema: dict[str, Any], defs: dict[str, Any], depth: int = 0) -> Any:
    """A value of a JSON schema, now and then with something else in it."""
    if depth > 5 or draw(st.integers(0, 12)) == 0:
        return draw(anything)
    if "$ref" in schema:
        return draw(like(defs[schema["$ref"].rsplit("/", 1)[-1]], defs, depth + 1))
    if "anyOf" in schema:
        return draw(like(draw(st.sampled_from(schema["anyOf"])), defs, depth + 1))
    if "enum" in schema or "const" in schema:
        return draw(st.sampled_from(schema.get("enum", [schema.get("const")])))
    match schema.get("type"):
        case "object":
            properties = schema.get("properties", {})
            made = {
                name: draw(like(one, defs, depth + 1))
                for name, one in properties.items()
                if draw(st.integers(0, 2 if name not in schema.get("required", ()) else 19))
            }
            return made if properties else draw(st.dictionaries(st.sampled_from(NAMES), anything, max_size=3))
        case "array":
            items = schema.get("items", {})
            return [draw(like(items, defs, depth + 1)) for _ in range(draw(st.integers(0, 3)))]
        case "integer" | "number":
            return draw(st.sampled_from((1, 2, 3)) | st.integers(-(2**70), 2**70))
        case "boolean":
            return draw(st.booleans())
        case "string":
            return draw(st.sampled_from(ODD) | st.text(max_size=8))
    return draw(anything)


@st.composite
def requests(
    draw: st.DrawFn, routes: Sequence[tuple[str, tuple[str, ...]]], bodies: Sequence[type[BaseModel]]
) -> Request:
    """Method, path, headers and body of a request: mostly one that a route takes, with something odd in it."""
    path, methods = draw(st.sampled_from(routes))
    while "{" in path:
        before, _, rest = path.partition("{")
        path = (
            before
            + quote(draw(st.sampled_from(ODD)), safe=draw(st.sampled_from(("", "/"))))
            + rest.partition("}")[2]
        )
    query = draw(st.lists(st.tuples(st.sampled_from(NAMES), st.sampled_from(ODD)), max_size=3))
    method = draw(st.sampled_from(methods if draw(st.integers(0, 9)) else METHODS))
    kind = draw(
        st.sampled_from(
            ("application/json", "application/json", "application/x-www-form-urlencoded", "text/a", "\xff")
        )
    )
    headers = {"Content-Type": kind}
    match draw(st.integers(0, 9)):
        case 0:
            body = draw(st.none() | st.binary(max_size=20))
        case 1:
            body = urlencode(
                draw(st.lists(st.tuples(st.sampled_from(NAMES), st.sampled_from(ODD)), max_size=3))
            ).encode()
        case 2:
            body = json.dumps(draw(anything)).encode()
        case _:
            schema = schema_of(draw(st.sampled_from(bodies)))
            body = json.dumps(draw(like(schema, schema.get("$defs", {})))).encode()
    return method, path + (f"?{urlencode(query)}" if query else ""), headers, body
