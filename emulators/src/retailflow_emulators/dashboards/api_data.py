"""Paths of the API about data: databases, their tables and fields, and queries."""

from __future__ import annotations

import csv
import io
import json
import time
from typing import Any

from starlette.responses import Response

from . import models
from .calls import Call
from .content import ROW_LIMIT
from .endpoints import Access, Routes
from .errors import ApiError
from .permissions import FORBIDDEN
from .queries import Values, by_mapping, by_target
from .records import now
from .service import Service
from .store import Document
from .warehouse import Column, WarehouseError

EXPORT_LIMIT = 1_048_575  # rows, as Metabase exports


def add_routes(here: Routes, service: Service) -> None:
    """Add the paths."""
    readers, administrators = Access.READERS, Access.ADMINISTRATORS
    databases, metadata = service.databases, service.databases.metadata
    here.add("GET", "/database", readers, _databases)
    here.add("GET", "/database/{id:int}", readers, _database)
    here.add("GET", "/database/{id:int}/metadata", readers, _metadata)
    here.add("GET", "/database/{id:int}/schemas", readers, lambda call: databases.schemas(call.id))
    here.add("GET", "/database/{id:int}/schema/{schema:path}", readers, _schema)
    here.add("POST", "/database", administrators, _add_database)
    here.add(
        "PUT",
        "/database/{id:int}",
        administrators,
        lambda call: databases.update(call.id, call.body(models.DatabaseUpdate)),
    )
    here.add("POST", "/database/{id:int}/sync_schema", administrators, _sync)
    here.add("GET", "/table", readers, lambda call: [_with_database(call, one) for one in metadata.tables()])
    here.add("GET", "/table/{id:int}", readers, lambda call: _with_database(call, metadata.table(call.id)))
    here.add(
        "GET",
        "/table/{id:int}/query_metadata",
        readers,
        lambda call: _with_database(call, metadata.with_fields(call.id)),
    )
    here.add("PUT", "/table/{id:int}", administrators, _update_table)
    here.add("PUT", "/table/{id:int}/fields/order", administrators, _order_fields)
    here.add("GET", "/field/{id:int}", readers, lambda call: metadata.field(call.id))
    here.add(
        "PUT",
        "/field/{id:int}",
        administrators,
        lambda call: metadata.update_field(call.id, call.body(models.FieldUpdate)),
    )
    here.add("POST", "/card/{ref}/query", readers, _query_card, status=202)
    here.add("POST", "/card/{ref}/query/{format}", readers, _export)
    here.add(
        "POST",
        "/dashboard/{id:int}/dashcard/{dashcard:int}/card/{card:int}/query",
        readers,
        _query_dashcard,
        status=202,
    )
    here.add("POST", "/dataset", readers, _dataset, status=202)


def _for_caller(call: Call, found: Document) -> Document:
    """A database; how it is connected is for administrators alone."""
    if call.caller["is_superuser"]:
        return found
    return {name: value for name, value in found.items() if name != "details"}


def _include(call: Call) -> str:
    wanted = call.request.query_params.get("include", "")
    if wanted not in ("", "tables", "tables.fields"):
        raise ApiError(400, errors={"include": "must be tables or tables.fields"})
    return wanted


def _databases(call: Call) -> dict[str, Any]:
    found = [_for_caller(call, one) for one in call.service.databases.all(_include(call))]
    return {"data": found, "total": len(found)}


def _database(call: Call) -> Document:
    return _for_caller(call, call.service.databases.get(call.id, _include(call)))


def _metadata(call: Call) -> Document:
    """All tables and fields; what is hidden only where ``include_hidden`` asks for it."""
    found = _for_caller(call, call.service.databases.get(call.id, "tables.fields"))
    if call.request.query_params.get("include_hidden") != "true":
        found["tables"] = [one for one in found["tables"] if one["visibility_type"] is None]
    return found


def _schema(call: Call) -> list[Document]:
    return call.service.databases.tables_of(call.id, call.request.path_params["schema"])


def _add_database(call: Call) -> Document:
    added = call.service.databases.add(call.body(models.NewDatabase), call.caller["id"])
    call.service.databases.sync(added["id"])
    return added


def _sync(call: Call) -> dict[str, str]:
    call.service.databases.sync(call.id)
    return {"status": "ok"}


def _with_database(call: Call, table: Document) -> Document:
    return {**table, "db": _for_caller(call, call.service.databases.get(table["db_id"]))}


def _update_table(call: Call) -> Document:
    updated = call.service.databases.metadata.update_table(call.id, call.body(models.TableUpdate))
    return _with_database(call, updated)


def _order_fields(call: Call) -> dict[str, bool]:
    call.service.databases.metadata.order_fields(call.id, call.body(models.FieldOrder).root)
    return {"success": True}


def _column(column: Column) -> Document:
    return {
        "name": column.name,
        "display_name": column.name,
        "base_type": column.base_type,
        "effective_type": column.base_type,
        "field_ref": ["field", column.name, {"base-type": column.base_type}],
        "semantic_type": None,
        "source": "native",
    }


def _run(call: Call, query: Document, values: Values, context: str) -> Document:
    """A query's result, or what went wrong, in Metabase's envelope."""
    answer: Document = {
        "context": context,
        "database_id": query["database"],
        "json_query": query,
        "average_execution_time": None,
        "cached": None,
        "started_at": now(),
    }
    started = time.monotonic()
    try:
        result = call.service.databases.run(query, values, ROW_LIMIT)
    except WarehouseError as error:
        seconds = time.monotonic() - started
        failed = {"status": "failed", "error": str(error), "row_count": 0, "data": {"rows": [], "cols": []}}
        return {**answer, **failed, "running_time": round(1000 * seconds)}
    cols = [_column(one) for one in result.columns]
    data: Document = {
        "rows": result.rows,
        "cols": cols,
        "native_form": {"query": query["stages"][0]["native"], "params": None},
        "results_metadata": {"columns": cols},
        "results_timezone": "UTC",
    }
    if result.truncated:
        data["rows_truncated"] = ROW_LIMIT
    return {
        **answer,
        "status": "completed",
        "row_count": len(result.rows),
        "running_time": round(1000 * (time.monotonic() - started)),
        "data": data,
    }


def _query_card(call: Call) -> Document:
    card = call.seen(call.service.cards.get(call.ref("card")))
    values = by_target(call.body(models.QueryValues).parameters)
    return {**_run(call, card["dataset_query"], values, "question"), "card_id": card["id"]}


def _export(call: Call) -> Response:
    """A card's rows as a file: JSON or CSV."""
    kind = call.request.path_params["format"]
    card = call.seen(call.service.cards.get(call.ref("card")))
    if kind not in ("csv", "json"):
        raise models.not_here(f"files of format {kind}")
    values = by_target(call.form(models.QueryValues).parameters)
    try:
        result = call.service.cards.run(card, values, EXPORT_LIMIT)
    except WarehouseError as error:
        raise ApiError(400, str(error)) from error
    names = [column.name for column in result.columns]
    if kind == "json":
        text = json.dumps([dict(zip(names, row, strict=True)) for row in result.rows])
        return Response(text, media_type="application/json")
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerows([names, *result.rows])
    headers = {"Content-Disposition": f'attachment; filename="query_result_card_{card["id"]}.csv"'}
    return Response(file.getvalue(), media_type="text/csv", headers=headers)


def _query_dashcard(call: Call) -> Document:
    dashboard = call.seen(call.service.dashboards.get(call.id))
    path = call.request.path_params
    place = call.service.dashboards.dashcard(dashboard, path["dashcard"], path["card"])
    card = call.seen(call.service.cards.get(place["card_id"]))
    sent = call.body(models.QueryValues).parameters
    values = by_mapping(sent, dashboard["parameters"], place["parameter_mappings"])
    return {**_run(call, card["dataset_query"], values, "dashboard"), "dashboard_id": dashboard["id"]}


def _dataset(call: Call) -> Document:
    """A query of the caller's own; only administrators write SQL here."""
    body = call.body(models.Dataset)
    if not call.caller["is_superuser"]:
        raise ApiError(403, FORBIDDEN)
    query = body.model_dump(by_alias=True, exclude_unset=True, exclude={"parameters"})
    return _run(call, query, by_target(body.parameters), "ad-hoc")
