"""What sessions say, what is refused, errors at once, and many statements at the same time."""

from __future__ import annotations

import gzip
import json
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal
from pathlib import Path

import httpx
import pytest
import snowflake.connector

from retailflow_emulators.snowflake.testing import ACCOUNT, ADMINISTRATOR, PASSWORD, EmulatedSnowflake, trust

Error = snowflake.connector.errors.Error


@pytest.mark.parametrize(
    ("sql", "code", "words"),
    [
        ("select 1 / 0", 100051, "Division by zero"),
        ("select 5 % (1 - 1)", 100051, "Division by zero"),
        ("select 1.5::float / 0", 100051, "Division by zero"),
        ("select 'abc'::number", 100038, "Numeric value 'abc' is not recognized"),
        ("select 'abc'::date", 100040, "Date 'abc' is not recognized"),
        ("select 12345::number(3, 0)", 100039, "out of range"),
        (
            "select 99999999999999999999999999999999999999 + column1 from values (1)",
            100046,
            "out of representable range",
        ),
        ("select 99999999999999999999999999999999999999 * 99", 100046, "out of representable range"),
        ("select no_such_function(1)", 2140, "Unknown function NO_SUCH_FUNCTION"),
        ("select nothing from values (1)", 904, "invalid identifier 'NOTHING'"),
        ("select nothing", 904, "invalid identifier 'NOTHING'"),
        ("select X.A from values (1) as T (A)", 904, "invalid identifier 'X"),
        ("select T.B from values (1) as T (A)", 904, "invalid identifier 'T.B'"),
        ('select "no thing" from values (1)', 904, "invalid identifier 'no thing'"),
        ("select 1 from (select 1 as A) join (select 2 as A) using (NOTHING)", 904, "'NOTHING'"),
        ("select A from (select 1 as A) join (select 2 as A)", 1052, "ambiguous column name 'A'"),
        ("create table T (PLACE geography)", 2, "not emulated: GEOGRAPHY"),
        ("create table T (A array(int))", 2, "not emulated: ARRAY of a type"),
        ("select parse_json('{}')::object(A int)", 2, "not emulated: OBJECT of types"),
        ("select '1 day'::interval", 2, "not emulated: INTERVAL as a type"),
        ("select interval '1 day' as A", 2, "not emulated: INTERVAL as a value"),
        ("select * from NOWHERE", 2003, "Object 'NOWHERE' does not exist or not authorized"),
        ("this is no sql", 1003, "syntax error"),
        ("select (", 1003, ""),
        ("select hash('a')", 2, "not emulated: HASH"),
        ("explain select 1", 2, "not emulated: EXPLAIN"),
        ("select get_ddl('table', 'T')", 2, "not emulated: GET_DDL"),
        ("select * from (select 1 as A, 2 as B) pivot (sum(A) for B in (any))", 2, "not emulated: PIVOT"),
        ("create function F(X int) returns int as 'X'", 2, "not emulated: functions"),
        (
            "create or replace procedure P() returns int language sql as 'begin return 1; end'",
            2,
            "not emulated",
        ),
        ("call P()", 2, "not emulated: procedures"),
        ("create stream S on table T", 2, "not emulated"),
        ("undrop table T", 2, "not emulated: time travel"),
        (
            "alter session set transaction_abort_on_error = true",
            2,
            "not emulated: TRANSACTION_ABORT_ON_ERROR",
        ),
        ("select compress('a', 'snappy')", 2, "not emulated: COMPRESS"),
        ("select count(*) from table(generator(timelimit => 1))", 2, "not emulated: GENERATOR"),
        ("alter session set NOTHING = 1", 1420, "invalid property 'NOTHING' for 'SESSION'"),
        ("alter session unset QUERY_TAG, NOTHING", 1420, "invalid property 'NOTHING' for 'SESSION'"),
        ("alter session set TIMESTAMP_OUTPUT_FORMAT = 'YYYY'", 2, "not emulated: the parameter TIMESTAMP"),
        ("alter session set TIMEZONE = 'Asia/Tokyo'", 2, "not emulated: the parameter TIMEZONE"),
        ("alter session set QUERY_TAG = 'x', WEEK_START = 7", 2, "not emulated: the parameter WEEK_START"),
        ("select 'maybe'::boolean", 100037, "Boolean value 'maybe' is not recognized"),
        ("select parse_json('{')", 100069, "Error parsing JSON"),
        ("select object_insert(object_construct('a', 1), 'a', 2)", 100103, "Duplicate field key 'a'"),
        ("select column1 from values (1, 2) group by column2", 1104, "neither an aggregate nor"),
        ("show integrations", 2, "not emulated: SHOW INTEGRATIONS"),
        ("drop role NOBODY", 2003, "Role 'NOBODY' does not exist"),
        ("alter warehouse NONE set auto_suspend = 60", 2003, "Warehouse 'NONE' does not exist"),
    ],
)
def test_a_statement_that_cannot_run_is_an_error_of_snowflakes_at_once(
    warehouse: EmulatedSnowflake, sql: str, code: int, words: str
) -> None:
    began = time.monotonic()
    with pytest.raises(Error, match=".") as caught:
        warehouse.query(sql)
    assert time.monotonic() - began < 50, "clients retry what is no error of a statement for a minute"
    assert code in (0, caught.value.errno), caught.value
    assert words in str(caught.value)
    assert caught.value.sfqid, "Snowflake gives every statement an id, by which its support finds it"
    assert warehouse.query("select 1") == [(1,)]


def test_a_refused_function_is_not_made(warehouse: EmulatedSnowflake) -> None:
    with pytest.raises(Error, match="not emulated"):
        warehouse.query("create function TWICE(X int) returns int as 'X * 2'")
    with pytest.raises(Error, match="Unknown function TWICE"):
        warehouse.query("select TWICE(1)")


def test_time_travel_is_refused(warehouse: EmulatedSnowflake) -> None:
    warehouse.query("create or replace table TRAVEL as select 1 as ID")
    for when in (
        "at (offset => -60)",
        "before (statement => 'x')",
        "at (timestamp => '2026-01-01'::timestamp)",
    ):
        with pytest.raises(Error, match="not emulated: time travel"):
            warehouse.query(f"select * from TRAVEL {when}")


@pytest.mark.parametrize(
    "body", [b"", b"{", b"null", b"[]", b"{}", b'{"sqlText": null}', b'{"sqlText": 7}', b"\xff\xfe"]
)
@pytest.mark.parametrize("zipped", [False, True])
def test_a_request_that_makes_no_sense_is_no_internal_server_error(
    warehouse: EmulatedSnowflake, body: bytes, zipped: bool
) -> None:
    with httpx.Client(base_url=warehouse.url, timeout=60, verify=trust()) as http:
        who = {"ACCOUNT_NAME": ACCOUNT, "LOGIN_NAME": ADMINISTRATOR, "PASSWORD": PASSWORD}
        login = http.post("/session/v1/login-request", json={"data": who})
        headers = {"Authorization": f'Snowflake Token="{login.json()["data"]["token"]}"'}
        for path in (
            "/queries/v1/query-request?requestId=1",
            "/queries/v1/abort-request",
            "/session/v1/login-request",
        ):
            sent = headers | ({"Content-Encoding": "gzip"} if zipped else {})
            answer = http.post(path, content=gzip.compress(body) if zipped else body, headers=sent)
            assert answer.status_code < 500
            assert isinstance(answer.json(), dict)
        lie = http.post(
            "/queries/v1/query-request", content=b"no gzip", headers=headers | {"Content-Encoding": "gzip"}
        )
        assert lie.status_code < 500 and json.loads(lie.content)["success"] is False


def test_a_session_knows_who_it_is(warehouse: EmulatedSnowflake) -> None:
    asked = "select current_user(), current_role(), current_warehouse(), current_account(), current_database(), current_schema()"
    run = warehouse.query
    key = warehouse.add_user("ANN", "ANALYST")
    for statement in (
        "create role R2",
        "grant role R2 to user ANN",
        "create warehouse SMALL initially_suspended = true",
        "create warehouse OTHER initially_suspended = true",
        "grant usage on warehouse SMALL to role ANALYST",
        "grant usage on warehouse OTHER to role ANALYST",
        "grant usage on database DB to role ANALYST",
        "grant usage on schema DB.PUBLIC to role ANALYST",
    ):
        run(statement)
    login = warehouse.login_of("ann", key)
    with warehouse.connect(**login, role="analyst", warehouse="small", database="DB") as session:
        cursor = session.cursor()
        assert cursor.execute(asked).fetchone() == ("ANN", "ANALYST", "SMALL", "RETAILFLOW", "DB", "PUBLIC")
        cursor.execute("use warehouse OTHER")
        cursor.execute("use role R2")
        assert cursor.execute("select current_warehouse(), current_role()").fetchone() == ("OTHER", "R2")
        cursor.execute("select 7 as SEVEN")
        query = cursor.sfqid
        assert cursor.execute("select last_query_id()").fetchone() == (query,)
        assert cursor.execute(f"select SEVEN from table(result_scan('{query}'))").fetchone() == (7,)


def test_roles_warehouses_and_users_are_shown_as_they_were_made(tmp_path: Path) -> None:
    server = EmulatedSnowflake(tmp_path)
    server.start()
    run = server.query
    run("create role if not exists LOADER")
    run("create warehouse LOADING warehouse_size = SMALL auto_suspend = 60")
    run("create user DBT default_role = LOADER")
    run("alter warehouse LOADING set warehouse_size = 'LARGE'")
    assert "LOADER" in {row[1] for row in run("show roles")}
    assert [(row[0], row[3], row[11]) for row in run("show warehouses like 'load%'")] == [
        ("LOADING", "Large", 60)
    ]
    assert [row[0] for row in run("show users")] == ["DBT", ADMINISTRATOR]
    with pytest.raises(Error, match="already exists"):
        run("create role LOADER")
    with pytest.raises(Error, match="not emulated: passwords"):
        run("create user OTHER password = 'secret'")
    server.stop()
    server.start()
    assert [row[0] for row in run("show warehouses")] == ["LOADING", "TESTS"]
    assert "secret" not in (server.data / "account.json").read_text()
    run("drop warehouse LOADING")
    assert [row[0] for row in run("show warehouses")] == ["TESTS"]
    server.stop()


def test_a_text_longer_than_its_column_is_refused(warehouse: EmulatedSnowflake) -> None:
    run = warehouse.query
    run("create or replace table SHORT (ID number, A varchar(3), B char, C string)")
    run("insert into SHORT values (1, 'abc', 'x', 'any length'), (2, 'äöü', null, null)")
    for statement in (
        "insert into SHORT (A) values ('abcd')",
        "insert into SHORT (B) values ('xy')",
        "update SHORT set A = 'too long' where ID = 1",
        "merge into SHORT using (select 1 as ID) S on SHORT.ID = S.ID when matched then update set A = 'abcd'",
    ):
        with pytest.raises(Error, match="is too long and would be truncated") as caught:
            run(statement)
        assert caught.value.errno == 100078
    assert run("select A from SHORT order by ID") == [("abc",), ("äöü",)]


def test_money_is_exact_through_tables_views_and_transactions(warehouse: EmulatedSnowflake) -> None:
    run = warehouse.query
    run("create or replace table MONEY (Q number(38, 0), PRICE number(10, 2))")
    run("insert into MONEY values (9999999999999999999999999999, 99999999.99), (3, 0.10)")
    assert run("select Q * PRICE from MONEY order by Q desc") == [
        (Decimal("999999999899999999999999999900000000.01"),),
        (Decimal("0.30"),),
    ]
    run(
        "create or replace view TOTALS as select sum(PRICE) as S, avg(PRICE) as A, sum(PRICE) / 3 as T from MONEY"
    )
    assert run("select S, A, T from TOTALS") == [
        (Decimal("100000000.09"), Decimal("50000000.045"), Decimal("33333333.36333333"))
    ]
    run("begin")
    run("insert into MONEY values (1, 0.01)")
    assert run("select sum(PRICE), count(*) / 7 from MONEY") == [
        (Decimal("100000000.10"), Decimal("0.428571"))
    ]
    run("rollback")
    assert run("select count(*) from MONEY") == [(2,)]


def at_once(works: list[Callable[[], object]]) -> list[BaseException]:
    """Run functions in threads that begin together; returns their errors."""
    gate, errors = threading.Barrier(len(works)), []

    def run(work: Callable[[], object]) -> None:
        try:
            gate.wait()
            work()
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=run, args=(work,)) for work in works]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return errors


def test_the_first_merges_of_ten_sessions_at_once(tmp_path: Path) -> None:
    server = EmulatedSnowflake(tmp_path)
    server.start()
    server.query("create database DB")
    server.query("create table SHARED (ID number, N number)")
    sessions = [server.connect(database="DB") for _ in range(10)]
    for number in range(10):
        server.query(f"create table OWN{number} (ID number, N number)")

    def merge(number: int, table: str) -> Callable[[], object]:
        statement = (
            f"merge into {table} as D using (select {number} as ID union all select 100) as S on D.ID = S.ID "
            "when matched then update set N = D.N + 1 when not matched then insert (ID, N) values (S.ID, 1)"
        )
        return lambda: sessions[number].cursor().execute(statement)

    assert at_once([merge(number, f"OWN{number}") for number in range(10)]) == []
    assert at_once([merge(number, "SHARED") for number in range(10)]) == []
    assert server.query("select sum(N), count(*) from SHARED where ID < 10") == [(10, 10)]
    assert server.query("select N from SHARED where ID = 100") == [(10,)]
    tables = [f"create or replace table BUILT{number} as select {number} as ID" for number in range(10)]
    views = [f"create or replace view SEEN{number} as select * from OWN{number}" for number in range(10)]
    schema = ["create schema if not exists TOGETHER"] * 10
    comments = [f"comment on table OWN{number} is 'number {number}'" for number in range(10)]
    for statements in (tables, views, comments, schema):
        works = [
            lambda s=session, q=sql: s.cursor().execute(q)
            for session, sql in zip(sessions, statements, strict=True)
        ]
        assert at_once(works) == []
    server.stop()


def test_the_first_logins_of_a_user_at_once(tmp_path: Path) -> None:
    server = EmulatedSnowflake(tmp_path)
    server.start()
    key = server.add_user("NEWCOMER", "NEW")
    try:
        together = threading.Barrier(10)

        def login(_: int) -> str:
            together.wait(120)
            with server.connect(**server.login_of("NEWCOMER", key)) as session:
                cursor = session.cursor().execute("select current_user()")
                assert cursor is not None
                return str(cursor.fetchall()[0][0])

        with ThreadPoolExecutor(10) as pool:
            assert list(pool.map(login, range(10))) == ["NEWCOMER"] * 10
    finally:
        server.stop()


def test_a_session_variable_is_read_outside_of_quotes_alone(warehouse: EmulatedSnowflake) -> None:
    with warehouse.connect() as session:
        cursor = session.cursor()
        cursor.execute("set price = 7")
        cursor.execute("set price_list = 'a$price'")
        asked = """select $price, $PRICE + 1, '$price', 'it''s $nothing', 'it\\'s $no', $price_list, $$costs $price$$,
            1 as "$_", 2 as a$price -- $nothing
            /* $nothing */"""
        assert cursor.execute(asked).fetchone() == (
            *(7, 8, "$price", "it's $nothing", "it's $no", "a$price", "costs $price", 1, 2),
        )
        with pytest.raises(Error, match=r"Session variable '\$NOTHING' does not exist"):
            cursor.execute("select $nothing")


def test_json_is_indented_as_the_session_asks(warehouse: EmulatedSnowflake) -> None:
    """https://docs.snowflake.com/en/sql-reference/parameters#json-indent"""
    sql = """select array_construct(1, object_construct('a', 'x      y')), object_construct(), 'no      json', parse_json('"s"'),
        array_construct(1)::varchar, null::variant"""
    rest = ("{}", "no      json", '"s"', "[1]", None)
    with warehouse.connect(session_parameters={}) as session:
        cursor = session.cursor()

        def shown(*settings: str) -> str:
            for setting in settings:
                cursor.execute(f"alter session {setting}")
            row = cursor.execute(sql).fetchone()  # type: ignore[union-attr]
            assert isinstance(row, tuple)
            assert row[1:] == rest
            return str(row[0])

        two = '[\n  1,\n  {\n    "a": "x      y"\n  }\n]'
        assert shown() == two
        assert shown("set json_indent = 0") == '[1,{"a":"x      y"}]'
        three = '[\n   1,\n   {\n      "a": "x      y"\n   }\n]'
        assert shown("set timezone = 'UTC', JSON_INDENT = 3") == three
        assert shown("unset json_indent") == two
        with pytest.raises(Error, match="not emulated: the parameter JSON_INDENT = 17"):
            cursor.execute("alter session set json_indent = 17")
    with warehouse.connect(session_parameters={"JSON_INDENT": 0}) as session:
        assert session.cursor().execute("select array_construct(1)").fetchone() == ("[1]",)  # type: ignore[union-attr]
