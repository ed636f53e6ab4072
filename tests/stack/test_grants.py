"""Who may do what in the running site's Snowflake, also after a stream was read again."""

from __future__ import annotations

import pytest
import snowflake.connector

from .conftest import PORTS, PREFIX, SECRETS
from .site import make, status, warehouse

RAW = f"{PREFIX}RAW.RETAIL.SALES"
STAGING = f"{PREFIX}ANALYTICS.STAGING.STG_SALES"
MART = f"{PREFIX}ANALYTICS.MARTS.FCT_SALES"
USERS = ("airbyte", "dbt", "metabase", "observer")
#: What each may read; what is not named is refused as if it did not exist.
READS = {"airbyte": {RAW}, "dbt": {RAW, STAGING, MART}, "metabase": {MART}, "observer": {RAW, MART}}
PROBES = {
    "airbyte": {f"{PREFIX}RAW.RETAIL"},
    "dbt": {f"{PREFIX}ANALYTICS.STAGING", f"{PREFIX}ANALYTICS.MARTS"},
    "metabase": set(),
    "observer": set(),
}


def allowed(user: str, *statements: str) -> bool:
    """Whether a user may run statements; any error but a refusal fails the test."""
    with warehouse(user) as session:
        for statement in statements:
            try:
                session.cursor().execute(statement)
            except snowflake.connector.errors.ProgrammingError as error:
                assert error.errno in (2003, 3001), f"{user}: {statement}: {error}"
                return False
    return True


def read(user: str) -> set[str]:
    return {one for one in (RAW, STAGING, MART) if allowed(user, f"select count(*) from {one}")}


@pytest.mark.parametrize("user", USERS)
def test_each_reads_what_it_needs_and_nothing_else(user: str) -> None:
    assert read(user) == READS[user]


@pytest.mark.parametrize("user", USERS)
def test_each_writes_where_it_owns(user: str) -> None:
    schemas = {f"{PREFIX}RAW.RETAIL", f"{PREFIX}ANALYTICS.STAGING", f"{PREFIX}ANALYTICS.MARTS"}
    probe = {
        one
        for one in schemas
        if allowed(user, f"create table {one}.PROBE (N number)", f"drop table {one}.PROBE")
    }
    assert probe == PROBES[user]
    written = {one for one in (RAW, MART) if allowed(user, f"delete from {one} where 1 = 0")}
    assert written == {"airbyte": {RAW}, "dbt": {MART}}.get(user, set())


def test_after_a_refresh_everybody_reads_what_they_did() -> None:
    """The table may be another one by then: it was swapped, or made again."""
    make("refresh", "STREAM=customers")
    customers = f"{PREFIX}RAW.RETAIL.CUSTOMERS"
    found = {user: allowed(user, f"select count(*) from {customers}") for user in USERS}
    assert found == {"airbyte": True, "dbt": True, "metabase": False, "observer": True}
    assert {user: read(user) for user in USERS} == READS


def test_status_and_a_cycle_do_without_the_administrator() -> None:
    """The password of the administrator would be made again by whoever asks for it."""
    secret = SECRETS / "snowflake_admin"
    hidden = secret.with_suffix(".hidden")
    secret.rename(hidden)
    try:
        found = status()
        assert found.well, found.text
        assert found.found["credits"]["answers"], found.found["credits"]
        make("run")
        assert not secret.exists()
    finally:
        hidden.rename(secret)


@pytest.mark.parametrize(("user", "password"), [("ADMIN", "any"), (f"{PREFIX}DBT", "any"), ("NOBODY", "any")])
def test_a_wrong_login_is_refused(user: str, password: str) -> None:
    with pytest.raises(snowflake.connector.errors.DatabaseError, match="390100"):
        snowflake.connector.connect(
            account="retailflow",
            user=user,
            password=password,
            host="127.0.0.1",
            port=PORTS["snowflake"],
            disable_ocsp_checks=True,
            login_timeout=10,
        )
