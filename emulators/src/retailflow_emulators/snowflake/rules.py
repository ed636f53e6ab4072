"""What marked expressions become, by the types of their operands: DuckDB SQL that gives Snowflake's value and type.

Result types of arithmetic are those of https://docs.snowflake.com/en/sql-reference/operators-arithmetic.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from .errors import NotEmulatedError
from .sqltypes import DIGITS, SqlType

Rule = Callable[[list[str], list[SqlType]], str]
RULES: dict[str, Rule] = {}
DIGITS_64 = 18  # of a number that DuckDB holds in 64 bits
# A text among numbers is read as this, https://docs.snowflake.com/en/sql-reference/data-type-conversion
_READ_TEXT = SqlType("number", 18, 5)
_CLOCK_UNIT = re.compile(r"(?i)hour|minute|second")  # a date and one of these is a timestamp


def split(text: str) -> list[str]:
    """The parts of a list at its commas, but not those inside of parentheses, strings and quoted names."""
    parts, depth, start = [], 0, 0
    for found in re.finditer(r"'(?:[^']|'')*'|\"(?:[^\"]|\"\")*\"|[()\[\]{},]", text):
        if found[0] == "," and not depth:
            parts.append(text[start : found.start()].strip())
            start = found.end()
        elif len(found[0]) == 1:
            depth += 1 if found[0] in "([{" else -1 if found[0] in ")]}" else 0
    return [*parts, text[start:].strip()] if text.strip() else []


def rule(name: str) -> Callable[[Rule], Rule]:
    """Register the rule of the mark ``_SF_<name>``."""

    def register(function: Rule) -> Rule:
        RULES[name] = function
        return function

    return register


def number(text: str, precision: int, scale: int) -> str:
    """A cast to NUMBER."""
    return f"CAST({text} AS DECIMAL({precision}, {scale}))"


def _literal_digits(text: str, type_: SqlType) -> SqlType:
    """The type of a written integer has as many digits as it was written with."""
    if type_.integer and (found := re.fullmatch(r"\(*-?(\d+)\)*", text.replace(" ", ""))):
        return SqlType("number", max(1, len(found[1].lstrip("0"))), integer=True)
    return type_


def _numbers(operands: list[str], types: list[SqlType]) -> tuple[list[str], list[SqlType]] | None:
    """Both operands as exact numbers, or None where one of them is something else."""
    texts, found = [], []
    for text, type_ in zip(operands, types, strict=True):
        type_ = _literal_digits(text, type_)
        if type_.kind == "text":
            text, type_ = number(text, _READ_TEXT.precision, _READ_TEXT.scale), _READ_TEXT
        elif type_.kind == "null":
            text, type_ = number("NULL", 1, 0), SqlType("number", 1, 0)
        elif type_.kind == "number" and type_.integer:
            text, type_ = (
                number(text, min(type_.precision, DIGITS), 0),
                SqlType("number", min(type_.precision, DIGITS)),
            )
        elif type_.kind != "number":
            return None
        texts.append(text)
        found.append(type_)
    return texts, found


def _floats(operands: list[str], types: list[SqlType]) -> list[str]:
    """Operands of which one is a FLOAT: a text among them is read as one."""
    return [
        f"CAST({text} AS DOUBLE)" if type_.kind in ("text", "variant") else text
        for text, type_ in zip(operands, types, strict=True)
    ]


FINITE = "_fs_global._sf_finite("


def _finite(one: str, sign: str, other: str) -> str:
    """A result that may be a FLOAT beyond its range, which is looked at once: what is infinite inside stays so outside."""
    inside, beside = one.removeprefix(FINITE), other.removeprefix(FINITE)
    one = inside[:-1] if inside != one else one
    other = beside[:-1] if beside != other and sign != "/" else other
    return f"{FINITE}({one} {sign} {other}))"


def _sum(sign: str, operands: list[str], types: list[SqlType]) -> str:
    kinds = [type_.kind for type_ in types]
    if "date" in kinds and "number" in kinds:
        days = [
            f"CAST({text} AS INTEGER)" if kind == "number" else text
            for text, kind in zip(operands, kinds, strict=True)
        ]
        return f"({days[0]} {sign} {days[1]})"
    if sign == "-" and "date" in kinds and "text" in kinds:
        one, other = (f"CAST({text} AS DATE)" for text in operands)
        return f"({one} - {other})"
    if sign == "-" and "timestamp" in kinds and set(kinds) <= {"timestamp", "date"}:
        raise NotEmulatedError("INTERVAL as a value")
    if "interval" in kinds:
        texts = [
            f"CAST({text} AS TIMESTAMP)" if kind == "text" else text
            for text, kind in zip(operands, kinds, strict=True)
        ]
        added = f"({texts[0]} {sign} {texts[1]})"
        clock = any(
            _CLOCK_UNIT.search(text) for text, kind in zip(texts, kinds, strict=True) if kind == "interval"
        )
        return f"CAST({added} AS DATE)" if "date" in kinds and not clock else added
    if (
        "float" not in kinds
        and not {"date", "time", "timestamp", "interval", "other"} & set(kinds)
        and (exact := _numbers(operands, types))
    ):
        (one, other), (left, right) = exact
        digits = max(left.leading, right.leading) + max(left.scale, right.scale) + 1
        return f"({_wide(one, left, right, digits)} {sign} {other})"
    if {"float", "variant"} & set(kinds):
        one, other = _floats(operands, types)
        return _finite(one, sign, other)
    return f"({operands[0]} {sign} {operands[1]})"


def _wide(text: str, type_: SqlType, other: SqlType, digits: int) -> str:
    """An operand, made wider where DuckDB would compute a result of more digits than 64 bits hold in 64 bits."""
    if digits > DIGITS_64 >= max(type_.precision, other.precision):
        return number(text, DIGITS_64 + 1, type_.scale)
    return text


@rule("ADD")
def _add(operands: list[str], types: list[SqlType]) -> str:
    return _sum("+", operands, types)


@rule("SUB")
def _subtract(operands: list[str], types: list[SqlType]) -> str:
    return _sum("-", operands, types)


@rule("MUL")
def _multiply(operands: list[str], types: list[SqlType]) -> str:
    exact = _numbers(operands, types)
    if not exact:
        texts = _floats(operands, types)
        return _finite(texts[0], "*", texts[1])
    (one, other), (left, right) = exact
    scale = min(left.scale + right.scale, max(left.scale, right.scale, 12))
    if left.scale + right.scale > DIGITS:
        # DuckDB would need more digits than it has: digits that the result cannot show are given up before.
        one, other = (
            number(text, DIGITS, min(type_.scale, DIGITS // 2))
            for text, type_ in zip((one, other), (left, right), strict=True)
        )
    product = f"({_wide(one, left, right, left.precision + right.precision)} * {other})"
    return product if scale == left.scale + right.scale else number(product, DIGITS, scale)


@rule("DIV")
def _divide(operands: list[str], types: list[SqlType]) -> str:
    exact = _numbers(operands, types)
    if not exact:
        texts = _floats(operands, types)
        divisor = f"_fs_global._sf_divisor(CAST({texts[1]} AS DOUBLE))"
        divided = texts[0] if texts[0].startswith(FINITE) else f"CAST({texts[0]} AS DOUBLE)"
        return _finite(divided, "/", divisor)
    (one, other), (left, right) = exact
    return quotient(one, left, _divisor(other, operands[1]), right)


def quotient(one: str, left: SqlType, other: str, right: SqlType) -> str:
    """An exact division, rounded half away from zero to the scale that Snowflake gives it."""
    scale = max(left.scale, min(left.scale + 6, 12))
    precision = max(min(DIGITS, left.leading + right.scale + scale), scale + 1)
    places = scale - left.scale
    if (
        (power := _power_of_ten(other)) is not None
        and power <= places
        and left.precision + places > DIGITS_64
    ):
        # By a power of ten: a multiplication, which is many times faster.
        unit = number(f"'{10**-power:.{places}f}'", places, places)
        return number(f"({one} * {unit})", DIGITS if precision > DIGITS_64 else precision, scale)
    factor = 10 ** (places + right.scale + 1)
    divided = f"_fs_global._sf_quotient({_unscaled(one, left)}, {_unscaled(other, right)}, {factor}::HUGEINT)"
    if factor < 10**DIGITS_64:
        # Most numbers are small enough for 64 bits, in which DuckDB divides many times faster.
        small = f"{factor}::BIGINT, {(2**63 - 1) // factor}::BIGINT"
        divided = f"_fs_global._sf_small_quotient({_unscaled(one, left)}, {_unscaled(other, right)}, {small})"
    unit = number(f"'{10**-scale:.{scale}f}'", scale, scale)
    return number(f"({number(divided, DIGITS, 0)} * {unit})", precision, scale)


def _power_of_ten(text: str) -> int | None:
    """n where a text is the whole number 10^n, n above 0."""
    found = re.fullmatch(r"CAST\(1(0+) AS DECIMAL\(\d+, 0\)\)", text)
    return len(found[1]) if found else None


def _unscaled(text: str, type_: SqlType) -> str:
    """A number times ten to its scale, as an integer."""
    if not type_.scale:
        return f"CAST({text} AS HUGEINT)"
    if type_.precision + type_.scale <= DIGITS:
        factor = SqlType("number", type_.scale + 1)
        wide = _wide(text, type_, factor, type_.precision + factor.precision)
        return f"CAST({wide} * {number(str(10**type_.scale), factor.precision, 0)} AS HUGEINT)"
    return f"_fs_global._sf_unscaled({text}, {10**type_.scale}::HUGEINT, {number(str(10**type_.scale), type_.scale + 1, 0)})"


@rule("MOD")
def _modulo(operands: list[str], types: list[SqlType]) -> str:
    exact = _numbers(operands, types)
    texts = exact[0] if exact else _floats(operands, types)
    if all(type_.integer for type_ in types):
        texts = operands
    return f"({texts[0]} % {_divisor(texts[1], operands[1])})"


def _divisor(text: str, written: str) -> str:
    """A divisor, which may not be 0; a written number is looked at here."""
    plain = re.fullmatch(r"[\d.]*[1-9][\d.]*", written)
    return text if plain else f"_fs_global._sf_divisor({text})"


@rule("NEG")
def _negate(operands: list[str], types: list[SqlType]) -> str:
    exact = _numbers(operands, types)
    return f"(-{exact[0][0] if exact else operands[0]})"


@rule("NUM")
def _summand(operands: list[str], types: list[SqlType]) -> str:
    """An argument of an aggregate of numbers: texts are read as FLOAT."""
    return f"CAST({operands[0]} AS DOUBLE)" if types[0].kind in ("text", "variant") else operands[0]


@rule("AVG")
def _average(operands: list[str], types: list[SqlType]) -> str:
    """From the sum and the count of an argument; an average of exact numbers has the type of their division."""
    total, count = operands
    if types[0].kind != "number":
        return f"({total} / NULLIF({count}, 0))"
    return number(
        quotient(total, types[0], f"NULLIF({count}, 0)", SqlType("number", 19)),
        DIGITS,
        max(types[0].scale, min(types[0].scale + 6, 12)),
    )


@rule("KEEPDATE")
def _keep_date(operands: list[str], types: list[SqlType]) -> str:
    """A result that is a date where the operand is one: DuckDB makes a timestamp of it."""
    return f"CAST({operands[0]} AS DATE)" if types[1].kind == "date" else operands[0]


@rule("TOCHAR")
def _to_char(operands: list[str], types: list[SqlType]) -> str:
    from .formats import strftime_format

    value, template = operands
    if types[0].kind == "text":
        # Snowflake reads a text as a timestamp when a format of one follows.
        return f"_sf_time_text(CAST({value} AS TIMESTAMP), {template})"
    if types[0].kind in ("date", "time", "timestamp"):
        value = f"(DATE '1970-01-01' + {value})" if types[0].kind == "time" else value
        literal = re.fullmatch(r"'((?:[^']|'')*)'", template)
        known = strftime_format(literal[1].replace("''", "'")) if literal else None
        if known is None:
            return f"_sf_time_text(CAST({value} AS TIMESTAMP), {template})"
        return f"STRFTIME({value}, '{known.replace(chr(39), chr(39) * 2)}')"
    return f"_sf_number_text(CAST({value} AS VARCHAR), {template})"


@rule("INT")
def _integer(operands: list[str], types: list[SqlType]) -> str:
    """An argument that counts something: a fraction is rounded, half away from zero."""
    value = {"float": f"ROUND({operands[0]})", "text": number(operands[0], DIGITS, DIGITS_64)}
    return (
        operands[0] if types[0].kind == "null" else f"CAST({value.get(types[0].kind, operands[0])} AS BIGINT)"
    )


@rule("WHOLE")
def _whole(operands: list[str], types: list[SqlType]) -> str:
    """CEIL and FLOOR of a whole number are that number, and no FLOAT."""
    return operands[1] if types[1].integer else operands[0]


@rule("PLACES")
def _places(operands: list[str], types: list[SqlType]) -> str:
    """CEIL and FLOOR to a number of decimals are exact where their argument is."""
    _, value, decimals, rounded = operands
    type_ = types[1]
    if type_.kind != "number" or int(decimals) >= type_.scale:
        return value if type_.kind == "number" else rounded
    function = re.match(r"\(*(CEIL|FLOOR)", operands[0])
    assert function
    scale = int(decimals)
    unit = number(f"'{10**-scale:.{scale}f}'", scale + 1, scale)
    scaled = f"{function[1]}({number(value, DIGITS, type_.scale)} * {number(str(10**scale), scale + 1, 0)})"
    return number(f"({number(scaled, DIGITS - scale - 1, 0)} * {unit})", DIGITS, scale)


MORE_DIGITS = 3  # of a median behind the point, https://docs.snowflake.com/en/sql-reference/functions/median


@rule("MIDDLE")
def _middle(operands: list[str], types: list[SqlType]) -> str:
    """The argument of a median, which may lie between two numbers."""
    type_ = types[0]
    if type_.kind in ("text", "variant"):
        return f"CAST({operands[0]} AS DOUBLE)"
    if type_.kind != "number":
        return operands[0]
    return number(
        operands[0], min(type_.precision + MORE_DIGITS, DIGITS), min(type_.scale + MORE_DIGITS, DIGITS)
    )


_JSON_TYPES = {"UBIGINT": "INTEGER", "BIGINT": "INTEGER", "DOUBLE": "DECIMAL", "NULL": "NULL_VALUE"}


@rule("TYPEOF")
def _typeof(operands: list[str], types: list[SqlType]) -> str:
    """What a VARIANT holds, https://docs.snowflake.com/en/sql-reference/functions/typeof"""
    known = "".join(f" WHEN '{theirs}' THEN '{ours}'" for theirs, ours in _JSON_TYPES.items())
    found = f"JSON_TYPE(CAST({operands[0]} AS JSON))"
    return f"CASE {found}{known} ELSE {found} END"
