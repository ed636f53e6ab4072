"""How a stream becomes a Snowflake table: names, types and the statements that load it.

The contract is that of Airbyte's Snowflake destination 4 ("direct load"): upper-case quoted names, four
`_AIRBYTE_` columns first, JSON-schema types mapped as in https://docs.airbyte.com/integrations/destinations/snowflake
(a `number` is a FLOAT).
"""

from __future__ import annotations

import hashlib
import re
import secrets
from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from ..protocol import ConnectorError, Stream

META_COLUMNS: Mapping[str, str] = {
    "_AIRBYTE_RAW_ID": "VARCHAR NOT NULL",
    "_AIRBYTE_EXTRACTED_AT": "TIMESTAMP_TZ NOT NULL",
    "_AIRBYTE_META": "VARIANT NOT NULL",
    "_AIRBYTE_GENERATION_ID": "NUMBER(38,0)",
}
_STRING_FORMATS = {
    "timestamp_with_timezone": "TIMESTAMP_TZ",
    "timestamp_without_timezone": "TIMESTAMP_NTZ",
    "time_with_timezone": "VARCHAR",
    "time_without_timezone": "TIME",
    "date": "DATE",
    "date-time": "TIMESTAMP_TZ",
    "time": "TIME",
}


_TOLD = {"NUMBER(38,0)": "NUMBER", "VARCHAR": "TEXT"}  # how information_schema names these types
CDC_DELETED_AT = "_AB_CDC_DELETED_AT"
HARD_DELETE, SOFT_DELETE = "Hard delete", "Soft delete"
RESERVED_PREFIX = "_AIRBYTE_"
NAME_LENGTH = (
    255  # characters of an identifier, https://docs.snowflake.com/en/sql-reference/identifiers-syntax
)
ARRIVAL = "_AIRBYTE_TMP_ARRIVAL"  # numbers the staged rows in the order of their arrival


def quote(*names: str) -> str:
    """A quoted, dotted identifier."""
    return ".".join('"' + name.replace('"', '""') + '"' for name in names)


# Without `use_logical_type`, Snowflake takes parquet's moments for numbers.
FILE_FORMAT = "(type = parquet use_logical_type = true)"


@dataclass(frozen=True)
class Column:
    """One data column: the field it comes from, its name and type in Snowflake, its type in parquet."""

    field: str
    type: str

    @property
    def name(self) -> str:
        return self.field.upper()

    @property
    def arrow(self) -> pa.DataType:
        """The type in parquet. Moments are in UTC there, to the microsecond; a TIME travels as text."""
        scalars = {
            "NUMBER(38,0)": pa.int64(),
            "FLOAT": pa.float64(),
            "BOOLEAN": pa.bool_(),
            "DATE": pa.date32(),
            "TIMESTAMP_NTZ": pa.timestamp("us"),
            "TIMESTAMP_TZ": pa.timestamp("us", tz="UTC"),
        }
        return scalars.get(self.type, pa.string())

    @property
    def semi_structured(self) -> bool:
        return self.type == "VARIANT"

    @property
    def staged_type(self) -> str:
        return "VARCHAR" if self.semi_structured else self.type


def snowflake_type(schema: Mapping[str, Any]) -> str:
    """The Snowflake type of a JSON-schema property."""
    declared = schema.get("type", "object")
    kinds = {declared} if isinstance(declared, str) else set(declared)
    kinds.discard("null")
    if len(kinds) != 1:
        return "VARIANT"
    airbyte_type = schema.get("airbyte_type", "")
    match kinds.pop():
        case "string":
            return _STRING_FORMATS.get(airbyte_type or schema.get("format", ""), "VARCHAR")
        case "integer":
            return "NUMBER(38,0)"
        case "number":
            return "NUMBER(38,0)" if airbyte_type == "integer" else "FLOAT"
        case "boolean":
            return "BOOLEAN"
        case _:
            return "VARIANT"


@dataclass(frozen=True)
class Table:
    """The table of one stream, and the temporary objects of one sync beside it.

    `aside`: rows go into a table beside it, which takes its place once the new generation is complete.
    """

    database: str
    schema: str
    name: str
    columns: Sequence[Column]
    primary_key: Sequence[str]
    cursor: str | None
    dedup: bool
    hard_delete: bool
    generation_id: int
    suffix: str
    aside: bool = False

    @classmethod
    def of(cls, stream: Stream, database: str, default_schema: str, deletion_mode: str) -> Table:
        """Raises ConnectorError where two columns would have one name, or dedup has no key."""
        columns = [Column(field, snowflake_type(schema)) for field, schema in stream.properties.items()]
        names = [column.name for column in columns]
        for number, column in enumerate(columns):
            if column.name in names[:number]:
                other = columns[names.index(column.name)]
                raise ConnectorError(
                    f"{stream.name}: fields {other.field} and {column.field} would both become column "
                    f"{column.name}: rename one in the source. Nothing was written",
                    "config_error",
                )
            if column.name.startswith(RESERVED_PREFIX):
                raise ConnectorError(
                    f"{stream.name}: field {column.field} has a name that Airbyte keeps for itself: rename it in "
                    "the source. Nothing was written",
                    "config_error",
                )
            if len(column.name) > NAME_LENGTH:
                raise ConnectorError(
                    f"{stream.name}: column {column.name[:30]}… has more than the {NAME_LENGTH} characters that "
                    "Snowflake takes",
                    "config_error",
                )
        if stream.dedup and not stream.primary_key:
            raise ConnectorError(f"{stream.name}: append_dedup needs a primary key", "config_error")
        return cls(
            database=database,
            schema=(stream.namespace or default_schema).upper(),
            name=stream.name.upper(),
            columns=columns,
            primary_key=[field.upper() for field in stream.primary_key],
            cursor=stream.cursor_field.upper() if stream.cursor_field else None,
            dedup=stream.dedup,
            hard_delete=stream.dedup and deletion_mode == HARD_DELETE and CDC_DELETED_AT in names,
            generation_id=stream.generation_id,
            suffix=secrets.token_hex(6).upper(),
        )

    @property
    def qualified(self) -> str:
        return quote(self.database, self.schema, self.name)

    @property
    def written_name(self) -> str:
        """The name of the table that the rows of this sync go into."""
        return f"_AIRBYTE_TMP_{self._short}_REFRESH" if self.aside else self.name

    @property
    def written(self) -> str:
        return quote(self.database, self.schema, self.written_name)

    def exchange(self) -> list[str]:
        """Statements that put the table aside, which is complete, in the place of the one before."""
        return [f"alter table {self.qualified} swap with {self.written}", f"drop table {self.written}"]

    @property
    def _short(self) -> str:
        """The table's name in letters and digits: short, whatever the table's own name is."""
        return hashlib.sha256(self.name.encode()).hexdigest()[:16].upper()

    @property
    def staging(self) -> str:
        return quote(self.database, self.schema, f"_AIRBYTE_TMP_{self._short}_{self.suffix}")

    @property
    def stage(self) -> str:
        return quote(self.database, self.schema, f"_AIRBYTE_STAGE_{self._short}")

    def is_orphan(self, name: str) -> bool:
        """True for a staging table that an earlier, killed sync of this stream left behind."""
        return re.fullmatch(rf"_AIRBYTE_TMP_{self._short}_[0-9A-F]{{12}}", name) is not None

    def create(self) -> str:
        data = {column.name: column.type for column in self.columns}
        columns = ", ".join(f"{quote(name)} {type_}" for name, type_ in {**META_COLUMNS, **data}.items())
        return f"create table if not exists {self.written} ({columns})"

    def add_columns(self, existing: Container[str]) -> list[str]:
        """One statement for each column that the source has gained since the table was made."""
        return [
            f"alter table {self.written} add column if not exists {quote(column.name)} {column.type}"
            for column in self.columns
            if column.name not in existing
        ]

    def changed_columns(self, existing: Mapping[str, str]) -> list[Column]:
        """Columns whose type (of information_schema) in the table is not the one that the source has now."""
        return [
            column
            for column in self.columns
            if existing.get(column.name, told := _TOLD.get(column.type, column.type)) != told
        ]

    def replace_column(self, column: Column) -> list[str]:
        """Statements that give a column its new type, without its values."""
        name = quote(column.name)
        return [
            f"alter table {self.written} drop column {name}",
            f"alter table {self.written} add column {name} {column.type}",
        ]

    def create_staging(self) -> str:
        staged = {
            ARRIVAL: "NUMBER(38,0)",
            "_AIRBYTE_EXTRACTED_AT": "TIMESTAMP_TZ",
            "_AIRBYTE_META": "VARCHAR",
            **{column.name: column.staged_type for column in self.columns},
        }
        columns = ", ".join(f"{quote(name)} {type_}" for name, type_ in staged.items())
        return f"create or replace table {self.staging} ({columns})"

    def copy(self, file_name: str) -> str:
        return (
            f"copy into {self.staging} from @{self.stage}/{file_name} file_format = {FILE_FORMAT} "
            "match_by_column_name = case_insensitive purge = true"
        )

    def _newest(self) -> str:
        """The newest staged row of each key in the shape of the table."""
        data = (
            f"parse_json({quote(column.name)}) as {quote(column.name)}"
            if column.semi_structured
            else quote(column.name)
            for column in self.columns
        )
        newest = ", ".join(
            f"{quote(name)} desc nulls last"
            for name in [self.cursor, "_AIRBYTE_EXTRACTED_AT", ARRIVAL]
            if name
        )
        keys = ", ".join(map(quote, self.primary_key))
        return (
            'select uuid_string() as "_AIRBYTE_RAW_ID", "_AIRBYTE_EXTRACTED_AT", '
            'parse_json("_AIRBYTE_META") as "_AIRBYTE_META", '
            f'{self.generation_id} as "_AIRBYTE_GENERATION_ID", {", ".join(data)} from {self.staging} '
            f"qualify row_number() over (partition by {keys} order by {newest}) = 1"
        )

    def copy_straight(self, file_name: str) -> str:
        """Load a file into the table itself: for append modes, and for keys that are all new."""
        values = [
            "uuid_string()",
            '$1:"_AIRBYTE_EXTRACTED_AT"::TIMESTAMP_TZ',
            'parse_json($1:"_AIRBYTE_META"::VARCHAR)',
            str(self.generation_id),
        ]
        for column in self.columns:
            value = f"$1:{quote(column.name)}::{column.staged_type}"
            values.append(f"parse_json({value})" if column.semi_structured else value)
        return (
            f"copy into {self.written} ({', '.join(map(quote, self._names()))}) "
            f"from (select {', '.join(values)} from @{self.stage}/{file_name}) "
            f"file_format = {FILE_FORMAT} purge = true"
        )

    @property
    def serial_key(self) -> Column | None:
        """The key's column where it is one whole number, so that a range of keys can be shown to be new."""
        keys = [column for column in self.columns if column.name in self.primary_key]
        return keys[0] if [column.type for column in keys] == ["NUMBER(38,0)"] else None

    def count_keys(self, first: int, last: int) -> str:
        """One row: how many rows have a key in the range, both ends included. For a `serial_key`."""
        (key,) = self.primary_key
        return f"select count(*) from {self.written} where {quote(key)} between {first} and {last}"

    def merge(self) -> str:
        """Move the newest staged row of each key into the table, which never goes back."""
        columns = ", ".join(map(quote, self._names()))
        newer = 't."_AIRBYTE_EXTRACTED_AT" <= s."_AIRBYTE_EXTRACTED_AT"'
        if self.cursor:
            cursor = quote(self.cursor)
            newer = (
                f"(t.{cursor} < s.{cursor} or (t.{cursor} is null and s.{cursor} is not null) "
                f"or ((t.{cursor} = s.{cursor} or (t.{cursor} is null and s.{cursor} is null)) and {newer}))"
            )
        changes = ", ".join(
            f"t.{quote(name)} = s.{quote(name)}" for name in self._names() if name not in self.primary_key
        )
        values = ", ".join(f"s.{quote(name)}" for name in self._names())
        delete, present = "", ""
        if self.hard_delete:
            delete = f"when matched and {newer} and s.{quote(CDC_DELETED_AT)} is not null then delete "
            present = f"and s.{quote(CDC_DELETED_AT)} is null "
        return (
            f"merge into {self.written} as t using ({self._newest()}) as s "
            f"on {self._same_key()} {delete}"
            f"when matched and {newer} then update set {changes} "
            f"when not matched {present}then insert ({columns}) values ({values})"
        )

    def _names(self) -> list[str]:
        return [*META_COLUMNS, *(column.name for column in self.columns)]

    def _same_key(self) -> str:
        return " and ".join(f"t.{quote(name)} = s.{quote(name)}" for name in self.primary_key)

    def truncate_older(self, minimum_generation_id: int) -> str:
        return f'delete from {self.written} where "_AIRBYTE_GENERATION_ID" < {minimum_generation_id}'
