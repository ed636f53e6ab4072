"""A small shop for the tests of access: RAW by a loader, ANALYTICS by a transformer, read by a reporter."""

from __future__ import annotations

from typing import Any

import pytest
import snowflake.connector

from retailflow_emulators.snowflake.testing import EmulatedSnowflake, private_key

Error = snowflake.connector.errors.Error
MADE = (
    "create database RAW comment = 'what is loaded'",
    "create schema RAW.RETAIL",
    "create database ANALYTICS",
    "create schema ANALYTICS.MARTS",
    "create schema ANALYTICS.STAGING",
)
GRANTS = {
    "LOADER": (
        "usage on database RAW",
        "usage on schema RAW.RETAIL",
        "create table on schema RAW.RETAIL",
        "create stage on schema RAW.RETAIL",
        "create file format on schema RAW.RETAIL",
    ),
    "TRANSFORMER": (
        "usage on database RAW",
        "usage on schema RAW.RETAIL",
        "select on future tables in schema RAW.RETAIL",
        "usage on database ANALYTICS",
        "create schema on database ANALYTICS",
        "usage on all schemas in database ANALYTICS",
        "create table, create view on schema ANALYTICS.MARTS",
        "create table, create view on schema ANALYTICS.STAGING",
    ),
    "REPORTER": (
        "usage on database ANALYTICS",
        "usage on schema ANALYTICS.MARTS",
        "select on future tables in schema ANALYTICS.MARTS",
        "select on future views in schema ANALYTICS.MARTS",
    ),
}
ROWS = {
    "LOADER": (
        "create table RAW.RETAIL.SALES (ID number, CITY varchar, PRICE number(10, 2))",
        "insert into RAW.RETAIL.SALES values (1, 'Lyon', 2.5), (2, 'Oslo', 3)",
        "create stage RAW.RETAIL.FILES",
        "create file format RAW.RETAIL.LINES type = csv",
    ),
    "TRANSFORMER": (
        "create table ANALYTICS.MARTS.REVENUE as select CITY, sum(PRICE) as TOTAL from RAW.RETAIL.SALES group by CITY",
        "create view ANALYTICS.MARTS.CITIES as select CITY from RAW.RETAIL.SALES",
        "create view ANALYTICS.STAGING.HIDDEN as select * from RAW.RETAIL.SALES",
        "create view ANALYTICS.MARTS.UPPER_CITIES as select upper(CITY) as CITY from ANALYTICS.MARTS.CITIES",
        "create table ANALYTICS.STAGING.WORK (ID number, CITY varchar)",
    ),
}
KEY = private_key()


class Shop:
    """A server with three users named like their roles; ``run(role, sql)`` answers in a session of that user."""

    def __init__(self, server: EmulatedSnowflake) -> None:
        self.server = server
        self._sessions: dict[str, Any] = {}
        for statement in MADE:
            server.query(statement)
        for role, grants in GRANTS.items():
            server.add_user(role, role, *grants, key=KEY, warehouse="SHARED")
        for role, statements in ROWS.items():
            for statement in statements:
                self.run(role, statement)

    def session(self, user: str, **login: Any) -> Any:
        """A session of its own."""
        return self.server.connect(**{**self.server.login_of(user, KEY), **login})

    def run(self, role: str, sql: str) -> list[tuple[Any, ...]]:
        """Rows of a statement; ``ADMIN`` is the administrator."""
        if role == "ADMIN":
            return self.server.query(sql)
        if role not in self._sessions:
            self._sessions[role] = self.session(role)
        return [tuple(row) for row in self._sessions[role].cursor().execute(sql).fetchall()]

    def refused(self, role: str, sql: str, code: int, words: str = "") -> None:
        """A statement that fails with this code, and has no effect that is looked at here."""
        with pytest.raises(Error) as caught:
            self.run(role, sql)
        assert caught.value.errno == code, f"{sql}: {caught.value}"
        assert words in str(caught.value), sql
