"""RECORD lines to parquet, many at a time.

pyarrow reads the lines with the stream's own schema. Lines that do not fit it (NaN in a number, an infinite date, an
object, a change note of the source) take the slow road: decoded one by one, what does not fit becomes NULL and is
noted in `_AIRBYTE_META`, as Airbyte does.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Collection
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.json
import pyarrow.parquet

from ..protocol import ConnectorError, JsonObject, Stream
from ..records import decode
from .table import ARRIVAL, CDC_DELETED_AT, Column, Table

# Of a VARCHAR: https://docs.snowflake.com/en/sql-reference/data-types-text; Airbyte's destination 4 makes values NULL
# that are longer than this, and says so in _AIRBYTE_META.
VALUE_BYTES = 16 * 1024 * 1024
LONG = pa.decimal128(38, 0)
_TIME = re.compile(r"([01]\d|2[0-3]):[0-5]\d:[0-5]\d(\.\d+)?")


class Batch:
    """One parquet file in the making: rows of one stream that will be loaded together."""

    def __init__(self, stream: Stream, table: Table, path: Path) -> None:
        self.path = path
        self.rows = 0
        # First and last key while they rise from row to row and no row is a deletion, else None.
        self.rising: tuple[int, int] | None = None
        self._key = table.serial_key
        self._deletions = CDC_DELETED_AT if table.hard_delete else None
        self._columns = columns = table.columns
        self._keys = [column for column in columns if table.dedup and column.name in table.primary_key]
        self._table = table.qualified
        self._sync_id = stream.sync_id
        self._plain_meta = self._meta([])
        self._schema = pa.schema(
            [
                (ARRIVAL, pa.int64()),
                ("_AIRBYTE_EXTRACTED_AT", pa.timestamp("us", tz="UTC")),
                ("_AIRBYTE_META", pa.string()),
                *((column.name, column.arrow) for column in columns),
            ]
        )
        # Arrow's JSON reader knows moments, but no dates.
        read = {pa.date32(): pa.string()}
        self._data_schema = pa.schema(
            [(column.field, read.get(column.arrow, column.arrow)) for column in columns]
        )
        self._fast = not any(column.semi_structured for column in columns)
        self._writer = pyarrow.parquet.ParquetWriter(path, self._schema, compression="zstd")

    def add(self, lines: bytes, data: bytes | None, emitted_at: int) -> None:
        """Add whole RECORD lines; `data` are their data objects, one per line, if all have the same time."""
        table = self._parse(data, emitted_at) if data and self._fast else None
        if table is None:
            table = self._parse_slowly(lines)
        for column in self._keys:
            if table[column.name].null_count:
                raise ConnectorError(
                    f"column {column.name} in the primary key of {self._table} got a value that a {column.type} of "
                    "Snowflake cannot hold, so its row cannot be found again: change the value or the key in the "
                    "source. The rows since the last checkpoint were not loaded",
                    "config_error",
                )
        self._writer.write_table(table)
        if self._key and (self.rising or not self.rows):
            self.rising = self._risen(table, self._key.name)
        self.rows += table.num_rows

    def close(self) -> None:
        self._writer.close()

    def _risen(self, table: pa.Table, key: str) -> tuple[int, int] | None:
        if not table.num_rows or table[key].null_count:
            return None
        if self._deletions and table[self._deletions].null_count < table.num_rows:
            return None
        keys = table[key].to_numpy()
        rises = bool((keys[1:] > keys[:-1]).all()) and (not self.rising or keys[0] > self.rising[1])
        return (self.rising[0] if self.rising else int(keys[0]), int(keys[-1])) if rises else None

    def _parse(self, data: bytes, emitted_at: int) -> pa.Table | None:
        """Data objects, one per line, as a table; None where one does not fit the schema."""
        try:
            rows = pyarrow.json.read_json(
                pa.BufferReader(data),
                # In one piece: other processes have work for the other cores.
                read_options=pyarrow.json.ReadOptions(use_threads=False, block_size=len(data)),
                parse_options=pyarrow.json.ParseOptions(
                    explicit_schema=self._data_schema, unexpected_field_behavior="ignore"
                ),
            )
            values = [self._typed(rows.column(column.field), column) for column in self._columns]
            values = [
                value.cast(self._schema.field(column.name).type)
                for value, column in zip(values, self._columns, strict=True)
            ]
        except pa.ArrowInvalid:
            return None
        constants = [_timestamp(emitted_at), self._plain_meta]
        return pa.Table.from_arrays(
            [
                pa.array(np.arange(self.rows, self.rows + len(rows))),
                *(pa.repeat(value, len(rows)) for value in constants),
                *values,
            ],
            schema=self._schema,
        )

    @staticmethod
    def _typed(values: pa.ChunkedArray, column: Column) -> pa.ChunkedArray:
        """Values of a column as they are in parquet; ArrowInvalid where Snowflake has no such value."""
        if (
            column.type == "TIME"
            and not pc.all(pc.match_substring_regex(values, f"^{_TIME.pattern}$"), min_count=0).as_py()
        ):
            raise pa.ArrowInvalid(f"{column.field} has what is no time of the day")
        if column.arrow == pa.string() and (pc.max(pc.binary_length(values)).as_py() or 0) > VALUE_BYTES:
            raise pa.ArrowInvalid(f"{column.field} has a value that is too long")
        return values.cast(column.arrow)

    def _parse_slowly(self, lines: bytes) -> pa.Table:
        rows: list[JsonObject] = []
        long: set[str] = set()
        for line in lines.split(b"\n")[:-1]:
            record = decode(line)["record"]
            changes = list((record.get("meta") or {}).get("changes") or [])
            row: JsonObject = {}
            for column in self._columns:
                value = record["data"].get(column.field)
                row[column.name] = fitted = fit(value, column)
                if fitted is None and value is not None:
                    changes.append(_nulled(column, "DESTINATION_TYPECAST_ERROR"))
                elif isinstance(fitted, str) and len(fitted.encode()) > VALUE_BYTES:
                    row[column.name] = None
                    changes.append(_nulled(column, "DESTINATION_FIELD_SIZE_LIMITATION"))
                elif type(fitted) is int and not -(2**63) <= fitted < 2**63:
                    long.add(column.name)
            row[ARRIVAL] = self.rows + len(rows)
            row["_AIRBYTE_EXTRACTED_AT"] = _timestamp(record["emitted_at"])
            row["_AIRBYTE_META"] = self._meta(changes)
            rows.append(row)
        self._widen(long)
        return pa.Table.from_pylist(rows, schema=self._schema)

    def _widen(self, columns: Collection[str]) -> None:
        """Give columns a parquet type that holds all of a NUMBER(38,0): few tables need it, and it is slower."""
        places = [self._schema.get_field_index(name) for name in columns]
        if all(self._schema.field(place).type == LONG for place in places):
            return
        for place in places:
            self._schema = self._schema.set(place, self._schema.field(place).with_type(LONG))
        self._writer.close()
        written = pyarrow.parquet.read_table(self.path).cast(self._schema)
        self._writer = pyarrow.parquet.ParquetWriter(self.path, self._schema, compression="zstd")
        self._writer.write_table(written)

    def _meta(self, changes: list[JsonObject]) -> str:
        return orjson.dumps({"sync_id": self._sync_id, "changes": changes}).decode()


def _json(value: Any) -> str:
    try:
        return orjson.dumps(value).decode()
    except TypeError:  # a whole number beyond 64 bits
        return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def _nulled(column: Column, reason: str) -> JsonObject:
    return {"field": column.field, "change": "NULLED", "reason": reason}


def fit(value: Any, column: Column) -> Any:
    """`value` as the column's parquet type holds it, or None where it cannot."""
    if value is None:
        return None
    if column.semi_structured:
        return _json(value)
    match column.type:
        case "NUMBER(38,0)":
            fits = isinstance(value, int) and not isinstance(value, bool) and abs(value) < 10**38
            return value if fits else None
        case "FLOAT":
            fits = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
            return float(value) if fits else None
        case "BOOLEAN":
            return value if isinstance(value, bool) else None
        case "VARCHAR":
            return value if isinstance(value, str) else _json(value)
        case moment:
            try:
                return _moment(value, moment) if isinstance(value, str) else None
            except ValueError:
                return None


def _moment(text: str, type_: str) -> Any:
    """A date or time in ISO 8601; raises ValueError for what Snowflake does not have, such as infinity."""
    if type_ == "TIME":
        if not _TIME.fullmatch(text):
            raise ValueError(f"{text} is no time of the day")
        return text
    if type_ == "DATE":
        return datetime.strptime(text, "%Y-%m-%d").date()
    moment = datetime.fromisoformat(text)
    if type_ == "TIMESTAMP_NTZ":
        return moment.replace(tzinfo=None)
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def _timestamp(milliseconds: int) -> datetime:
    return datetime.fromtimestamp(milliseconds / 1000, UTC)
