"""DuckDB's types as Snowflake sees them."""

from __future__ import annotations

import re
from dataclasses import dataclass

LONGEST_TEXT = 16_777_216
DIGITS = 38  # of a NUMBER, https://docs.snowflake.com/en/sql-reference/data-types-numeric
_INTEGERS = {
    "TINYINT": 3,
    "UTINYINT": 3,
    "SMALLINT": 5,
    "USMALLINT": 5,
    "INTEGER": 10,
    "UINTEGER": 10,
    "INTEGER_LITERAL": 10,
    "BIGINT": 19,
    "UBIGINT": 20,
    "HUGEINT": DIGITS,
    "UHUGEINT": DIGITS,
}


@dataclass(frozen=True)
class SqlType:
    """A type: ``kind`` is number, float, text, date, time, timestamp, interval, variant, null or other.

    A number has ``precision`` digits, ``scale`` of them behind the point; ``integer`` says that DuckDB holds it as an
    integer of some width and not as a decimal number; a timestamp is ``zoned`` where it has an offset.
    """

    kind: str
    precision: int = 0
    scale: int = 0
    integer: bool = False
    zoned: bool = False

    @classmethod
    def parse(cls, name: str) -> SqlType:
        """The type that DuckDB writes like this."""
        name = name.strip().upper()
        if found := re.fullmatch(r"DECIMAL\((\d+),(\d+)\)", name):
            return cls("number", int(found[1]), int(found[2]))
        if name in _INTEGERS:
            return cls("number", _INTEGERS[name], integer=True)
        if name in ("DOUBLE", "FLOAT"):
            return cls("float")
        if name in ("VARCHAR", "STRING_LITERAL"):
            return cls("text")
        if name.startswith("TIMESTAMP"):
            return cls("timestamp", zoned=name.endswith("TIME ZONE"))
        return cls(
            {"DATE": "date", "TIME": "time", "INTERVAL": "interval", "JSON": "variant", '"NULL"': "null"}.get(
                name, "other"
            )
        )

    @property
    def shown(self) -> str:
        """The type as Snowflake's messages say it."""
        if self.kind == "number":
            return f"NUMBER({min(self.precision, DIGITS)},{self.scale})"
        timestamp = "TIMESTAMP_TZ(9)" if self.zoned else "TIMESTAMP_NTZ(9)"
        known = {
            "text": f"VARCHAR({LONGEST_TEXT})",
            "time": "TIME(9)",
            "timestamp": timestamp,
            "other": "BOOLEAN",
        }
        return known.get(self.kind, self.kind.upper())

    @property
    def leading(self) -> int:
        """Digits in front of the point."""
        return self.precision - self.scale
