"""What a role may do, see and give to others; what it may not is in test_ways_around.py."""

from __future__ import annotations

import signal
from pathlib import Path

import httpx
import pytest
from snowflake_shop import KEY, Error, Shop

from retailflow_emulators.snowflake.testing import EmulatedSnowflake, trust

SALES, HIDDEN = "RAW.RETAIL.SALES", "ANALYTICS.STAGING.HIDDEN"


def test_a_reporter_reads_marts_and_views_on_what_it_may_not_read(shop: Shop) -> None:
    assert shop.run("REPORTER", "select sum(TOTAL) from ANALYTICS.MARTS.REVENUE") == [(5.5,)]
    assert shop.run("REPORTER", "select CITY from ANALYTICS.MARTS.CITIES order by 1") == [
        ("Lyon",),
        ("Oslo",),
    ]
    assert shop.run("REPORTER", "select count(*) from ANALYTICS.MARTS.UPPER_CITIES") == [(2,)]
    assert shop.run("REPORTER", "with SALES as (select 1 as A) select A from SALES") == [(1,)]


def test_only_what_may_be_seen_is_listed(shop: Shop) -> None:
    def names(role: str, sql: str, column: int = 1) -> set[str]:
        return {row[column] for row in shop.run(role, sql)}

    shop.server.query("drop database if exists RIGHTS")
    assert names("REPORTER", "show databases") == {"ANALYTICS"}
    assert names("LOADER", "show databases") == {"RAW"}
    assert names("REPORTER", "show schemas in database ANALYTICS") == {"INFORMATION_SCHEMA", "MARTS"}
    assert names("REPORTER", "show tables in database ANALYTICS") == {"REVENUE"}
    assert names("REPORTER", "show terse objects in schema ANALYTICS.MARTS") == {
        "CITIES",
        "REVENUE",
        "UPPER_CITIES",
    }
    assert names("REPORTER", "show objects like '%' in account") == {"CITIES", "REVENUE", "UPPER_CITIES"}
    assert len(shop.run("REPORTER", "show objects in account limit 2")) == 2
    tables = "select table_name from ANALYTICS.information_schema.tables"
    tables += " union all select table_name from ANALYTICS.information_schema.views"
    assert names("REPORTER", tables, 0) == {"CITIES", "REVENUE", "UPPER_CITIES"}
    columns = "select distinct c.table_name from ANALYTICS.information_schema.columns c"
    columns += " join ANALYTICS.information_schema.tables on 1 = 1"
    assert names("REPORTER", columns, 0) == {"CITIES", "REVENUE", "UPPER_CITIES"}
    shop.refused("REPORTER", "select * from RAW.information_schema.tables", 2003)
    assert names("REPORTER", "select schema_name from ANALYTICS.information_schema.schemata", 0) == {
        "INFORMATION_SCHEMA",
        "MARTS",
    }
    owner = "select table_owner from ANALYTICS.information_schema.tables where table_name = 'REVENUE'"
    assert shop.run("REPORTER", owner) == [("TRANSFORMER",)]
    assert "LOADER" not in names("REPORTER", "show users", 0)
    assert names("ADMIN", "show users", 0) >= {"LOADER", "REPORTER", "TRANSFORMER", "TESTER"}
    assert "LOADER" not in names("REPORTER", "show roles")
    assert names("REPORTER", "show warehouses", 0) == {"SHARED"}


def test_select_survives_a_swap_by_the_loader(shop: Shop) -> None:
    """Grants travel with the tables: what a future grant gave to the new one comes to the old name."""
    for statement in (
        "create table RAW.RETAIL.SALES_NEW as select * from RAW.RETAIL.SALES",
        "insert into RAW.RETAIL.SALES_NEW values (3, 'Rome', 4)",
        "alter table RAW.RETAIL.SALES swap with RAW.RETAIL.SALES_NEW",
        "drop table RAW.RETAIL.SALES_NEW",
    ):
        shop.run("LOADER", statement)
    assert shop.run("TRANSFORMER", f"select count(*) from {SALES}") == [(3,)]
    assert shop.run("REPORTER", "select count(*) from ANALYTICS.MARTS.UPPER_CITIES") == [(3,)]
    shop.run("LOADER", f"delete from {SALES} where ID = 3")


def test_grants_go_with_replace_unless_copied_and_stay_with_rename(shop: Shop) -> None:
    run = shop.run
    run("LOADER", "create or replace table RAW.RETAIL.GOES (ID number)")
    run("LOADER", "grant insert on table RAW.RETAIL.GOES to role TRANSFORMER")

    def has(name: str) -> set[str]:
        rows = run("LOADER", f"show grants on table RAW.RETAIL.{name}")
        return {row[1] for row in rows if row[5] == "TRANSFORMER"}

    assert has("GOES") == {"INSERT", "SELECT"}
    run("LOADER", "create or replace table RAW.RETAIL.GOES copy grants (ID number, B number)")
    assert has("GOES") == {"INSERT", "SELECT"}
    run("LOADER", "alter table RAW.RETAIL.GOES rename to RAW.RETAIL.STAYS")
    assert has("STAYS") == {"INSERT", "SELECT"}
    run("LOADER", "create or replace table RAW.RETAIL.STAYS (ID number)")
    assert has("STAYS") == {"SELECT"}  # by the future grant
    run("LOADER", "create table RAW.RETAIL.CLONED clone RAW.RETAIL.STAYS")
    assert has("CLONED") == {"SELECT"}
    shop.refused("LOADER", "show grants on table RAW.RETAIL.GOES", 2003)
    with pytest.raises(Error):
        run("LOADER", "create or replace table RAW.RETAIL.STAYS as select 1 / 0 as A")
    assert has("STAYS") == {"SELECT"}, "a statement that fails changes no grants"
    for name in ("STAYS", "CLONED"):
        run("LOADER", f"drop table RAW.RETAIL.{name}")


def test_future_grants_of_a_schema_hide_those_of_its_database(shop: Shop) -> None:
    run = shop.server.query
    run("create database FUTURE")
    run("create schema FUTURE.A")
    run("create schema FUTURE.B")
    run("grant select on future tables in database FUTURE to role REPORTER")
    run("grant insert on future tables in schema FUTURE.A to role LOADER")
    run("grant ownership on future views in schema FUTURE.B to role TRANSFORMER")
    run("create table FUTURE.A.T (ID number)")
    run("create table FUTURE.B.T (ID number)")
    run("create view FUTURE.B.V as select 1 as A")

    def grants(kind: str, name: str) -> set[tuple[str, str]]:
        return {(row[1], row[5]) for row in run(f"show grants on {kind} FUTURE.{name}")}

    assert grants("table", "A.T") == {("OWNERSHIP", "ACCOUNTADMIN"), ("INSERT", "LOADER")}
    assert grants("table", "B.T") == {("OWNERSHIP", "ACCOUNTADMIN"), ("SELECT", "REPORTER")}
    assert grants("view", "B.V") == {("OWNERSHIP", "TRANSFORMER")}
    shown = run("show future grants in database FUTURE")
    assert [row[1:] for row in shown] == [("SELECT", "TABLE", "FUTURE.<TABLE>", "ROLE", "REPORTER", "false")]
    assert [row[3] for row in run("show future grants to role LOADER")] == ["FUTURE.A.<TABLE>"]
    run("revoke select on future tables in database FUTURE from role REPORTER")
    assert run("show future grants in database FUTURE") == []
    run("drop database FUTURE")
    assert run("show future grants to role LOADER") == []


def test_grant_option_ownership_and_cycles(shop: Shop) -> None:
    admin, run = shop.server.query, shop.run
    run("LOADER", "create table RAW.RETAIL.PASSED (ID number)")
    run("LOADER", "grant select on table RAW.RETAIL.PASSED to role TRANSFORMER with grant option")
    run("TRANSFORMER", "grant select on table RAW.RETAIL.PASSED to role REPORTER")
    shop.refused("TRANSFORMER", "grant insert on table RAW.RETAIL.PASSED to role REPORTER", 3102)
    by = {
        row[5]: (row[6], row[7])
        for row in run("LOADER", "show grants on table RAW.RETAIL.PASSED")
        if row[1] == "SELECT"
    }
    assert by == {"TRANSFORMER": ("true", "LOADER"), "REPORTER": ("false", "TRANSFORMER")}
    run("LOADER", "revoke grant option for select on table RAW.RETAIL.PASSED from role TRANSFORMER")
    shop.refused("TRANSFORMER", "grant select on table RAW.RETAIL.PASSED to role PUBLIC", 3102)
    shop.refused(
        "LOADER", "grant ownership on table RAW.RETAIL.PASSED to role TRANSFORMER", 3036, "must be revoked"
    )
    run("LOADER", "grant ownership on table RAW.RETAIL.PASSED to role TRANSFORMER copy current grants")
    run("TRANSFORMER", "drop table RAW.RETAIL.PASSED")
    admin("create role UPPER_ROLE")
    admin("create role LOWER_ROLE")
    admin("grant role LOWER_ROLE to role UPPER_ROLE")
    shop.refused("ADMIN", "grant role UPPER_ROLE to role LOWER_ROLE", 3065)
    shop.refused("ADMIN", "grant flying on table RAW.RETAIL.SALES to role LOWER_ROLE", 3008)
    shop.refused("ADMIN", "grant select on table RAW.RETAIL.SALES to role NOBODY", 2003, "Role 'NOBODY'")
    shop.refused("ADMIN", "grant select on table RAW.RETAIL.NOTHING to role LOWER_ROLE", 2003)
    shop.refused("ADMIN", "drop role ACCOUNTADMIN", 3001)
    admin("grant usage on schema RAW.RETAIL to role LOWER_ROLE")
    admin("drop role LOWER_ROLE")
    assert "LOWER_ROLE" not in {row[5] for row in admin("show grants on schema RAW.RETAIL")}


def test_a_view_fails_once_its_owner_may_not_read(shop: Shop) -> None:
    shop.run("ADMIN", f"revoke select on table {SALES} from role TRANSFORMER")
    shop.refused(
        "REPORTER", "select * from ANALYTICS.MARTS.UPPER_CITIES", 2037, "Failure during expansion of view"
    )
    shop.run("ADMIN", f"grant select on table {SALES} to role TRANSFORMER")
    assert shop.run("REPORTER", "select count(*) from ANALYTICS.MARTS.UPPER_CITIES") == [(2,)]


def test_temporary_objects_belong_to_their_session(shop: Shop) -> None:
    with shop.session("TRANSFORMER", database="ANALYTICS", schema="STAGING") as one:
        cursor = one.cursor()
        cursor.execute("create temporary table PRIVATE_ROWS as select 1 as A")
        assert cursor.execute("select A from PRIVATE_ROWS").fetchall() == [(1,)]
        place = {"database": "ANALYTICS", "schema": "STAGING"}
        with (
            shop.session("TRANSFORMER", **place) as other,
            pytest.raises(Error, match="does not exist or not authorized"),
        ):
            other.cursor().execute("select A from PRIVATE_ROWS")
        cursor.execute("drop table PRIVATE_ROWS")
        with pytest.raises(Error, match="does not exist or not authorized"):
            cursor.execute("select A from PRIVATE_ROWS")


def test_results_are_read_again_by_their_user_alone(shop: Shop) -> None:
    with shop.session("LOADER") as session:
        cursor = session.cursor()
        query = cursor.execute(f"select ID from {SALES} order by ID").sfqid
        assert cursor.execute("select * from table(result_scan(last_query_id()))").fetchall() == [(1,), (2,)]
    shop.refused("REPORTER", f"select * from table(result_scan('{query}'))", 709, "not found")


def test_names_by_parameter_and_variable_are_checked(shop: Shop) -> None:
    with shop.session("REPORTER", paramstyle="qmark") as session:
        cursor = session.cursor()
        assert cursor.execute(
            "select count(*) from identifier(?)", ("ANALYTICS.MARTS.CITIES",)
        ).fetchall() == [(2,)]
        for name in (SALES, HIDDEN, '"RAW"."RETAIL"."SALES"'):
            with pytest.raises(Error, match=r"not authorized|current database"):
                cursor.execute("select count(*) from identifier(?)", (name,))
        cursor.execute(f"set NAME = '{SALES}'")
        with pytest.raises(Error, match="not authorized"):
            cursor.execute("select * from identifier($NAME)")


def test_roles_of_a_session(shop: Shop) -> None:
    asked = "select current_role(), is_role_in_session('REPORTER'), is_role_in_session('LOADER'), current_available_roles()"
    with shop.session("REPORTER") as session:
        cursor = session.cursor()
        (found,) = cursor.execute(asked).fetchall()
        assert found[:3] == ("REPORTER", True, False)
        assert '"REPORTER"' in found[3] and "LOADER" not in found[3]
        cursor.execute("use role PUBLIC")
        assert cursor.execute("select count(*) from ANALYTICS.MARTS.CITIES").fetchall() == [(2,)]
        cursor.execute("use secondary roles none")
        with pytest.raises(Error, match="Database 'ANALYTICS' does not exist or not authorized"):
            cursor.execute("select * from ANALYTICS.MARTS.CITIES")
        with pytest.raises(Error, match="not emulated: CURRENT_ROLE in a view"):
            shop.run("TRANSFORMER", "create view ANALYTICS.STAGING.WHO as select current_role() as R")


def test_comments_are_shown(shop: Shop) -> None:
    run = shop.server.query

    def comment(show: str) -> str:
        session = shop.server.connect()
        cursor = session.cursor()
        cursor.execute(show)
        names = [column.name for column in cursor.description]
        return str(cursor.fetchall()[0][names.index("comment")])

    assert comment("show databases like 'RAW'") == "what is loaded"
    for statement, show in {
        "comment on database RAW is '{}'": "show databases like 'RAW'",
        "alter database RAW set comment = '{}'": "show databases like 'RAW'",
        "alter schema RAW.RETAIL set comment = '{}'": "show schemas like 'RETAIL' in database RAW",
        "comment on schema RAW.RETAIL is '{}'": "show schemas like 'RETAIL' in database RAW",
        "comment on user LOADER is '{}'": "show users like 'LOADER'",
        "alter role LOADER set comment = '{}'": "show roles like 'LOADER'",
        "alter warehouse SHARED set comment = '{}'": "show warehouses like 'SHARED'",
    }.items():
        text = f"it''s {len(statement)}"
        run(statement.format(text))
        assert comment(show) == text.replace("''", "'"), statement
    run("alter database RAW unset comment")
    assert comment("show databases like 'RAW'") in ("", "None")


def test_everything_is_kept_over_a_kill(tmp_path: Path) -> None:
    server = EmulatedSnowflake(tmp_path)
    server.start()
    try:
        Shop(server)
        server.stop(signal.SIGKILL)
        server.start()
        with server.connect(**server.login_of("REPORTER", KEY)) as session:
            cursor = session.cursor()
            assert cursor.execute("select count(*) from ANALYTICS.MARTS.UPPER_CITIES").fetchall() == [(2,)]
            with pytest.raises(Error, match="not authorized"):
                cursor.execute(f"select * from {SALES}")
        server.stop()
        (server.data / "account.json").write_text('{"role": {}, "user": {}, "warehouse": {}}')
        server._has_warehouse = False
        server.start()
        assert {row[5] for row in server.query("show databases")} == {"SYSADMIN"}
        assert server.query(f"select count(*) from {SALES}") == [(2,)]
    finally:
        server.stop()


def test_files_of_a_stage_are_not_had_by_guessing_their_address(shop: Shop, tmp_path: Path) -> None:
    (tmp_path / "rows.csv").write_text("1,x\n")
    shop.run("LOADER", f"put 'file://{tmp_path}/rows.csv' @RAW.RETAIL.FILES auto_compress = false")
    address = f"{shop.server.url}/fs_bucket/RAW.RETAIL.FILES/rows.csv"
    for guess in (address, f"{address}?X-Goog-Signature=", f"{address}?X-Goog-Signature=00"):
        assert httpx.get(guess, timeout=60, verify=trust()).status_code == 403
        assert httpx.put(guess, content=b"2,y\n", timeout=60, verify=trust()).status_code == 403
    (tmp_path / "back").mkdir()
    shop.run("LOADER", f"get @RAW.RETAIL.FILES/rows.csv 'file://{tmp_path}/back'")
    assert (tmp_path / "back/rows.csv").read_text() == "1,x\n"
