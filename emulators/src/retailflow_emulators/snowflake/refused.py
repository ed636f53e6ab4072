"""What Snowflake has and the emulator has not: refused with "not emulated: …", never accepted in silence."""

from __future__ import annotations

import re

from sqlglot import exp

from . import indenting
from .errors import NotEmulatedError, sql_error

_CREATE = r"create\s+(or\s+replace\s+)?"
_OBJECTS = "stream task pipe alert dynamic_table external_table iceberg_table event_table hybrid_table materialized_view"
_STATEMENTS = {
    _CREATE
    + r"(temp\w*\s+|secure\s+|aggregate\s+|external\s+)*(function|procedure)": "functions and procedures of users",
    r"(drop|alter|describe|desc)\s+(function|procedure)": "functions and procedures of users",
    r"(describe|desc)\s+(stage|file\s+format)": "DESCRIBE of a stage or a file format",
    r"call": "procedures",
    _CREATE + "(" + "|".join(_OBJECTS.split()).replace("_", r"\s+") + ")": "this kind of object",
    r"undrop": "time travel",
    r"explain": "EXPLAIN: the plans of Snowflake's optimizer are not known here",
    r"alter\s+(session|user\s+\S+|account)\s+set\b.*\btransaction_abort_on_error\s*=\s*true": "TRANSACTION_ABORT_ON_ERROR",
    r"alter\s+(user\s+\S+|account)\s+(un)?set\b.*\bjson_indent": "JSON_INDENT of a user or an account",
    r"execute\s+immediate|begin\s+(?!transaction|work|name)\w|declare": "Snowflake Scripting",
}
_PATTERNS = [
    (re.compile(rf"\s*({pattern})\b", re.IGNORECASE | re.DOTALL), what)
    for pattern, what in _STATEMENTS.items()
]
_FUNCTIONS = {
    "HASH": "HASH: Snowflake's values of it are not known",
    "GET_DDL": "GET_DDL",
    "HASH_AGG": "HASH_AGG: Snowflake's values of it are not known",
}
# https://docs.snowflake.com/en/sql-reference/intro-summary-data-types; a structured type would keep its elements' types.
_TYPES = {
    exp.DType.GEOGRAPHY: "GEOGRAPHY",
    exp.DType.GEOMETRY: "GEOMETRY",
    exp.DType.VECTOR: "VECTOR",
    exp.DType.FILE: "FILE",
    exp.DType.UUID: "UUID",
    exp.DType.INTERVAL: "INTERVAL as a type",
    exp.DType.MAP: "MAP",
    exp.DType.ARRAY: "ARRAY of a type",
    exp.DType.OBJECT: "OBJECT of types",
}
_UNSTRUCTURED = (exp.DType.ARRAY, exp.DType.OBJECT)
# Parameters that change what statements answer, and the values that they have here,
# https://docs.snowflake.com/en/sql-reference/parameters
_ZONED = "YYYY-MM-DD HH24:MI:SS.FF3 TZHTZM"
_PARAMETERS: dict[str, tuple[str, ...]] = {
    "TIMEZONE": ("UTC", "ETC/UTC", "GMT", "ETC/GMT"),
    "WEEK_START": ("0", "1"),
    "WEEK_OF_YEAR_POLICY": ("0",),
    "DATE_INPUT_FORMAT": ("AUTO",),
    "DATE_OUTPUT_FORMAT": ("YYYY-MM-DD", "AUTO"),
    "TIME_INPUT_FORMAT": ("AUTO",),
    "TIME_OUTPUT_FORMAT": ("HH24:MI:SS", "AUTO"),
    "TIMESTAMP_INPUT_FORMAT": ("AUTO",),
    "TIMESTAMP_OUTPUT_FORMAT": (_ZONED,),
    "TIMESTAMP_NTZ_OUTPUT_FORMAT": ("YYYY-MM-DD HH24:MI:SS.FF3", ""),
    "TIMESTAMP_TZ_OUTPUT_FORMAT": (_ZONED, ""),
    "TIMESTAMP_LTZ_OUTPUT_FORMAT": (_ZONED, ""),
    "TIMESTAMP_TYPE_MAPPING": ("TIMESTAMP_NTZ",),
    "TIMESTAMP_DAY_IS_ALWAYS_24H": ("FALSE",),
    "BINARY_INPUT_FORMAT": ("HEX",),
    "BINARY_OUTPUT_FORMAT": ("HEX",),
    "QUOTED_IDENTIFIERS_IGNORE_CASE": ("FALSE",),
    "TWO_DIGIT_CENTURY_START": ("1970",),
    "ROWS_PER_RESULTSET": ("0",),
    "DEFAULT_NULL_ORDERING": ("LAST",),
    "ERROR_ON_NONDETERMINISTIC_MERGE": ("TRUE",),
    "JSON_INDENT": tuple(map(str, range(indenting.MOST + 1))),
    "STRICT_JSON_OUTPUT": ("FALSE", "TRUE"),  # what is written here is always standard JSON
    "SEARCH_PATH": ("$CURRENT, $PUBLIC",),
}
# The others that a session has, and the beginnings of those that clients and the product set for themselves.
_WITHOUT_EFFECT = """
    ABORT_DETACHED_QUERY ACTIVE_PYTHON_PROFILER AUTOCOMMIT AUTOCOMMIT_API_SUPPORTED AUTO_EVENT_LOGGING CSV_TIMESTAMP_FORMAT
    ERROR_ON_NONDETERMINISTIC_UPDATE GEOGRAPHY_OUTPUT_FORMAT GEOMETRY_OUTPUT_FORMAT HYBRID_TABLE_LOCK_TIMEOUT
    JS_TREAT_INTEGER_AS_BIGINT LOCK_TIMEOUT LOG_LEVEL METRIC_LEVEL MULTI_STATEMENT_COUNT NOORDER_SEQUENCE_AS_DEFAULT QUERY_TAG
    S3_STAGE_VPCE_DNS_NAME SIMULATED_DATA_SHARING_CONSUMER STATEMENT_QUEUED_TIMEOUT_IN_SECONDS STATEMENT_TIMEOUT_IN_SECONDS
    TRACE_LEVEL TRANSACTION_ABORT_ON_ERROR TRANSACTION_DEFAULT_ISOLATION_LEVEL UNSUPPORTED_DDL_ACTION USE_CACHED_RESULT
    USE_WORKSPACES_FOR_SQL
"""
_OF_CLIENTS = ("CLIENT_", "ENABLE_", "JDBC_", "ODBC_", "PYTHON_", "SNOWPARK_")
_SET = re.compile(r"alter\s+(?:session|account|user\s+\S+)\s+set\s+(.*)", re.IGNORECASE | re.DOTALL)
_SESSION = re.compile(r"alter\s+session\s+(set|unset)\s+(.*)", re.IGNORECASE | re.DOTALL)
_GIVEN = re.compile(r"([a-z_]+)\s*=\s*('(?:[^']|'')*'|[^\s,;]+)", re.IGNORECASE)


def check_parameters(given: dict[str, object]) -> None:
    """Refuse a parameter whose value would change answers, which stay the same here."""
    for name, value in given.items():
        known = _PARAMETERS.get(name.upper())
        if known is not None and str(value).strip("'").upper() not in known:
            raise NotEmulatedError(f"the parameter {name.upper()} = {value}: only {' or '.join(known)}")


def _check_names(action: str, text: str) -> None:
    """Refuse a parameter that no session has, https://docs.snowflake.com/en/sql-reference/sql/alter-session"""
    unset = action.lower() == "unset"
    names = re.findall(r"[\w$]+", text) if unset else [name for name, _ in _GIVEN.findall(text)]
    for name in (one.upper() for one in names):
        if (
            name not in _PARAMETERS
            and name not in _WITHOUT_EFFECT.split()
            and not name.startswith(_OF_CLIENTS)
        ):
            said = f"SQL compilation error:\ninvalid property '{name}' for 'SESSION'"
            raise sql_error(1420, "22023", said)


def check(command: str) -> None:
    """Refuse a statement by its first words."""
    if found := _SESSION.match(command):
        _check_names(found[1], found[2])
    if found := _SET.match(command):
        check_parameters(dict(_GIVEN.findall(found[1])))
    for pattern, what in _PATTERNS:
        if pattern.match(command):
            raise NotEmulatedError(what)


def _around(node: exp.Expr) -> exp.Expr | None:
    """What an expression is in, its parentheses left out."""
    outer = node.parent
    while isinstance(outer, exp.Paren):
        outer = outer.parent
    return outer


def _check_type(node: exp.DataType) -> None:
    plain = node.this in _UNSTRUCTURED and not node.expressions
    what = "INTERVAL as a type" if isinstance(node.this, exp.Interval) else _TYPES.get(node.this)
    if what and not plain:
        raise NotEmulatedError(what)


# https://docs.snowflake.com/en/sql-reference/functions-date-time#supported-date-and-time-parts; DuckDB has some more.
_MORE_UNITS = ("DECADE", "CENTURY", "MILLENNIUM", "MILLENNIA", "ERA", "ISOYEAR")


def _check_unit(node: exp.Expr) -> None:
    unit = node.args.get("unit")
    if isinstance(unit, (exp.Literal, exp.Var)) and unit.name.upper().rstrip("S") in _MORE_UNITS:
        said = f"'{unit.name.upper()}' is not a valid date/time component for function DATE_TRUNC"
        raise sql_error(2151, "22023", f"SQL compilation error:\n{said}")


def check_tree(expression: exp.Expr) -> None:
    """Refuse what a statement asks for anywhere."""
    for node in expression.walk():
        name = str(node.this).upper() if isinstance(node, exp.Anonymous) else ""
        if name in _FUNCTIONS:
            raise NotEmulatedError(_FUNCTIONS[name])
        if isinstance(node, exp.DataType):
            _check_type(node)
        if isinstance(node, (exp.DateTrunc, exp.TimestampTrunc)):
            _check_unit(node)
        if isinstance(node, exp.Interval) and isinstance(_around(node), (exp.Select, exp.Alias)):
            raise NotEmulatedError("INTERVAL as a value")
        if isinstance(node, exp.When) and node.args.get("source"):
            # https://docs.snowflake.com/en/sql-reference/sql/merge has no such clause
            raise sql_error(1003, "42000", "SQL compilation error:\nsyntax error unexpected 'BY'.")
        if isinstance(node, exp.Generator) and not node.args.get("rowcount"):
            raise NotEmulatedError("GENERATOR without ROWCOUNT")
        if isinstance(node, exp.TableSample) and not isinstance(node.parent, (exp.Table, exp.Subquery)):
            raise NotEmulatedError("SAMPLE of a table function")
        if isinstance(node, exp.MatchRecognize):
            raise NotEmulatedError("MATCH_RECOGNIZE")
        if isinstance(node, exp.Pivot) and node.find(exp.PivotAny):
            raise NotEmulatedError("PIVOT … IN (ANY): name the values")
        if (
            isinstance(node, exp.Table)
            and isinstance(node.this, exp.Var)
            and node.name.startswith("@")
            and not node.find_ancestor(exp.Copy)
        ):
            raise NotEmulatedError("SELECT from a stage: COPY INTO a table first")
        if isinstance(node, exp.Table) and (
            node.args.get("when") or node.args.get("changes") or node.args.get("version")
        ):
            raise NotEmulatedError("time travel")
