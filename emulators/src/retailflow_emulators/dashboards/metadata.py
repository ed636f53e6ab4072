"""Tables and their fields, as the last sync of a database found them and people described them."""

from __future__ import annotations

from typing import Any

from . import answers, models
from .errors import ApiError
from .records import Records
from .store import Document

_TABLE: Document = {
    "active": True,
    "caveats": None,
    "collection_id": None,
    "data_authority": "unconfigured",
    "description": None,
    "entity_type": "entity/GenericTable",
    "estimated_row_count": None,
    "field_order": "database",
    "initial_sync_status": "complete",
    "is_published": False,
    "is_upload": False,
    "points_of_interest": None,
    "show_in_getting_started": False,
    "visibility_type": None,
}
_FIELD: Document = {
    "active": True,
    "caveats": None,
    "coercion_strategy": None,
    "custom_position": 0,
    "description": None,
    "fingerprint": None,
    "fk_target_field_id": None,
    "has_field_values": "none",
    "parent_id": None,
    "points_of_interest": None,
    "preview_display": True,
    "semantic_type": None,
    "settings": None,
    "visibility_type": "normal",
}
# By metabase/metabase, modules/drivers/snowflake: what its driver makes of Snowflake's types.
_BASE_TYPES = {
    "ARRAY": "type/*",
    "BINARY": "type/*",
    "BOOLEAN": "type/Boolean",
    "DATE": "type/Date",
    "FLOAT": "type/Float",
    "NUMBER": "type/Number",
    "OBJECT": "type/Dictionary",
    "TEXT": "type/Text",
    "TIME": "type/Time",
    "TIMESTAMP_LTZ": "type/DateTimeWithLocalTZ",
    "TIMESTAMP_NTZ": "type/DateTime",
    "TIMESTAMP_TZ": "type/DateTimeWithLocalTZ",
    "VARIANT": "type/SnowflakeVariant",
}


class Metadata:
    """One document for each table, its fields within it; every refusal is an ApiError."""

    def __init__(self, records: Records) -> None:
        self._records = records

    def synced(self, database_id: int, found: list[dict[str, Any]]) -> None:
        """Keep what a sync found: new tables and fields get an id, what is gone is no longer active."""
        known = {(one["schema"], one["name"]): one for one in self._of(database_id)}
        last = max(
            (field["id"] for one in self._records.store.all("table") for field in one["fields"]), default=0
        )
        for position, one in enumerate(found):
            key = (one["schema"], one["name"])
            old = known.pop(key, None)
            fields, last = _fields(one.get("columns", []), old["fields"] if old else [], last)
            if old is None:
                named = {
                    "db_id": database_id,
                    "schema": key[0],
                    "name": key[1],
                    "display_name": _title(key[1]),
                }
                self._records.added("table", {**_TABLE, **named, "position": position, "fields": fields})
            elif not old["active"] or fields != old["fields"]:
                self._records.changed("table", old["id"], {"active": True, "fields": fields})
        for old in known.values():
            if old["active"]:
                self._records.changed("table", old["id"], {"active": False})

    def tables(self, database_id: int | None = None) -> list[Document]:
        """The tables that the last sync found, without their fields."""
        return [answers.table(one) for one in self._of(database_id) if one["active"]]

    def table(self, identity: int) -> Document:
        """One table without its fields."""
        return answers.table(self._records.find("table", identity))

    def with_fields(self, identity: int) -> Document:
        """One table with the fields that the last sync found."""
        found = self._records.find("table", identity)
        fields = [self._field(found, one) for one in found["fields"] if one["active"]]
        return {**found, "fields": sorted(fields, key=lambda one: (one["custom_position"], one["position"]))}

    def field(self, identity: int) -> Document:
        """One field."""
        table = self._table_of(identity)
        return next(self._field(table, one) for one in table["fields"] if one["id"] == identity)

    def update_table(self, identity: int, body: models.TableUpdate) -> Document:
        """Describe a table; null takes a description away."""
        return answers.table(self._records.changed("table", identity, body.model_dump(exclude_unset=True)))

    def update_field(self, identity: int, body: models.FieldUpdate) -> Document:
        """Describe a field; null takes a description away."""
        changed = body.model_dump(exclude_unset=True)
        if body.fk_target_field_id is not None:
            self._table_of(body.fk_target_field_id)

        def change(table: Document) -> Document:
            fields = [{**one, **changed} if one["id"] == identity else one for one in table["fields"]]
            return {**table, "fields": fields}

        self._records.changed("table", self._table_of(identity)["id"], change)
        return self.field(identity)

    def order_fields(self, identity: int, order: list[int]) -> None:
        """Show the fields of a table in this order."""
        known = {one["id"] for one in self._records.find("table", identity)["fields"]}
        if not set(order) <= known:
            raise ApiError(400, f"Table {identity} has no field {min(set(order) - known)}.")
        places = {field: place for place, field in enumerate(order)}

        def change(table: Document) -> Document:
            fields = [
                {**one, "custom_position": places.get(one["id"], len(places))} for one in table["fields"]
            ]
            return {**table, "fields": fields, "field_order": "custom"}

        self._records.changed("table", identity, change)

    def _of(self, database_id: int | None) -> list[Document]:
        found = self._records.store.all("table")
        return [one for one in found if database_id is None or one["db_id"] == database_id]

    def _table_of(self, field: int) -> Document:
        for table in self._records.store.all("table"):
            if any(one["id"] == field for one in table["fields"]):
                return table
        raise ApiError(404, "Not found.")

    def _field(self, table: Document, field: Document) -> Document:
        moments = {name: table[name] for name in ("created_at", "updated_at")}
        return {**field, **moments, "table_id": table["id"], "effective_type": field["base_type"]}


def _fields(columns: list[dict[str, Any]], old: list[Document], last: int) -> tuple[list[Document], int]:
    """The fields of a table after a sync, and the last id that was given."""
    known = {one["name"]: one for one in old}
    fields = []
    for position, column in enumerate(columns):
        name, kind = column["name"], column["type"].upper()
        typed = {
            "database_type": kind,
            "base_type": _BASE_TYPES.get(kind, "type/*"),
            "position": position,
            "database_position": position,
            "active": True,
        }
        if name in known:
            fields.append({**known.pop(name), **typed})
        else:
            last += 1
            fields.append({**_FIELD, "id": last, "name": name, "display_name": _title(name), **typed})
    return fields + [{**one, "active": False} for one in known.values()], last


def _title(name: str) -> str:
    """``Net Revenue`` of ``NET_REVENUE``, as Metabase makes names readable."""
    return " ".join(word.capitalize() for word in name.replace("_", " ").split()) or name
