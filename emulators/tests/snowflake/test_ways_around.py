"""What a role may not read, change or drop, it does not, however the statement is written."""

from __future__ import annotations

import pytest
from snowflake_shop import Error, Shop

SALES = "RAW.RETAIL.SALES"

# How SQL reads a table, other than plainly.
AROUND = [
    "select * from {t}",
    'select * from "RAW"."RETAIL"."SALES"',
    "select * from identifier('{t}')",
    "select * from table('{t}')",
    "with A as (select * from {t}) select * from A",
    "with SALES as (select * from RAW.RETAIL.SALES) select * from SALES",
    "with recursive A as (select ID from {t} union all select ID + 1 from A where ID < 3) select * from A",
    "select 1 union all select ID from {t}",
    "select * from (select * from (select ID from {t}))",
    "select (select max(ID) from {t})",
    "select 1 where exists (select 1 from {t})",
    "select 1 where 1 in (select ID from {t})",
    "select R.* from ANALYTICS.MARTS.REVENUE R join {t} S on S.CITY = R.CITY",
    "select R.* from ANALYTICS.MARTS.REVENUE R, lateral (select * from {t} S where S.CITY = R.CITY) L",
    "select * from ANALYTICS.MARTS.REVENUE where TOTAL > (select min(PRICE) from {t})",
    "select * from {t} pivot (sum(PRICE) for CITY in ('Lyon'))",
    "select f.value from {t} s, lateral flatten(input => array_construct(s.ID)) f",
    "select case when (select count(*) from {t}) > 0 then 1 end",
    "select row_number() over (order by (select max(ID) from {t}))",
    "select 1 order by (select max(ID) from {t})",
    "create temporary table T_AROUND as select * from {t}",
    "create temporary table T_AROUND clone {t}",
    "create temporary table T_AROUND like {t}",
    "create temporary view V_AROUND as select * from {t}",
    "set AROUND = (select max(ID) from {t})",
    "describe table {t}",
    "describe select * from {t}",
    "show columns in table {t}",
    "explain select * from {t}",
    "execute immediate 'select * from {t}'",
    "select get_ddl('table', '{t}')",
    "values ((select max(ID) from {t}))",
    "select 1; select * from {t}",
    "/* select 1 */ select * from {t} -- harmless",
    "from {t} select *",
    "table {t}",
    "summarize {t}",
    "copy {t} to '/tmp/stolen.csv'",
    "copy into @~/stolen from {t}",
    "copy into @~/stolen from (select * from {t})",
    "select $1 from @RAW.RETAIL.FILES",
    "select $1 from '@RAW.RETAIL.FILES/x'",
    "select $1 from @RAW.RETAIL.%SALES",
    "list @RAW.RETAIL.FILES",
    "list @RAW.RETAIL.%SALES",
    "remove @RAW.RETAIL.FILES",
    "get @RAW.RETAIL.FILES file:///tmp",
    "select * from read_text('/etc/hostname')",
    "select * from read_csv('/etc/hostname')",
    "select * from '/etc/hostname'",
    'select * from "/etc/hostname"',
    "select * from duckdb_tables()",
    "select * from duckdb_settings()",
    "select * from _fs_global._fs_information_schema._fs_show_tables",
    "select * from system.information_schema.tables",
    "select * from pg_catalog.pg_tables",
    "select * from query('select * from RAW.RETAIL.SALES')",
    "select * from query_table('SALES')",
    "select nextval('x')",
    "select current_setting('home_directory')",
    "pragma database_list",
    "attach '/tmp/x.db' as X",
    "install httpfs",
    "load httpfs",
    "checkpoint",
    "vacuum",
    "export database '/tmp/stolen'",
    "select * into STOLEN from {t}",
]


@pytest.mark.parametrize("sql", AROUND)
@pytest.mark.parametrize("role", ["REPORTER"])
def test_no_way_around(shop: Shop, role: str, sql: str) -> None:
    statement = sql.format(t=SALES)
    shop.run(role, "use schema ANALYTICS.MARTS")
    with pytest.raises(Error) as caught:
        shop.run(role, statement)
    text = str(caught.value)
    allowed = (
        "not authorized",
        "Insufficient privileges",
        "not emulated",
        "Unknown function",
        "syntax",
        "statement count",
    )
    assert caught.value.errno == 1003 or any(words in text for words in allowed), f"{statement}: {text}"
    assert "emulated Snowflake cannot run" not in text, text


@pytest.mark.parametrize(
    ("sql", "privilege", "on", "other"),
    [
        ("select * from {t}", "select", "table {t}", "insert"),
        ("insert into {t} values (1, 'x', 1)", "insert", "table {t}", "select"),
        ("insert into {t} (ID) select 1", "insert", "table {t}", "select"),
        ("update {t} set CITY = 'x' where 1 = 0", "update", "table {t}", "select"),
        ("delete from {t} where 1 = 0", "delete", "table {t}", "select"),
        ("truncate table {t}", "truncate", "table {t}", "delete"),
        (
            "merge into {t} T using (select 9 as ID) S on T.ID = S.ID when matched then update set CITY = 'x'",
            "update",
            "table {t}",
            "insert",
        ),
        (
            "merge into {t} T using (select 9 as ID) S on T.ID = S.ID when not matched then insert (ID) values (S.ID)",
            "insert",
            "table {t}",
            "update",
        ),
        (
            "merge into {t} T using (select 9 as ID) S on T.ID = S.ID when matched then delete",
            "delete",
            "table {t}",
            "update",
        ),
        ("copy into {t} from @~/nothing file_format = (type = csv)", "insert", "table {t}", "select"),
        ("create table {s}.NEW (A int)", "create table", "schema {s}", "create view"),
        ("create view {s}.NEW as select 1 as A", "create view", "schema {s}", "create table"),
        ("create stage {s}.NEW", "create stage", "schema {s}", "create table"),
        ("create file format {s}.NEW type = csv", "create file format", "schema {s}", "create table"),
        ("create sequence {s}.NEW", "create sequence", "schema {s}", "create table"),
        ("create schema RIGHTS.NEW", "create schema", "database RIGHTS", "modify"),
        ("create database NEW", "create database", "account", "create role"),
        ("create role NEW", "create role", "account", "create user"),
        ("create user NEW", "create user", "account", "create role"),
        ("create warehouse NEW", "create warehouse", "account", "create role"),
        ("alter warehouse TESTS resume if suspended", "operate", "warehouse TESTS", "monitor"),
        ("alter warehouse TESTS set auto_suspend = 60", "modify", "warehouse TESTS", "operate"),
        ("alter schema {s} set comment = 'x'", "modify", "schema {s}", "usage"),
        ("alter database RIGHTS set comment = 'x'", "modify", "database RIGHTS", "usage"),
        ("select NUMBERS.nextval", "usage", "sequence {s}.NUMBERS", None),
        ("list @{s}.FILES", "read", "stage {s}.FILES", "write"),
        ("remove @{s}.FILES", "write", "stage {s}.FILES", "read"),
    ],
)
def test_a_statement_needs_its_privilege_and_no_more(
    shop: Shop, sql: str, privilege: str, on: str, other: str | None
) -> None:
    """Refused without any, refused with another one, run with its own, refused once that is revoked."""
    places = {"t": "RIGHTS.S.T", "s": "RIGHTS.S"}
    statement, target = sql.format(**places), on.format(**places)
    admin = shop.server.query
    admin("create or replace role BARE")
    admin("grant role BARE to user REPORTER")
    admin("grant usage on warehouse SHARED to role BARE")
    admin("create database if not exists RIGHTS")
    admin("create schema if not exists RIGHTS.S")
    admin("create or replace table RIGHTS.S.T (ID number, CITY varchar, PRICE number)")
    admin("create stage if not exists RIGHTS.S.FILES")
    admin("create sequence if not exists RIGHTS.S.NUMBERS")
    admin("grant usage on database RIGHTS to role BARE")
    admin("grant usage on schema RIGHTS.S to role BARE")
    with shop.session("REPORTER", role="BARE", warehouse="SHARED") as session:
        cursor = session.cursor()
        cursor.execute("use schema RIGHTS.S")
        for grant in [f"grant {other} on {target} to role BARE"] if other else []:
            with pytest.raises(Error, match=r"not authorized|Insufficient|operation cannot"):
                cursor.execute(statement)
            admin(grant)
        with pytest.raises(Error, match=r"Insufficient|not authorized") as caught:
            cursor.execute(statement)
        assert caught.value.errno == (3001 if other else 2003), caught.value
        admin(f"grant {privilege} on {target} to role BARE")
        cursor.execute(statement)
        if " NEW" in statement or ".NEW" in statement:
            kind = privilege.removeprefix("create ")
            (name,) = (word for word in statement.split() if word.endswith("NEW"))
            cursor.execute(f"drop {kind} {name}")
        admin(f"revoke {privilege} on {target} from role BARE")
        with pytest.raises(Error):
            cursor.execute(statement)


OTHERS_OBJECTS = [
    "drop table RAW.RETAIL.SALES",
    "drop table if exists RAW.RETAIL.SALES",
    "create or replace table RAW.RETAIL.SALES (A int)",
    "create or replace table RAW.RETAIL.SALES as select 1 as A",
    "alter table RAW.RETAIL.SALES add column B int",
    "alter table RAW.RETAIL.SALES rename to RAW.RETAIL.TAKEN",
    "alter table ANALYTICS.STAGING.WORK swap with RAW.RETAIL.SALES",
    "alter table RAW.RETAIL.SALES swap with ANALYTICS.STAGING.WORK",
    "comment on table RAW.RETAIL.SALES is 'mine'",
    "comment on column RAW.RETAIL.SALES.ID is 'mine'",
    "insert into RAW.RETAIL.SALES select 1, 'x', 1",
    "insert overwrite into RAW.RETAIL.SALES select 1, 'x', 1",
    "update RAW.RETAIL.SALES set ID = 1",
    "update ANALYTICS.STAGING.WORK set ID = 1 from ANALYTICS.MARTS.NOWHERE",
    "delete from RAW.RETAIL.SALES",
    "truncate table RAW.RETAIL.SALES",
    "drop schema RAW.RETAIL",
    "drop database RAW",
    "drop database if exists RAW",
    "/* x */ drop database RAW",
    "drop stage RAW.RETAIL.FILES",
    "drop file format RAW.RETAIL.LINES",
    "create stage RAW.RETAIL.MINE",
    "put file:///etc/hostname @RAW.RETAIL.FILES",
    "copy into ANALYTICS.STAGING.WORK from @RAW.RETAIL.FILES",
    "copy into ANALYTICS.STAGING.WORK from @~/x file_format = (format_name = RAW.RETAIL.LINES)",
    "grant select on table RAW.RETAIL.SALES to role PUBLIC",
    "grant ownership on table RAW.RETAIL.SALES to role TRANSFORMER revoke current grants",
    "grant role ACCOUNTADMIN to user TRANSFORMER",
    "grant role LOADER to role TRANSFORMER",
    "grant create database on account to role TRANSFORMER",
    "grant select on future tables in schema RAW.RETAIL to role PUBLIC",
    "alter user TESTER set rsa_public_key = 'x'",
    "alter user LOADER set disabled = true",
    "drop user LOADER",
    "drop role LOADER",
    "drop warehouse TESTS",
    "use role ACCOUNTADMIN",
    "use role LOADER",
    "use warehouse TESTS",
    "show grants to role LOADER",
    "show grants to user LOADER",
    "describe user LOADER",
    "select * from snowflake.account_usage.warehouse_metering_history",
]


@pytest.mark.parametrize("sql", OTHERS_OBJECTS)
def test_what_belongs_to_others_stays_theirs(shop: Shop, sql: str) -> None:
    before = shop.run("LOADER", f"select * from {SALES} order by ID")
    with pytest.raises(Error) as caught:
        shop.run("TRANSFORMER", sql)
    assert caught.value.errno in (2, 2003, 2043, 3001, 3013, 3102), caught.value
    assert shop.run("LOADER", f"select * from {SALES} order by ID") == before


def test_a_loader_does_not_read_the_marts(shop: Shop) -> None:
    shop.refused(
        "LOADER", "select * from ANALYTICS.MARTS.REVENUE", 2003, "Database 'ANALYTICS' does not exist or not"
    )
    shop.refused("LOADER", "use database ANALYTICS", 2043)
    shop.refused("LOADER", "use schema ANALYTICS.MARTS", 2043)
    shop.refused("LOADER", "show tables in schema ANALYTICS.MARTS", 2043)
    shop.refused(
        "REPORTER", "select * from ANALYTICS.STAGING.HIDDEN", 2003, "Schema 'ANALYTICS.STAGING' does not"
    )
    shop.refused(
        "REPORTER", "select * from ANALYTICS.MARTS.NOTHING", 2003, "Object 'ANALYTICS.MARTS.NOTHING' does not"
    )
    shop.refused(
        "REPORTER", "insert into ANALYTICS.MARTS.REVENUE values ('x', 1)", 3001, "on table 'REVENUE'"
    )
