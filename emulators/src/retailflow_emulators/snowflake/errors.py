"""Errors in the shape, and as far as it is known with the codes and the words, of Snowflake's."""

from __future__ import annotations

import re

import duckdb
from snowflake.connector.errors import ProgrammingError
from sqlglot.dialects.snowflake import Snowflake

# Functions of Snowflake that sqlglot does not list, https://docs.snowflake.com/en/sql-reference/functions-all
_MORE = """
    AI_AGG AI_CLASSIFY AI_COMPLETE AI_EMBED AI_EXTRACT AI_FILTER AI_PARSE_DOCUMENT AI_SENTIMENT AI_SIMILARITY
    AI_SUMMARIZE_AGG AI_TRANSCRIBE AI_TRANSLATE ALERT_HISTORY ALL_USER_NAMES ARRAYS_TO_OBJECT AS_ARRAY AS_BINARY
    AS_BOOLEAN AS_CHAR AS_DATE AS_DECIMAL AS_DOUBLE AS_INTEGER AS_NUMBER AS_OBJECT AS_REAL AS_TIME AS_TIMESTAMP_LTZ
    AS_TIMESTAMP_NTZ AS_TIMESTAMP_TZ AS_VARCHAR BUILD_SCOPED_FILE_URL BUILD_STAGE_FILE_URL CLASSIFY_TEXT COMPLETE
    CONDITIONAL_CHANGE_EVENT CONDITIONAL_TRUE_EVENT DATA_METRIC_FUNCTION_REFERENCES DATE_PART EMBED_TEXT_768
    ESTIMATE_REMAINING_DML_TIME EXPLAIN_JSON EXTRACT_ANSWER GENERATE_COLUMN_DESCRIPTION GET_ABSOLUTE_PATH GET_DDL
    GET_LINEAGE GET_OBJECT_REFERENCES GET_PRESIGNED_URL GET_RELATIVE_PATH GET_STAGE_LOCATION H3_CELL_TO_BOUNDARY
    H3_LATLNG_TO_CELL HASH HAVERSINE HLL HLL_ACCUMULATE HLL_COMBINE HLL_ESTIMATE HLL_EXPORT HLL_IMPORT INTERPOLATE_BFILL
    INTERPOLATE_FFILL INTERPOLATE_LINEAR INVOKER_ROLE INVOKER_SHARE IS_BINARY IS_BOOLEAN IS_CHAR
    IS_DATABASE_ROLE_IN_SESSION IS_DATE IS_DATE_VALUE IS_DECIMAL IS_DOUBLE IS_GRANTED_TO_INVOKER_ROLE IS_INTEGER
    IS_OBJECT IS_REAL IS_ROLE_IN_SESSION IS_TIME IS_TIMESTAMP_LTZ IS_TIMESTAMP_NTZ IS_TIMESTAMP_TZ LAST_QUERY_ID
    LAST_TRANSACTION LISTAGG MD5_NUMBER OBJECT_CONSTRUCT_KEEP_NULL OBJECT_CONSTRUCT_KEEP_NULL_STRUCTURED OBJECT_DELETE
    OBJECT_PICK PARSE_XML POLICY_CONTEXT POSITION PROMPT RATIO_TO_REPORT REGEXP SANITIZE_WEBHOOK_CONTENT SENTIMENT
    SPLIT_TO_TABLE STRING_AGG STRTOK_SPLIT_TO_TABLE ST_AREA ST_ASGEOJSON ST_ASTEXT ST_ASWKT ST_BUFFER ST_CENTROID
    ST_CONTAINS ST_GEOGFROMTEXT ST_GEOGRAPHYFROMWKT ST_INTERSECTS ST_LENGTH ST_WITHIN ST_X ST_Y SUMMARIZE TO_OBJECT
    TO_QUERY TO_XML TRY_COMPLETE TRY_PARSE_XML TRY_TO_GEOGRAPHY TRY_TO_GEOMETRY USER XMLGET ZIPF
"""
_FUNCTIONS = frozenset(_MORE.split())


def is_snowflakes(function: str) -> bool:
    """Whether Snowflake has a function of this name, in upper case."""
    return function in Snowflake.Parser.FUNCTIONS or function in _FUNCTIONS


class NotEmulatedError(ProgrammingError):
    """What Snowflake has and the emulator has not."""

    def __init__(self, what: str) -> None:
        super().__init__(msg=f"not emulated: {what}", errno=2, sqlstate="0A000")


def sql_error(errno: int, state: str, message: str) -> ProgrammingError:
    """An error of a statement."""
    return ProgrammingError(msg=message, errno=errno, sqlstate=state)


def _compilation(errno: int, state: str, message: str) -> ProgrammingError:
    return sql_error(errno, state, f"SQL compilation error:\n{message}")


def translated(error: BaseException) -> ProgrammingError | None:
    """Snowflake's error for one of DuckDB's; None where no better one is known than what it says."""
    text = re.sub(r"\b[0-9a-f]{32}\.", "", str(error))  # names of temporary tables, see temporary.py
    if re.search(r"PRIMARY KEY or UNIQUE constraint|foreign key constraint|Duplicate key", text):
        return NotEmulatedError(
            f"rows that break a key, which Snowflake does not enforce: {_first_line(text)}"
        )
    if "Division by zero" in text:
        return sql_error(100051, "22012", "Division by zero")
    if found := re.search(r"Error: not emulated: (.*)", text):
        return NotEmulatedError(found[1])
    if found := re.search(r"Error: (Invalid floating point operation: .*?\))", text):
        return sql_error(100046, "22003", found[1])  # of what number is not known
    if found := re.search(r"Error: (String '.*' is too long and would be truncated)", text, re.DOTALL):
        return sql_error(100078, "22000", found[1])
    if found := re.search(r"Error: (Failed to cast variant value .*)", text, re.DOTALL):
        return sql_error(100071, "22000", found[1])
    if found := re.search(r"Error: (Max LOB size .*)", text):
        return sql_error(100082, "22000", found[1])
    if found := re.search(r"NOT NULL constraint failed: (?:\S*\.)?(\S+)", text):
        return sql_error(
            100072, "22000", f"NULL result in a non-nullable column (NOT NULL constraint failed: {found[1]})"
        )
    if "cannot affect the same target row more than once" in text:
        return sql_error(100090, "42P18", "Duplicate row detected during DML action")
    if isinstance(error, duckdb.OutOfRangeException):
        return sql_error(100046, "22003", f"Number out of representable range: {_first_line(text)}")
    if found := re.search(r"Could not cast value (\S+) to (DECIMAL\(\d+,\d+\))", text):
        return sql_error(100039, "22003", f"Numeric value '{found[1]}' is out of range ({found[2]})")
    if found := re.search(
        r"Could not convert string [\"'](.*)[\"'] to (DECIMAL|INT|BIGINT|DOUBLE|HUGEINT)", text
    ):
        return sql_error(100038, "22018", f"Numeric value '{found[1]}' is not recognized")
    if found := re.search(r"invalid (date|timestamp) field format: \"(.*?)\"", text):
        number = 100040 if found[1] == "date" else 100035
        return sql_error(number, "22007", f"{found[1].title()} '{found[2]}' is not recognized")
    if found := re.search(r"Boolean value '.*' is not recognized", text, re.DOTALL):
        return sql_error(100037, "22018", found[0])
    if found := re.search(r"executing the UDF: \w+: (.*)", text, re.DOTALL):
        said = found[1].strip()
        if said.startswith("not emulated: "):
            return NotEmulatedError(said.removeprefix("not emulated: "))
        if said.startswith("Error parsing URL"):
            return sql_error(100139, "22000", said)
        number, state = (100103, "22000") if "Duplicate field key" in said else (100140, "22007")
        return sql_error(number, state, said)
    if found := re.search(r"Invalid argument types for function '.*?': \(.*?\)", text):
        return _compilation(1044, "42P13", found[0])
    if found := re.search(r"Malformed JSON at byte (\d+) of input: (.*?)\.", text):
        return sql_error(100069, "22P02", f"Error parsing JSON: {found[2]}, pos {found[1]}")
    if "More VIEW aliases than columns" in text:
        return _compilation(2026, "42601", "Invalid column definition list")
    if "can only apply to expressions with the same number of result columns" in text:
        return _compilation(2026, "42601", "Invalid column definition list")
    if found := re.search(r'(?:Values list|Table) "(.+?)" does not have a column named "(.+?)"', text):
        return _compilation(904, "42000", f"invalid identifier '{found[1]}.{found[2]}'")
    if found := re.search(r"(?:has|expected) (\d+) columns but (\d+) values were supplied", text):
        said = f"Insert value list does not match column list expecting {found[1]} but got {found[2]}"
        return _compilation(2020, "21S01", said)
    if isinstance(error, duckdb.CatalogException):
        if found := re.search(r'Existing object "?(.+?)"? is of type (\w+), trying to replace', text):
            return _compilation(1998, "0A000", f"Object '{found[1]}' already exists as {found[2].upper()}")
        if found := re.search(r'Column with name "?(.+?)"? already exists', text):
            return _compilation(2025, "42S21", f"duplicate column name '{found[1]}'")
        if found := re.search(
            r"(?:Scalar|Aggregate|Table|Macro)? ?Function with name \"?(\S+?)\"? does not exist", text
        ):
            name = found[1].upper()
            if is_snowflakes(name) or name.startswith("SYSTEM$"):
                return NotEmulatedError(name)
            return _compilation(2140, "42601", f"Unknown function {name}")
        if found := re.search(
            r"(?:Table|View|Schema|Catalog|Sequence) with name \"?(.+?)\"? does not exist", text
        ):
            return _compilation(2003, "42S02", f"Object '{found[1]}' does not exist or not authorized.")
        if found := re.search(r"(?:Table|View|Schema|Sequence) with name \"?(.+?)\"? already exists", text):
            return _compilation(2002, "42710", f"Object '{found[1]}' already exists.")
    unknown = r"(?:Referenced (?:column|table) |Error: Column |does not have a column (?:with name|named) )\"(.+?)\""
    if found := re.search(rf"{unknown}|Referenced update column (\S+) not found", text):
        return _compilation(904, "42000", f"invalid identifier '{found[1] or found[2]}'")
    if found := re.search(r"Ambiguous reference to column name \"(.+?)\"", text):
        return _compilation(1052, "42000", f"ambiguous column name '{found[1]}'")
    return None


def _first_line(text: str) -> str:
    return re.sub(r"^(Out of Range|Constraint) Error: ", "", text).split("\n")[0]
