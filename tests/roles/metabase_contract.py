"""Metabase's side of the contract: what its API takes, as far as the module metabase_content calls it.

Written from what Metabase publishes about v0.5x to v0.6x: the reference of its API and the schemas of its endpoints
(``defendpoint``). Where Metabase refuses an unknown key ("closed"), so does this. It does not know the embedded
server, so that a mistake shared by the module and that server still shows.
"""

from __future__ import annotations

import re
from typing import Any

from jsonschema import Draft202012Validator

Schema = dict[str, Any]


def closed(needed: Schema, **optional: Any) -> Schema:
    """An object with these keys and no other."""
    properties = {**needed, **optional}
    return {
        "type": "object",
        "properties": properties,
        "required": list(needed),
        "additionalProperties": False,
    }


def open_(needed: Schema, **optional: Any) -> Schema:
    """An object with these keys, and others that do not matter."""
    return {**closed(needed, **optional), "additionalProperties": True}


def array(of: Schema, **limits: Any) -> Schema:
    """A list."""
    return {"type": "array", "items": of, **limits}


ID = {"type": "integer", "minimum": 1}
COUNT = {"type": "integer", "minimum": 0}
WHOLE = {"type": "integer"}
TEXT = {"type": "string", "pattern": r"\S"}
TRUTH = {"type": "boolean"}
ANY_MAP = {"type": "object"}
ID_KEYS = {"propertyNames": {"pattern": "^[1-9][0-9]*$"}}

TEMPLATE_TAG = open_(
    {"name": TEXT, "display-name": TEXT, "type": {"enum": ["text", "number", "date", "boolean"]}},
    id=TEXT,
    required=TRUTH,
    default={},
    dimension=False,  # only for field filters
)
NATIVE_STAGE = open_(
    {"lib/type": {"const": "mbql.stage/native"}, "native": TEXT},
    **{"template-tags": {"type": "object", "additionalProperties": TEMPLATE_TAG}},
)
QUERY = open_(
    {
        "lib/type": {"const": "mbql/query"},
        "database": ID,
        "stages": array(NATIVE_STAGE, minItems=1, maxItems=1),
    }
)
DISPLAY = {"enum": ["table", "bar", "row", "line", "area", "pie", "scalar", "smartscalar", "progress", "map"]}
CARD_FIELDS: Schema = {
    "name": TEXT,
    "dataset_query": QUERY,
    "display": DISPLAY,
    "visualization_settings": ANY_MAP,
}
CARD_OPTIONS: Schema = {
    "description": {"type": ["string", "null"], "minLength": 1},
    "collection_id": {"type": ["integer", "null"], "minimum": 1},
    "type": {"enum": ["question", "model", "metric"]},
}
VALUE_FIELD = {
    "type": "array",
    "prefixItems": [{"const": "field"}, {"type": ["string", "integer"]}, {"type": ["object", "null"]}],
    "minItems": 3,
    "maxItems": 3,
}
PARAMETER = open_(
    {"id": TEXT, "type": {"enum": ["string/=", "category", "number/=", "date/single", "id"]}},
    name={"type": "string"},
    slug={"type": "string"},
    sectionId=TEXT,
    default={},
    values_query_type={"enum": ["none", "list", "search", None]},
    values_source_type={"enum": ["card", "static-list", None]},
    values_source_config=open_({}, card_id=ID, value_field=VALUE_FIELD),
)
TARGET = {
    "type": "array",
    "prefixItems": [
        {"const": "variable"},
        {"type": "array", "prefixItems": [{"const": "template-tag"}, TEXT], "minItems": 2, "maxItems": 2},
    ],
    "minItems": 2,
}
DASHCARD = closed(
    {"id": WHOLE, "size_x": ID, "size_y": ID, "row": COUNT, "col": COUNT},
    card_id={"type": ["integer", "null"], "minimum": 1},
    action_id={"type": ["integer", "null"], "minimum": 1},
    dashboard_tab_id={"type": ["integer", "null"]},
    parameter_mappings=array(open_({"parameter_id": TEXT, "target": TARGET}, card_id=ID)),
    visualization_settings=ANY_MAP,
    inline_parameters=array(TEXT),
    series=array(closed({"id": ID})),
)
DETAILS = open_(
    {"account": TEXT, "user": TEXT, "db": TEXT, "use-password": {"const": False}},
    **{
        "role": TEXT,
        "warehouse": TEXT,
        "private-key-options": {"const": "uploaded"},
        "private-key-value": {"pattern": "^data:[a-z/-]+;base64,[A-Za-z0-9+/=]+$"},
    },
)
PERMISSION = {
    "enum": ["unrestricted", "blocked", "query-builder", "query-builder-and-native", "no", "impersonated"]
}
DATABASE_PERMISSIONS = closed({}, **{"view-data": PERMISSION, "create-queries": PERMISSION})
GRAPH = {
    of: open_(
        {
            "revision": COUNT,
            "groups": {
                "type": "object",
                **ID_KEYS,
                "additionalProperties": {"type": "object", **keys, "additionalProperties": permission},
            },
        }
    )
    for of, keys, permission in (
        ("databases", ID_KEYS, DATABASE_PERMISSIONS),
        (
            "collections",
            {"propertyNames": {"pattern": "^(root|[1-9][0-9]*)$"}},
            {"enum": ["read", "write", "none"]},
        ),
    )
}
NOTHING: Schema = {"enum": [None, {}]}
NEVER: Schema = {"type": "null"}

# Method and path -> schema of the body, and the query parameters that Metabase knows there.
ENDPOINTS: dict[str, tuple[Schema, dict[str, str]]] = {
    "GET /api/session/properties": (NEVER, {}),
    "POST /api/setup": (
        open_(
            {
                "token": TEXT,
                "user": open_(
                    {
                        "email": {"pattern": "^[^@\\s]+@[^@\\s]+$"},
                        "password": {"type": "string", "minLength": 6},
                    },
                    first_name=TEXT,
                    last_name=TEXT,
                ),
                "prefs": open_({"site_name": TEXT}),
            }
        ),
        {},
    ),
    "POST /api/session": (open_({"username": TEXT, "password": TEXT}), {}),
    "DELETE /api/session": (NEVER, {}),
    "GET /api/user/current": (NEVER, {}),
    "PUT /api/user/:id/password": (
        open_({"password": {"type": "string", "minLength": 6}}, old_password={"type": "string"}),
        {},
    ),
    "GET /api/database": (NEVER, {}),
    "POST /api/database": (
        open_(
            {
                "name": TEXT,
                "engine": {"const": "snowflake"},
                "details": {**DETAILS, "required": [*DETAILS["required"], "private-key-value"]},
            },
            is_full_sync=TRUTH,
            is_on_demand=TRUTH,
            connection_source={"enum": ["admin", "setup"]},
        ),
        {},
    ),
    "GET /api/database/:id": (NEVER, {}),
    "PUT /api/database/:id": (open_({}, name=TEXT, engine=TEXT, details=DETAILS), {}),
    "POST /api/database/:id/sync_schema": (NOTHING, {}),
    "GET /api/permissions/group": (NEVER, {}),
    "POST /api/permissions/group": (open_({"name": TEXT}), {}),
    "GET /api/permissions/graph": (NEVER, {}),
    "PUT /api/permissions/graph": (GRAPH["databases"], {}),
    "GET /api/collection": (NEVER, {"archived": "true|false"}),
    "POST /api/collection": (
        closed({"name": TEXT}, description={"type": ["string", "null"]}, parent_id=ID),
        {},
    ),
    "PUT /api/collection/:id": (
        closed({}, name=TEXT, description={"type": ["string", "null"]}, archived=TRUTH),
        {},
    ),
    "GET /api/collection/:id/items": (NEVER, {"models": "card|dashboard", "archived": "true|false"}),
    "GET /api/collection/graph": (NEVER, {}),
    "PUT /api/collection/graph": (GRAPH["collections"], {}),
    "GET /api/card": (NEVER, {"f": "all|mine|archived"}),
    "POST /api/card": (
        closed(CARD_FIELDS, **CARD_OPTIONS, entity_id={"pattern": "^[A-Za-z0-9_-]{21}$"}),
        {},
    ),
    "PUT /api/card/:id": (closed({}, **CARD_FIELDS, **CARD_OPTIONS, archived=TRUTH), {}),
    "POST /api/card/:id/query": (open_({}, parameters=array(ANY_MAP)), {}),
    "GET /api/dashboard": (NEVER, {"f": "all|mine|archived"}),
    "POST /api/dashboard": (
        closed(
            {"name": TEXT},
            description={"type": ["string", "null"]},
            collection_id={"type": ["integer", "null"], "minimum": 1},
            parameters=array(PARAMETER),
        ),
        {},
    ),
    "GET /api/dashboard/:id": (NEVER, {}),
    "PUT /api/dashboard/:id": (
        open_(
            {},
            name=TEXT,
            description={"type": ["string", "null"]},
            collection_id={"type": ["integer", "null"], "minimum": 1},
            archived=TRUTH,
            parameters=array(PARAMETER),
            dashcards=array(DASHCARD),
            tabs=array(closed({"id": WHOLE, "name": TEXT}, position=COUNT)),
        )
        # One array without the other would delete it.
        | {"dependentRequired": {"dashcards": ["tabs"], "tabs": ["dashcards"]}},
        {},
    ),
}


def endpoint(method: str, path: str) -> str:
    """``PUT /api/card/:id`` of ``PUT``, ``/api/card/7``."""
    return f"{method} {re.sub(r'/[0-9]+(?=/|$)', '/:id', path)}"


def violations(method: str, path: str, query: str, body: Any) -> list[str]:
    """What a request breaks; a path that Metabase is not known to have breaks the contract as well."""
    name = endpoint(method, path)
    if name not in ENDPOINTS:
        return [f"{name}: not in the contract"]
    schema, parameters = ENDPOINTS[name]
    found = [
        f"{name}: {error.json_path}: {error.message}"
        for error in Draft202012Validator(schema).iter_errors(body)
    ]
    for part in filter(None, query.split("&")):
        key, _, value = part.partition("=")
        if not re.fullmatch(parameters.get(key, "(?!)"), value):
            found.append(f"{name}: unknown query parameter {part}")
    grid = body.get("dashcards", []) if isinstance(body, dict) else []
    if any(place["col"] + place["size_x"] > 24 for place in grid):
        found.append(f"{name}: a dashcard leaves the grid")
    return found
