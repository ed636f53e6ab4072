"""Cursors: upstream's, with the rules of this package for what a statement means."""

from __future__ import annotations

import contextlib
import sys
import uuid
from collections.abc import Callable
from datetime import datetime
from typing import TYPE_CHECKING, Any

import duckdb
import pyarrow as pa
from fakesnow import transforms
from fakesnow.cursor import FakeSnowflakeCursor
from fakesnow.expr import key_command
from fakesnow.transforms.merge import operations
from snowflake.connector.errors import ProgrammingError
from sqlglot import exp

from . import (
    batches,
    columntypes,
    comments,
    context,
    creation,
    domains,
    flattening,
    grouping,
    indenting,
    intervals,
    keys,
    lengths,
    merges,
    metadata,
    moments,
    names,
    objects,
    parsing,
    passes,
    printing,
    refused,
    renames,
    resolution,
    rewrites,
    stages,
    tables,
    temporary,
    variants,
    written,
)
from .access import showing, visibility
from .access.model import Key
from .access.needed import path
from .errors import NotEmulatedError, sql_error, translated
from .quoting import identifier, literal, quote_keywords
from .text import bare, statements, with_variables

if TYPE_CHECKING:
    from .session import Session

UPSTREAM_HAS_NOT = 9999  # the code of upstream's errors for what it does not know
KEPT = 64  # results whose columns are remembered


def _array(values: tuple[Any, ...]) -> pa.Array:
    """A column of a SHOW."""
    kinds = {type(value) for value in values if value is not None}
    if kinds == {int}:
        return pa.array(values, pa.int64())
    if kinds == {datetime}:
        return pa.array(values, pa.timestamp("us", "UTC"))
    return pa.array(values, pa.string())


class Cursor(FakeSnowflakeCursor):
    """Runs statements as Snowflake would."""

    _conn: Session
    _duck_conn: Any
    _last_sql: Any
    _last_params: Any
    _last_transformed: Any
    _rowcount: Any
    _sfqid: Any
    _arrow_table: Any
    _lengths: lengths.Lengths
    _rules: creation.Rules

    def execute(self, command: str, params: Any = None, *args: Any, **settings: Any) -> Cursor:
        """Run a statement; ProgrammingError has Snowflake's code where it is known."""
        self._rows: batches.Rows | None = None
        if isinstance(bound := next(iter(settings.get("binding_params") or ()), None), batches.Rows):
            self._rows, settings["binding_params"] = bound, bound.sample
        several = statements(command) if self._conn.several else []
        if len(several) > 1:
            for one in several:
                self.execute(one, params, *args, **settings)
            return self
        self._written = command
        command = self._command = intervals.plain(temporary.plain(command))
        self._checked = False
        self._show: tuple[Any, ...] | None = None
        self._written_before = len(self._duck_conn.written)
        self._read: str | None = None  # the statement with its variables, where it was parsed
        self._lengths, self._rules = {}, creation.Rules()  # a statement that is run as it was read gives none
        with contextlib.ExitStack() as self._running:
            self._statement(command, params, *args, **settings)
        return self

    def _statement(self, command: str, params: Any = None, *args: Any, **settings: Any) -> None:
        try:
            text = bare(command)
            refused.check(text)
            parsing.check_count(command)
            if (width := indenting.asked(text)) is not None:
                self._conn.json_indent = width
            if not self._about_account(text) and not self._commented(text):
                super().execute(command, params, *args, **settings)
                if self._show:
                    self._hide(*self._show)
        except duckdb.Error as error:
            raise grouping.explained(error, self._read) or translated(error) or error from error
        except ProgrammingError as error:
            cause = error.__cause__ or error.__context__
            if error.errno == UPSTREAM_HAS_NOT:
                raise NotEmulatedError(str(cause or error.raw_msg)) from cause
            known = (
                grouping.explained(cause, self._read) or translated(cause)
                if isinstance(cause, duckdb.Error)
                else None
            )
            raise known or error from cause
        except (NotImplementedError, ValueError) as error:
            raise NotEmulatedError(f"{error}") from error
        finally:
            failed = self._duck_conn.written[self._written_before :] if sys.exc_info()[0] else []
            if failed:
                del self._duck_conn.written[self._written_before :]
            self._duck_conn.recover(undo=bool(failed))
            self._duck_conn.hide()
            self._conn.about.queries.append(self._sfqid or "")
            if self._sfqid:
                self._conn.guard.gate.remember_result(self._sfqid, self._conn.guard.who.user)

    def _about_account(self, command: str) -> bool:
        """Run a statement about roles, warehouses, users and grants; returns whether it was one."""
        nothing = exp.Command(this="SELECT")
        if (shown := metadata.query(command, self._conn)) is not None:
            self._last_sql = shown
            self._arrow_table = self._duck_conn.execute(shown).to_arrow_table()
            self._rowcount = self._arrow_table.num_rows
            self._keep(nothing)
            self._describe()
            return True
        answer = self._conn.guard.command(command)
        if isinstance(answer, showing.Table):
            self._answer_table(nothing, answer)
        elif answer is not None:
            self._answer(nothing, answer)
        return answer is not None

    def _answer_table(self, transformed: exp.Expr, answer: showing.Table) -> None:
        """Answer with rows."""
        columns = list(zip(*answer.rows, strict=True)) or [()] * len(answer.columns)
        table = pa.table([_array(column) for column in columns], names=answer.columns)
        connection = self._duck_conn._connection
        connection.register("_sf_shown", table)
        try:
            self._last_sql = "select * from _sf_shown"
            self._arrow_table = self._duck_conn.execute(self._last_sql).to_arrow_table()
        finally:
            connection.unregister("_sf_shown")
        self._rowcount = self._arrow_table.num_rows
        self._keep(transformed)
        self._describe()

    def _hide(self, what: str, rules: Any) -> None:
        """Take from the answer of a SHOW what the role may not see."""
        if self._arrow_table is None:
            return
        if what == "STAGES":
            self._arrow_table = stages.shown(self._arrow_table)
        self._arrow_table = visibility.filtered(self._arrow_table, what, self._conn.guard, rules, self._count)
        self._rowcount = self._arrow_table.num_rows
        described = self._conn.described.get(self._sfqid or "")
        if described and self._sfqid:
            new = self._arrow_table.column_names[len(described) :]
            self._conn.described[self._sfqid] = [*described, *((name, "VARCHAR") for name in new)]
        kept = self._conn.results_cache.get(self._sfqid)
        if kept:
            self._conn.results_cache[self._sfqid] = (self._arrow_table, self._rowcount, *kept[2:])

    def _count(self, key: Key) -> int:
        """The number of rows of a table."""
        sql = f"select count(*) from {'.'.join(map(identifier, key[1:]))}"
        ((rows,),) = self._duck_conn.execute(sql).fetchall()
        return int(rows)

    def check_db_and_schema(self, expression: exp.Expr) -> None:
        """Upstream's look at names, which ``_check`` does better: names may still stand in IDENTIFIER()."""

    def _check(self, expression: exp.Expr) -> None:
        """Refuse a statement that the session may not run; from here on it runs on a warehouse if it needs one."""
        self._checked = True
        guard = self._conn.guard
        try:
            self._running.enter_context(guard.running(guard.check(self._command, expression, self._written)))
        except ProgrammingError as error:
            if error.errno in (90105, 90106):
                said = str(error.raw_msg).replace("perform operation", f"perform {key_command(expression)}")
                raise sql_error(error.errno, "22000", said) from None
            raise

    def _commented(self, command: str) -> bool:
        """Run a statement that comments columns; returns whether it was one."""
        table = comments.table_of(command)
        found = comments.statements(command, self._conn) if table else []
        if table and found:
            self._conn.guard.check_table(path(table), "OWNERSHIP")
        for statement in found:
            self._duck_conn.execute(statement)
        if found:
            self._answer(exp.Command(this="SELECT"), "Statement executed successfully.")
        return bool(found)

    def _inline_variables(self, sql: str) -> str:
        self._read = with_variables(sql, self._conn.variables._variables)
        return self._read

    def _transform_explode(self, expression: exp.Expr) -> list[exp.Expr]:
        refused.check_tree(expression)
        bound = isinstance(expression, exp.Put) and expression.args["target"].name == "?"
        if not bound and ("identifier" not in self._command.lower() or not parsing.asks_for_name(expression)):
            named = expression.transform(lambda node: transforms.identifier(node, None), copy=False)
            expression = named
            self._check(expression)
        if isinstance(expression, exp.Show):
            self._show = expression.name.upper(), visibility.without_limit(expression)
        names.name_columns(expression, self._command)
        names.forget_places(expression)
        if isinstance(expression, exp.Merge):
            return [expression]
        found: list[exp.Expr] = super()._transform_explode(expression)
        if isinstance(expression, exp.Insert) and len(found) > 1 and not self._duck_conn.in_transaction:
            self._duck_conn.begin()  # INSERT OVERWRITE: two statements of DuckDB, both or none
            self._running.push(self._end)
        return found

    def _end(self, kind: type[BaseException] | None, *_: object) -> None:
        """End the transaction of one statement."""
        if kind is None:
            self._duck_conn.commit()
        else:
            self._duck_conn.rollback()
            self._duck_conn.enter(False)

    def _transform(self, expression: exp.Expr, params: Any) -> exp.Expr:
        refused.check_tree(expression)
        expression = expression.transform(lambda node: transforms.identifier(node, params), copy=False)
        if isinstance(expression, exp.Put) and expression.args["target"].name == "?" and params:
            expression.set("target", exp.var(str(params.pop())))
        if not self._checked:
            self._check(expression)
        expression = visibility.rewritten(expression, self._conn.guard)
        expression = stages.encoded(expression, self._conn, params)
        expression = temporary.renamed(expression, self._conn)
        expression = tables.read(context.answer(expression, self._conn), self._conn, params)
        moments.check_written(expression, self._conn)
        expression = written.as_texts(expression, self._conn, params)
        self._lengths = lengths.given(expression, self._conn)
        self._rules = creation.typed(expression)
        expression = keys.unenforced(expression)
        expression = rewrites.apply(flattening.in_order(expression))
        passed: Any = super()._transform(passes.Tree(expression), params)  # type: ignore[arg-type]
        transformed: exp.Expr = quote_keywords(printing.in_json(passed.tree))
        if self._lengths and isinstance(transformed, exp.Create):
            sized = {**dict(transformed.args.get("text_lengths") or []), **self._lengths}
            transformed.args["text_lengths"] = list(sized.items())
        return merges.native(transformed) if isinstance(transformed, exp.Merge) else transformed

    def _execute(self, transformed: exp.Expr, params: Any = None) -> None:
        kind = str(transformed.args.get("kind")).upper()
        changes = isinstance(transformed, (exp.Create, exp.Alter)) and kind in ("TABLE", "VIEW")
        if changes and isinstance(transformed, exp.Create) and transformed.args.get("exists"):
            changes = not self._conn.look(("TABLE", *lengths.place(transformed.this, self._conn)))
        self._duck_conn.reads = resolution.tables(transformed)
        try:
            self._run(transformed, params)
        except (duckdb.Error, ProgrammingError) as error:
            compared = (
                variants.compared(transformed) if "Malformed JSON" in f"{error}{error.__cause__}" else None
            )
            if compared is None:
                raise
            self._duck_conn.recover()
            self._run(compared, params)
        finally:
            self._duck_conn.reads = None
        domains.verify(self._arrow_table, self._read)
        if created := transformed.args.get("create_db_name"):
            objects.enter(created, self._conn, make=True)
        elif (entered := transformed.args.get("set_database")) and not transformed.args.get("set_schema"):
            objects.enter(entered, self._conn, make=False)
        elif said := temporary.settled(self._conn):
            self._answer(transformed, said)
        if self._read and changes:
            columntypes.after(transformed, self._read, self._conn)
        self._describe()

    def _run(self, transformed: exp.Expr, params: Any) -> None:
        kind = str(transformed.args.get("kind")).upper()
        if isinstance(transformed, (exp.Create, exp.Drop, exp.Alter, exp.Comment)):
            # https://docs.snowflake.com/en/sql-reference/transactions#ddl
            self._duck_conn.commit()
            self._conn._in_transaction = False
        if isinstance(transformed, (exp.Transaction, exp.Commit, exp.Rollback)):
            super()._execute(transformed, params)
            self._duck_conn.enter(isinstance(transformed, exp.Transaction))
        elif isinstance(transformed, exp.Insert):
            written.check_width(transformed, self._duck_conn, params)
            if self._rows is None:
                super()._execute(transformed, params)
            else:
                self._insert_rows(transformed, self._rows)
        elif isinstance(transformed, exp.Merge):
            self._merge(transformed, params)
        elif isinstance(transformed, exp.Create) and kind == "SCHEMA":
            schema = objects.create_schema(transformed, self._conn)
            self._answer(transformed, f"Schema {schema} successfully created.")
        elif isinstance(transformed, exp.Drop) and kind in ("STAGE", "FILE FORMAT"):
            dropped = objects.drop(transformed, kind, self._conn)
            self._answer(transformed, f"{dropped} successfully dropped.")
        elif isinstance(transformed, exp.Alter) and (steps := renames.steps(transformed, self._conn)):
            renames.run(self._duck_conn, steps)
            self._answer(transformed, "Statement executed successfully.")
        elif (found := keys.added(transformed)) is not None:
            self._remake(keys.remake, lengths.place(transformed.this, self._conn), found)
            self._answer(transformed, "Statement executed successfully.")
        elif self._lengths or self._rules:
            self._with_lengths(transformed, params)
        else:
            super()._execute(transformed, params)

    def _insert_rows(self, transformed: exp.Insert, rows: batches.Rows) -> None:
        """Run an INSERT with all its rows, and answer with their number."""
        if self._conn._autocommit and not self._duck_conn.in_transaction:
            self._duck_conn.begin()
            self._running.push(self._end)
        inserted = 0
        for statement, params in batches.statements(transformed, rows.rows):
            super()._execute(statement, params)
            inserted += self._rowcount
        self._answer_counts(transformed, {"number of rows inserted": inserted})

    def _with_lengths(self, transformed: exp.Expr, params: Any) -> None:
        """Run a statement that makes or changes a table, and give its columns their lengths."""
        where = lengths.place(transformed.this, self._conn)
        if transformed.args.get("exists") and lengths.is_there(self._duck_conn, where):
            super()._execute(transformed, params)
            return
        before = lengths.known(transformed.this, self._conn)
        if changed := {name: None for name in self._lengths if name in before}:
            lengths.verify(self._duck_conn, where, self._lengths)
            self._remake(lengths.apply, where, changed)  # DuckDB changes no column with a constraint
        super()._execute(transformed, params)
        answer = self._arrow_table
        try:
            self._rules.apply(self._duck_conn, where)
            if self._lengths:
                self._remake(lengths.apply, where, self._lengths)
        except BaseException:
            if isinstance(transformed, exp.Create):
                self._duck_conn.execute(f"drop table {'.'.join(map(identifier, where))}")
            raise
        self._arrow_table = answer

    def _remake(self, remake: Callable[..., None], where: tuple[str, str, str], *how: Any) -> None:
        """Make a table again, in a transaction."""
        self._duck_conn.begin()
        try:
            remake(self._duck_conn, where, *how)
            self._duck_conn.commit()
        except BaseException:
            self._duck_conn.rollback()
            self._duck_conn.enter(False)
            raise

    def _describe(self) -> None:
        """Remember the types of the result's columns."""
        if self._sfqid and self._sfqid not in self._conn.described:
            columns = columntypes.described(self._duck_conn.columns, self._read, self._conn)
            self._conn.described[self._sfqid] = columns
            while len(self._conn.described) > KEPT:
                self._conn.described.popitem(last=False)

    def _merge(self, transformed: exp.Merge, params: Any) -> None:
        """Run a MERGE and answer with the number of rows by what happened to them."""
        table = transformed.this
        names = table.catalog or self._conn.database, table.db or self._conn.schema, table.name
        with merges.alone(names):
            self._duck_conn.execute(transformed.sql(dialect="duckdb"), params)
            done = merges.count(self._duck_conn.to_arrow_table())
        counts = {
            f"number of rows {name}": done[name] for name, whens in operations(transformed).items() if whens
        }
        self._answer_counts(transformed, counts)

    def _answer_counts(self, transformed: exp.Expr, counts: dict[str, int]) -> None:
        """Answer with the number of rows by what happened to them."""
        self._last_sql = "select " + ", ".join(f'{number} as "{name}"' for name, number in counts.items())
        self._arrow_table = self._duck_conn.execute(self._last_sql).to_arrow_table()
        self._rowcount = sum(counts.values())
        self._keep(transformed)

    def _answer(self, transformed: exp.Expr, text: str) -> None:
        """Answer with one line, as Snowflake does to statements that return no rows."""
        self._last_sql = f"select {literal(text)} as status"
        self._arrow_table = self._duck_conn.execute(self._last_sql).to_arrow_table()
        self._rowcount = 1
        self._keep(transformed)
        self._describe()

    def _keep(self, transformed: exp.Expr) -> None:
        """Keep the result as the last one."""
        self._arrow_table_fetch_index = None
        self._sfqid = str(uuid.uuid4())
        self._last_params, self._last_transformed = None, transformed
        result = self._arrow_table, self._rowcount, self._last_sql, None, transformed
        self._conn.results_cache[self._sfqid] = result

    def _describe_last_sql(self) -> list[tuple[Any, ...]]:
        """Columns of the last result, which DuckDB named when it ran the statement."""
        columns = self._conn.described.get(self._sfqid or "") or self._duck_conn.columns
        return [(name, type_, None, None, None, None) for name, type_ in columns]
