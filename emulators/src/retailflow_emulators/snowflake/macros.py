"""Macros and functions in DuckDB that rules and rewrites call, in the catalog that every session sees."""

from __future__ import annotations

from typing import Any

import duckdb

from . import conversions, domains, flattening, functions, moments, printing, semistructured, variants
from .formats import number_text, time_text

# Months between: https://docs.snowflake.com/en/sql-reference/functions/months_between; its type, six places, is in the example
# of Snowpark's functions.months_between.
_MACROS = """
create or replace macro {catalog}._sf_divisor(b) as
    case when b = 0 then error('Division by zero') else b end;
create or replace macro {catalog}._sf_unscaled(a, factor, exact) as
    (cast(trunc(a) as hugeint) * factor + cast((a - trunc(a)) * exact as hugeint));
create or replace macro {catalog}._sf_rounded(q) as
    (q + case when q < 0 then -5 else 5 end) // 10;
create or replace macro {catalog}._sf_quotient(a, b, factor) as
    {catalog}._sf_rounded(case when abs(a) < 170141183460469231731687303715884105727 // factor then (a * factor) // b
    else (a // b) * factor + ((a % b) * factor) // b end);
create or replace macro {catalog}._sf_small_quotient(a, b, factor, limit_) as
    case when a between -limit_ and limit_ and b between -limit_ and limit_
    then cast({catalog}._sf_rounded((cast(a as bigint) * factor) // cast(b as bigint)) as hugeint)
    else {catalog}._sf_quotient(a, b, cast(factor as hugeint)) end;
create or replace macro {catalog}._sf_months_between(a, b) as
    cast((year(a) - year(b)) * 12 + month(a) - month(b) + case
        when day(a) = day(b) or (cast(a as date) = last_day(a) and cast(b as date) = last_day(b)) then 0
        else (day(a) - day(b)
            + (epoch(a) - epoch(date_trunc('day', a)) - epoch(b) + epoch(date_trunc('day', b))) / 86400) / 31
    end as decimal(38, 6));
create or replace macro {catalog}._sf_sized(t, longest) as
    case when length(t) > longest then error('String ''' || t || ''' is too long and would be truncated') else t end;
create or replace macro {catalog}._sf_octets(x) as case typeof(x) when 'BLOB' then octet_length(try_cast(x as blob))
    else strlen({catalog}._sf_text(x)) end;
create or replace macro {catalog}._sf_try_sized(t, longest) as
    case when length(t) <= longest then t end;
"""


def create(connection: duckdb.DuckDBPyConnection) -> None:
    """Make what the rules call."""
    for name, function in {"_sf_number_text": number_text, "_sf_time_text": time_text}.items():
        kinds: list[Any] = ["TIMESTAMP" if name == "_sf_time_text" else "VARCHAR", "VARCHAR"]
        connection.create_function(name, function, kinds, "VARCHAR")  # type: ignore[call-overload]
    functions.create(connection, "_fs_global")
    moments.create(connection, "_fs_global")
    variants.create(connection, "_fs_global")
    flattening.create(connection, "_fs_global")
    printing.create(connection, "_fs_global")
    semistructured.create(connection, "_fs_global")
    conversions.create(connection, "_fs_global")
    domains.create(connection, "_fs_global")
    connection.execute(_MACROS.format(catalog="_fs_global"))
