"""Values and types of expressions, as Snowflake's documentation gives them (``values.txt``)."""

from __future__ import annotations

import re
from decimal import Decimal
from pathlib import Path

import pytest
import snowflake.connector

from retailflow_emulators.snowflake.testing import EmulatedSnowflake

TYPES = {
    "n": 0,
    "f": 1,
    "t": 2,
    "d": 3,
    "ts": 8,
    "tz": 7,
    "lz": 6,
    "v": 5,
    "o": 9,
    "a": 10,
    "b": 13,
}  # the connector's type codes


def pages() -> dict[str, list[tuple[str, str, str]]]:
    """Expression, type and value of each line, by page."""
    found: dict[str, list[tuple[str, str, str]]] = {}
    for line in Path(__file__).with_name("values.txt").read_text().splitlines():
        if line.startswith("## "):
            page = found.setdefault(line[3:], [])
        elif line and not line.startswith("#"):
            expression, _, answer = line.partition(" => ")
            kind, _, value = answer.partition(" ")
            page.append((expression, kind, value))
    return found


def answers(
    session: snowflake.connector.SnowflakeConnection, expressions: list[str]
) -> list[tuple[str, str]]:
    """Type and value of each expression; what fails is found by halves, and its error is its value."""
    try:
        cursor = session.cursor()
        cursor.execute("select " + ",\n".join(expressions))
        row = cursor.fetchone()
        assert isinstance(row, tuple)
        return [(kind(column), text(value)) for column, value in zip(cursor.description, row, strict=True)]
    except snowflake.connector.errors.Error as error:
        if len(expressions) == 1:
            refused, _, what = str(error).replace("\n", "\\n").partition("not emulated: ")
            return (
                [("refused", what.partition(":")[0])]
                if what
                else [("error", re.sub(r"^\d+ \(\w+\): \S+: ", "", refused))]
            )
        half = len(expressions) // 2
        return answers(session, expressions[:half]) + answers(session, expressions[half:])


def text(value: object) -> str:
    if value is None:
        return "null"
    return f"{value:f}" if isinstance(value, Decimal) else str(value)


def kind(column: snowflake.connector.cursor.ResultMetadata) -> str:
    name = next((name for name, code in TYPES.items() if code == column.type_code), str(column.type_code))
    return f"n{column.scale}" if name == "n" else name


@pytest.mark.parametrize("page", pages())
def test_expressions_have_the_values_and_types_that_snowflake_documents(
    warehouse: EmulatedSnowflake, page: str
) -> None:
    wanted = pages()[page]
    with warehouse.connect() as session:
        found = answers(session, [expression for expression, _, _ in wanted])
    wrong = [
        f"{expression}: {answer} instead of {(type_, value)}"
        for (expression, type_, value), answer in zip(wanted, found, strict=True)
        if answer != (type_, value)
    ]
    assert not wrong, "\n".join(wrong)


def test_there_are_a_few_hundred() -> None:
    assert sum(map(len, pages().values())) > 300
