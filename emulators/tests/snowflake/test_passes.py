"""Passes that are left out change nothing: the statements of tests and dbt, against all of upstream's passes."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from fakesnow.cursor import FakeSnowflakeCursor
from fakesnow.dialect import parse_one
from fakesnow.variables import Variables
from sqlglot import exp

from retailflow_emulators.snowflake import databases, flattening, passes, patches, rewrites, variants

ROOT = Path(__file__).parents[3]
_STATEMENT = re.compile(
    r"\s*(select|with|create|insert|update|delete|merge|copy|show|describe|alter|drop|use|set|unset|comment|truncate|list|put)\s",
    re.IGNORECASE,
)
# One for each pass that no other statement concerns, and what upstream's passes look for in odd places.
MORE = (
    "select haversine(1, 2, 3, 4), x'4142', sha2('a'), sha2_hex('a'), sha2_binary('a', 512), random()",
    "select random(5), current_version()",
    "select to_date('2026-01-01')",
    "select '2026-01-01 10:00:00 +09:00'::timestamp_tz, to_timestamp(1), to_timestamp_ntz(a), a::timestamp_ntz",
    "select s.nextval, s.nextval as n, trim(1), ltrim(a, 'x'), a[0]::varchar, a['b.c'], upper(v:a), v:a::text, v:a::timestamp",
    "select array_agg(a) within group (order by b), array_agg(a) over (partition by b), object_agg(k, v), array_cat(a, b) from t",
    "select object_construct('a', 1), object_construct(*), object_construct_keep_null('a', null), [1, 2], array_size(a) from t",
    "select object_construct('a', a) as o from t where o is not null",
    "select a as x from t join u on x where x = 1",
    "select regexp_replace(a, 'b'), regexp_substr(a, 'b', 1, 2, 'e'), split(a, ','), try_parse_json(a), to_variant(a) from t",
    "select dateadd(day, 1, '2026-01-01'), datediff(day, '2026-01-01', a), to_decimal(a, 10, 2), try_to_number(a) from t",
    "select * from t sample (10)",
    "select * from values (1, 2)",
    "select value::varchar from t, lateral flatten(input => t.a)",
    "select * from identifier('t'), table(result_scan('a')), db.information_schema.columns, information_schema.databases",
    "create table t (a float, b varchar(3), c int, d variant, e timestamp_ntz) comment = 'c'",
    "create table t (a int) as select 1 as a",
    "create table t clone u",
    "create database d",
    "create stage s",
    "create file format f type = csv",
    "create tag x",
    "drop schema s",
    "alter table t cluster by (a)",
    "alter table t set tag a = 'b'",
    "alter table t drop clustering key",
    "alter table t alter a comment 'c', b comment 'd'",
    "alter session set autocommit = false",
    "comment on table t is 'c'",
    "use schema s",
    "use role r",
    "set a = 1",
    "unset a",
    "list @s",
    "put file:///tmp/a @s",
    "show users",
    "show user functions",
    "show parameters",
    "show terse tables in schema s",
    "show primary keys in t",
)


def written() -> Iterator[str]:
    """Statements in the tests, the expressions of values.txt, and the models of the dbt project without their Jinja."""
    yield from MORE
    for file in sorted(Path(__file__).parents[1].rglob("*.py")):
        for node in ast.walk(ast.parse(file.read_text())):
            if (
                isinstance(node, ast.Constant)
                and isinstance(node.value, str)
                and _STATEMENT.match(node.value)
            ):
                yield node.value
    for line in Path(__file__).with_name("values.txt").read_text().splitlines():
        if " => " in line:
            yield f"select {line.partition(' => ')[0]} as x"
    for file in sorted((ROOT / "dbt").glob("models/**/*.sql")):
        yield re.sub(r"\{\{.*?\}\}", "x", re.sub(r"\{[%#].*?[%#]\}", "", file.read_text(), flags=re.DOTALL))


@cache
def statements() -> tuple[str, ...]:
    """One statement for each set of things that passes look for."""
    patches.apply()
    assert databases.open_instance, "imported for the patches of all modules"
    found: dict[frozenset[Any], str] = {}
    for statement in written():
        try:
            tree = parse_one(statement)
        except Exception:  # what is no statement by itself
            continue
        found.setdefault(frozenset(passes.Tree(tree)._there()), statement)
    return tuple(found.values())


def outcome(change: Callable[..., Any], *arguments: Any) -> str:
    """What a change makes of a tree, or the error."""
    try:
        made = change(*arguments)
        # Upstream notes the time at which a stage or a format is made.
        return re.sub(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d+", "now", repr(getattr(made, "tree", made)))
    except Exception as error:
        return f"{type(error).__name__}: {error}"


def cursor() -> Any:
    place = SimpleNamespace(
        variables=Variables(), database="DB", schema="S", db_path=None, table_stages=None, _autocommit=True
    )
    return SimpleNamespace(_conn=place, _duck_conn=None)


def test_there_are_a_few_hundred() -> None:
    assert len(statements()) > 250


def test_a_pass_that_is_left_out_would_change_nothing() -> None:
    upstream: Any = FakeSnowflakeCursor._transform
    for statement in statements():
        expected = outcome(upstream, cursor(), parse_one(statement), None)
        assert outcome(upstream, cursor(), passes.Tree(parse_one(statement)), None) == expected, statement


def test_every_pass_of_upstream_is_known_and_concerned_by_a_statement(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    seen, ran = set(), set()
    transform = passes.Tree.transform

    def noted(self: passes.Tree, pass_: Any, **settings: Any) -> passes.Tree:
        name = passes.name_of(pass_)
        seen.add(name)
        if any(need in self._there() for need in passes.NEEDS.get(name, ())):
            ran.add(name)
        return transform(self, pass_, **settings)

    monkeypatch.setattr(passes.Tree, "transform", noted)
    upstream: Any = FakeSnowflakeCursor._transform
    for statement in MORE:
        outcome(upstream, cursor(), passes.Tree(parse_one(statement)), None)
    assert seen == {*passes.NEEDS, "upper_case_unquoted_identifiers"}
    # What sqlglot reads in another way today, so that nothing is left for the pass.
    idle = {"try_parse_json", "to_date", "float_to_double"}
    assert ran | idle == {name for name, needs in passes.NEEDS.items() if needs}


def test_a_rewrite_of_ours_leaves_other_kinds_as_they_are() -> None:
    def everywhere(expression: exp.Expr) -> exp.Expr:
        variants.note_values(expression)
        for one in rewrites.PASSES:
            for node in reversed(list(expression.walk())):
                changed = one(node)
                if node is expression:
                    expression = changed
                elif changed is not node:
                    node.replace(changed)
        return expression

    for statement in statements():
        made = [
            outcome(apply, flattening.in_order(parse_one(statement)))
            for apply in (everywhere, rewrites.apply)
        ]
        assert made[0] == made[1], statement


def test_the_server_starts_without_what_it_does_not_use() -> None:
    loaded = "import sys, retailflow_emulators.snowflake.__main__; print(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", loaded], capture_output=True, text=True, check=True
    )
    modules = done.stdout.split()
    assert "fakesnow.server" in modules
    assert not {"pandas", "boto3", "botocore", "keyring"} & set(modules)
