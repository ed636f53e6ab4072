"""What Metabase's API answers: a JSON schema for each path that the embedded server has.

Written from what Metabase publishes: the schemas by which its own client checks every answer (npm ``@metabase/cli``
0.3.1), and its API changelog (graphs since 0.56.13, MBQL 5 since 0.57, template tags since 0.63). It does not know
the embedded server.
"""

from __future__ import annotations

import re
from typing import Any

from jsonschema import Draft202012Validator

Schema = dict[str, Any]


def record(**needed: Any) -> Schema:
    """An object with these keys, and others that do not matter here."""
    return {"type": "object", "properties": needed, "required": list(needed)}


def array(of: Schema) -> Schema:
    """A list."""
    return {"type": "array", "items": of}


def or_null(kind: str) -> Schema:
    """A value of a type, or null."""
    return {"type": [kind, "null"]}


ANY: Schema = {}
ID: Schema = {"type": "integer"}
TEXT: Schema = {"type": "string"}
TRUTH: Schema = {"type": "boolean"}
COUNT: Schema = {"type": "integer", "minimum": 0}
MOMENT: Schema = {"type": "string", "pattern": r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d"}
ENTITY: Schema = {"type": ["string", "null"], "pattern": "^[A-Za-z0-9_-]{21}$"}
COLLECTION_ID: Schema = {"type": ["integer", "string"]}

USER = record(
    id=ID, email={"type": "string", "pattern": "^[^@ ]+@[^@ ]+$"}, common_name=TEXT, is_superuser=TRUTH
)
TEMPLATE_TAG = {
    **record(id=TEXT, name=TEXT, **{"display-name": TEXT}),
    "properties": {"type": {"enum": ["text", "number", "date", "boolean"]}, "dimension": False},
}
NATIVE_STAGE = {
    **record(**{"lib/type": {"const": "mbql.stage/native"}, "native": TEXT}),
    "properties": {"template-tags": array(TEMPLATE_TAG)},
}
QUERY = record(**{"lib/type": {"const": "mbql/query"}, "database": ID, "stages": array(NATIVE_STAGE)})
COLLECTION = record(
    id=COLLECTION_ID,
    name=TEXT,
    archived=TRUTH,
    authority_level={"enum": ["official", None]},
    can_write=TRUTH,
    is_personal=TRUTH,
)
CARD = record(
    id=ID,
    name=TEXT,
    type={"enum": ["question", "model", "metric"]},
    display=TEXT,
    description=or_null("string"),
    archived=TRUTH,
    query_type={"enum": ["native", "query", None]},
    database_id=or_null("integer"),
    table_id=or_null("integer"),
    collection_id=or_null("integer"),
    dashboard_id=or_null("integer"),
    entity_id=ENTITY,
    creator_id=ID,
    creator=USER,
    dataset_query=QUERY,
    visualization_settings={"type": "object"},
    parameters={"type": "array"},
    created_at=MOMENT,
    updated_at=MOMENT,
)
MAPPINGS = {"type": ["array", "null"], "items": record(parameter_id=TEXT, target={"type": "array"})}
DASHCARD = record(
    id=ID,
    dashboard_id=ID,
    card_id=or_null("integer"),
    dashboard_tab_id=or_null("integer"),
    row=ID,
    col=ID,
    size_x=ID,
    size_y=ID,
    entity_id=ENTITY,
    visualization_settings={"type": "object"},
    parameter_mappings=MAPPINGS,
    inline_parameters={"type": ["array", "null"], "items": TEXT},
    card={"anyOf": [CARD, record(id=ID), {"type": "null"}]},
)
PARAMETER = record(id=TEXT, type=TEXT)
DASHBOARD_LISTED = record(
    id=ID,
    name=TEXT,
    description=or_null("string"),
    archived=TRUTH,
    collection_id=or_null("integer"),
    creator_id=ID,
    entity_id=ENTITY,
    width={"enum": ["fixed", "full"]},
    auto_apply_filters=TRUTH,
    enable_embedding=TRUTH,
    public_uuid=or_null("string"),
    cache_ttl=or_null("integer"),
    parameters=array(PARAMETER),
)
TAB = record(id=ID, dashboard_id=ID, name=TEXT, position=ID, entity_id=ENTITY)
DASHBOARD = {"allOf": [DASHBOARD_LISTED, record(dashcards=array(DASHCARD), tabs=array(TAB))]}
FIELD = record(
    id=ID,
    table_id=ID,
    name=TEXT,
    display_name=TEXT,
    description=or_null("string"),
    database_type=or_null("string"),
    base_type={"type": "string", "pattern": r"^type/(\*|[A-Za-z]+)$"},
    semantic_type=or_null("string"),
    fk_target_field_id=or_null("integer"),
    has_field_values={"enum": ["list", "search", "none", "auto-list", None]},
    visibility_type={"enum": ["details-only", "hidden", "normal", "retired", "sensitive", None]},
    active=TRUTH,
    position=ID,
)
TABLE = record(
    id=ID,
    name=TEXT,
    display_name=TEXT,
    description=or_null("string"),
    db_id=ID,
    schema=or_null("string"),
    entity_type={"type": ["string", "null"], "pattern": "^entity/[A-Z][A-Za-z]+Table$"},
    visibility_type={"enum": ["hidden", "technical", "cruft", None]},
    active=TRUTH,
    is_published=TRUTH,
)
DATABASE = record(
    id=ID,
    name=TEXT,
    engine=TEXT,
    initial_sync_status={"enum": ["incomplete", "complete", "aborted"]},
    is_full_sync=TRUTH,
    is_on_demand=TRUTH,
    created_at=MOMENT,
)
DATABASE_WITH_TABLES = {
    "allOf": [DATABASE, record(tables=array({"allOf": [TABLE, record(fields=array(FIELD))]}))]
}
RESULT = record(
    status={"enum": ["completed", "failed"]},
    row_count=COUNT,
    database_id=ID,
    json_query=ANY,
    context=TEXT,
    running_time=COUNT,
    data=record(
        rows=array({"type": "array"}), cols=array(record(name=TEXT, display_name=TEXT, base_type=TEXT))
    ),
)
ITEM = record(
    id=ID,
    model={"enum": ["card", "dashboard", "collection"]},
    name=TEXT,
    description=or_null("string"),
    archived=TRUTH,
    collection_id={"type": ["integer", "string", "null"]},
    entity_id=ENTITY,
)
PAGE = record(total=COUNT, limit=or_null("integer"), offset=or_null("integer"))
GROUP = record(id=ID, name=TEXT, magic_group_type=or_null("string"))


def graph(permission: Schema) -> Schema:
    """Group -> object -> permission, without what is not permitted."""
    objects = {"type": "object", "additionalProperties": permission}
    return record(revision=ID, groups={"type": "object", "additionalProperties": objects})


DATABASE_GRAPH = graph(
    {
        "type": "object",
        "properties": {
            "view-data": {"enum": ["unrestricted", "blocked"]},
            "create-queries": {"enum": ["query-builder-and-native", "query-builder"]},
        },
    }
)
COLLECTION_GRAPH = graph({"enum": ["read", "write"]})
API_KEY = record(
    id=ID, name=TEXT, masked_key=TEXT, created_at=MOMENT, group=record(id=ID, name=TEXT), updated_at=MOMENT
)
PROPERTIES = record(
    **{
        "has-user-setup": TRUTH,
        "setup-token": or_null("string"),
        "version": record(tag={"type": "string", "pattern": r"^v0\.\d+\.\d+"}),
        "token-features": {"type": "object", "additionalProperties": TRUTH},
    }
)
DONE: Schema = {"type": "null"}

ANSWERS: dict[str, Schema] = {
    "GET /api/health": record(status={"const": "ok"}),
    "GET /api/session/properties": PROPERTIES,
    "POST /api/setup": record(id=TEXT),
    "POST /api/session": record(id=TEXT),
    "DELETE /api/session": DONE,
    "GET /api/user": {"allOf": [PAGE, record(data=array(USER))]},
    "GET /api/user/current": USER,
    "GET /api/user/:id": USER,
    "PUT /api/user/:id/password": {
        "anyOf": [DONE, record(success={"const": True}, session_id=TEXT)],
    },
    "GET /api/api-key": array(API_KEY),
    "POST /api/api-key": {"allOf": [API_KEY, record(unmasked_key=TEXT)]},
    "DELETE /api/api-key/:id": DONE,
    "GET /api/permissions/group": array({"allOf": [GROUP, record(member_count=COUNT)]}),
    "POST /api/permissions/group": GROUP,
    "GET /api/permissions/graph": DATABASE_GRAPH,
    "PUT /api/permissions/graph": DATABASE_GRAPH,
    "GET /api/collection/graph": COLLECTION_GRAPH,
    "PUT /api/collection/graph": COLLECTION_GRAPH,
    "GET /api/collection": array(COLLECTION),
    "GET /api/collection/tree": array({"allOf": [COLLECTION, record(children={"type": "array"})]}),
    "GET /api/collection/:id": COLLECTION,
    "GET /api/collection/:id/items": {"allOf": [PAGE, record(data=array(ITEM))]},
    "POST /api/collection": COLLECTION,
    "PUT /api/collection/:id": COLLECTION,
    "GET /api/card": array(CARD),
    "GET /api/card/:id": CARD,
    "POST /api/card": CARD,
    "PUT /api/card/:id": CARD,
    "POST /api/card/:id/query": RESULT,
    "POST /api/card/:id/query/json": array({"type": "object"}),
    "GET /api/dashboard": array(DASHBOARD_LISTED),
    "GET /api/dashboard/:id": DASHBOARD,
    "POST /api/dashboard": DASHBOARD,
    "PUT /api/dashboard/:id": DASHBOARD,
    "GET /api/dashboard/:id/params/:key/values": record(
        values=array({"type": "array"}), has_more_values=TRUTH
    ),
    "GET /api/dashboard/:id/params/:key/search/:text": record(
        values=array({"type": "array"}), has_more_values=TRUTH
    ),
    "POST /api/dashboard/:id/dashcard/:id/card/:id/query": RESULT,
    "POST /api/dataset": RESULT,
    "GET /api/database": record(data=array(DATABASE), total=COUNT),
    "GET /api/database/:id": DATABASE,
    "GET /api/database/:id/metadata": DATABASE_WITH_TABLES,
    "GET /api/database/:id/schemas": array(TEXT),
    "GET /api/database/:id/schema/:name": array(TABLE),
    "POST /api/database": DATABASE,
    "PUT /api/database/:id": DATABASE,
    "POST /api/database/:id/sync_schema": record(status={"const": "ok"}),
    "GET /api/table": array({"allOf": [TABLE, record(db=DATABASE)]}),
    "GET /api/table/:id": {"allOf": [TABLE, record(db=DATABASE)]},
    "GET /api/table/:id/query_metadata": {"allOf": [TABLE, record(fields=array(FIELD))]},
    "PUT /api/table/:id": TABLE,
    "PUT /api/table/:id/fields/order": record(success={"const": True}),
    "GET /api/field/:id": FIELD,
    "PUT /api/field/:id": FIELD,
}
_NAMES = (
    (r"/(?:[0-9]+|root|[A-Za-z0-9_-]{21})(?=/|$)", "/:id"),
    (r"/params/[^/]+", "/params/:key"),
    (r"/search/.+", "/search/:text"),
    (r"/schema/.+", "/schema/:name"),
)


def endpoint(method: str, path: str) -> str:
    """``PUT /api/card/:id`` of ``PUT``, ``/api/card/7``."""
    for pattern, name in _NAMES:
        path = re.sub(pattern, name, path)
    return f"{method} {path}"


def violations(method: str, path: str, answer: Any) -> list[str]:
    """Where an answer of status 2xx is not in Metabase's shape; a path that is not listed has none."""
    name = endpoint(method, path)
    if name not in ANSWERS:
        return [f"{name}: Metabase's answer is not known"]
    errors = Draft202012Validator(ANSWERS[name]).iter_errors(answer)
    return [f"{name}: {error.json_path}: {error.message[:200]}" for error in errors]
