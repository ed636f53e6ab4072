"""The module snowflake_objects against a Snowflake of dictionaries."""

from __future__ import annotations

import datetime
import decimal
import itertools
import re
from typing import Any

import pytest
from ansible.module_utils import snowflake_login, snowflake_plan
from ansible.module_utils.snowflake_marks import NotOursError

import snowflake_objects as objects
import snowflake_query as query
from snowflake_support import MARK, Snowflake, public_key

KEY, OTHER_KEY, THIRD_KEY = public_key(), public_key(), public_key()
ROLES = {"objects": "SYSADMIN", "users": "USERADMIN", "grants": "SECURITYADMIN", "account": "ACCOUNTADMIN"}


def user(**changes: Any) -> dict[str, Any]:
    return {"name": "AIRBYTE", "role": "LOADER", "warehouse": "LOADING", "public_key": KEY} | changes


def grant(**changes: Any) -> dict[str, Any]:
    return {
        "role": "LOADER",
        "privileges": ["SELECT"],
        "object_type": "TABLE",
        "object": "RAW.RETAIL",
    } | changes


def params(**changes: Any) -> dict[str, Any]:
    return {
        "state": "present",
        "mark": MARK,
        "roles": ROLES,
        "parent_role": "SYSADMIN",
        "databases": [
            {"name": "RAW", "schemas": ["RETAIL"]},
            {"name": "analytics", "schemas": ["STAGING", "MARTS"]},
        ],
        "remove_databases": False,
        "warehouses": [{"name": "LOADING", "size": "XSMALL", "auto_suspend": 60}],
        "users": [user()],
        "grants": [
            grant(privileges=["USAGE", "CREATE SCHEMA"], object_type="DATABASE", object="RAW"),
            grant(),
        ],
        "database_roles": [{"role": "LOADER", "database_role": "SNOWFLAKE.USAGE_VIEWER"}],
    } | changes


def planned(
    server: Snowflake, wanted: dict[str, Any]
) -> tuple[list[snowflake_plan.Statement], dict[str, list[str]]]:
    """What the module would run after a login, and what else it says."""
    server.role = "SECURITYADMIN"
    found: tuple[list[snowflake_plan.Statement], dict[str, list[str]]] = objects.plan(server, wanted)
    return found


def apply(server: Snowflake, wanted: dict[str, Any]) -> list[str]:
    """Run what is missing, in the roles that the plan says; return it without the changes of role."""
    statements, _ = planned(server, wanted)
    for line in objects.with_roles(statements, server.role):
        server(line)
    return [one.sql for one in statements]


@pytest.fixture
def server() -> Snowflake:
    server = Snowflake()
    apply(server, params())
    return server


def test_everything_is_made_and_a_second_run_changes_nothing(server: Snowflake) -> None:
    assert {"RAW.RETAIL", "ANALYTICS.STAGING", "ANALYTICS.MARTS"} <= server.schemas
    assert server.user_roles == {("AIRBYTE", "LOADER")}
    assert ("LOADER", "USAGE", "WAREHOUSE", "LOADING") in server.grants
    assert ("SYSADMIN", "USAGE", "ROLE", "LOADER") in server.grants
    assert ("LOADER", "SELECT", "TABLE", "RAW.RETAIL.<TABLE>") in server.future
    for kind in snowflake_plan.KINDS:
        (made, *_) = server.names(kind)
        assert server.objects[kind, made]["comment"] == MARK, kind
    assert apply(server, params()) == []


def test_the_account_role_runs_one_statement_and_may_be_left_out() -> None:
    lone = Snowflake()
    statements, _ = planned(lone, params())
    assert [one.sql for one in statements if one.role == "ACCOUNTADMIN"] == [
        "grant database role SNOWFLAKE.USAGE_VIEWER to role LOADER"
    ]
    statements, _ = planned(lone, params(roles=ROLES | {"account": ""}))
    assert "ACCOUNTADMIN" not in {one.role for one in statements}


def test_looking_changes_nothing(server: Snowflake) -> None:
    server.ran.clear()
    planned(server, params(databases=[{"name": "NEW", "schemas": ["S"]}]))
    assert server.ran == []


@pytest.mark.parametrize(
    ("changes", "statement"),
    [
        (
            {"databases": [{"name": "RAW", "schemas": ["RETAIL", "MORE"]}]},
            f"create schema RAW.MORE comment = '{MARK}'",
        ),
        (
            {"warehouses": [{"name": "LOADING", "size": "SMALL", "auto_suspend": 60}]},
            "alter warehouse LOADING set warehouse_size = SMALL auto_suspend = 60 auto_resume = true",
        ),
        (
            {"users": [user(public_key=OTHER_KEY)]},
            f"alter user AIRBYTE set rsa_public_key_2 = '{snowflake_plan.key_body(OTHER_KEY)}'",
        ),
        (
            {"grants": [grant(privileges=["usage"], object_type="SCHEMA")]},
            "grant USAGE on SCHEMA RAW.RETAIL to role LOADER",
        ),
        (
            {"grants": [grant(object_type="VIEW", object="RAW")]},
            "grant SELECT on future VIEWS in database RAW to role LOADER",
        ),
    ],
)
def test_only_what_differs_is_changed(server: Snowflake, changes: dict[str, Any], statement: str) -> None:
    assert apply(server, params(**changes)) == [statement]
    assert apply(server, params(**changes)) == []


def test_what_somebody_dropped_comes_back(server: Snowflake) -> None:
    server.user_roles.clear()
    server.schemas.remove("ANALYTICS.MARTS")
    assert apply(server, params()) == [
        f"create schema ANALYTICS.MARTS comment = '{MARK}'",
        "grant role LOADER to user AIRBYTE",
    ]


@pytest.mark.parametrize("kind", ["TABLE", "VIEW"])
def test_an_object_without_the_privilege_gets_it_whenever_it_was_made(server: Snowflake, kind: str) -> None:
    wanted = params(grants=[grant(object_type=kind, object="RAW")])
    apply(server, wanted)
    server.tables = {"RAW.RETAIL.OLD": kind, "RAW.INFORMATION_SCHEMA.TABLES": "VIEW"}
    assert apply(server, wanted) == [f"grant SELECT on all {kind}S in database RAW to role LOADER"]
    assert apply(server, wanted) == []


def test_grants_of_two_levels_are_refused() -> None:
    wanted = params(grants=[grant(), grant(role="OTHER", object="RAW")])
    with pytest.raises(ValueError, match="put those on all of RAW out of force"):
        planned(Snowflake(), wanted)


# --- what is not ours -----------------------------------------------------------------------------------------------

NAMES = {"database": "RAW", "warehouse": "LOADING", "role": "LOADER", "user": "AIRBYTE"}
COMMENTS = [
    "",
    "the data team's",
    "managed by retailflow: shop-2",
    "managed by retailflow: other",
    "it's \\ theirs",
]


def made_by_hand(server: Snowflake, kind: str, comment: str, owner: str = "ACCOUNTADMIN") -> None:
    """Put an object with one of our names that somebody else made into the account."""
    server.objects[kind, NAMES[kind]] = {
        "name": NAMES[kind],
        "comment": comment,
        "owner": owner,
        "size": "X-Large",
        "auto_suspend": 600,
    }
    server.keys[NAMES[kind]] = server.set_at[NAMES[kind]] = {}


@pytest.mark.parametrize(("kind", "comment"), [*itertools.product(NAMES, COMMENTS)])
def test_what_lacks_our_mark_is_refused_before_anything_changes(kind: str, comment: str) -> None:
    server = Snowflake()
    made_by_hand(server, kind, comment)
    before = dict(server.objects)
    for state in ("present", "one_key"):
        with pytest.raises(NotOursError, match="Nothing was changed in Snowflake") as refused:
            planned(server, params(state=state))
        assert f"{kind} {NAMES[kind]}" in str(refused.value)
        marking = f"alter {kind} {NAMES[kind]} set comment = '{MARK}';"
        assert (marking in str(refused.value)) == (not comment.startswith("managed by retailflow: ")), comment
    assert apply(server, params(state="absent", remove_databases=True)) == []
    assert server.objects == before and server.ran == []


def test_all_of_them_are_named_at_once_with_what_to_do() -> None:
    server = Snowflake()
    for kind in NAMES:
        made_by_hand(server, kind, "" if kind != "warehouse" else "managed by retailflow: other")
    with pytest.raises(NotOursError) as refused:
        planned(server, params())
    for words in (
        "belong to another site: warehouse LOADING (managed by retailflow: other)",
        "user AIRBYTE, role LOADER, database RAW",
        "retailflow_snowflake_prefix",
        "grant ownership on database RAW to role SYSADMIN copy current grants;",
        "grant ownership on role LOADER to role USERADMIN copy current grants;",
    ):
        assert words in str(refused.value)


def test_the_statements_of_the_refusal_make_it_ours() -> None:
    """A database of an earlier release, or one that a person made for us."""
    server = Snowflake()
    made_by_hand(server, "database", "")
    with pytest.raises(NotOursError) as refused:
        planned(server, params())
    (comment,) = re.findall(r"alter database RAW set comment = '(.*?)';", str(refused.value))
    server.objects["database", "RAW"]["comment"] = comment
    assert f"create schema RAW.RETAIL comment = '{MARK}'" in apply(server, params())


@pytest.mark.parametrize("behind", ["", " ", "; ask Ada", "\nsecond line", ". Since 2026"])
def test_people_may_write_behind_the_mark(server: Snowflake, behind: str) -> None:
    for row in server.objects.values():
        if row["comment"]:
            row["comment"] += behind
    assert apply(server, params()) == []


def test_a_taken_name_that_cannot_be_seen_is_not_adopted() -> None:
    """CREATE has no IF NOT EXISTS: what the look-up did not show makes it fail."""
    statements, _ = planned(Snowflake(), params())
    assert not [
        one.sql for one in statements if "if not exists" in one.sql.lower() or "replace" in one.sql.lower()
    ]


# --- keys -----------------------------------------------------------------------------------------------------------


def test_an_exchange_of_keys_locks_nobody_out(server: Snowflake) -> None:
    changed = params(users=[user(public_key=OTHER_KEY)])
    assert apply(server, changed | {"state": "one_key"}) == [], "its key is not there yet"
    apply(server, changed)
    assert server.accepts("AIRBYTE", KEY) and server.accepts("AIRBYTE", OTHER_KEY)
    assert apply(server, changed) == []
    assert apply(server, changed | {"state": "one_key"}) == ["alter user AIRBYTE unset rsa_public_key"]
    assert not server.accepts("AIRBYTE", KEY) and server.accepts("AIRBYTE", OTHER_KEY)
    assert apply(server, changed | {"state": "one_key"}) == apply(server, changed) == []
    again = params(users=[user(public_key=THIRD_KEY)])
    assert apply(server, again)[0].startswith("alter user AIRBYTE set rsa_public_key =")
    assert server.accepts("AIRBYTE", OTHER_KEY) and server.accepts("AIRBYTE", THIRD_KEY)


def test_a_third_key_replaces_the_older_one(server: Snowflake) -> None:
    """Two exchanges without the end of the first: the key set last is the one that programs have."""
    for key in (OTHER_KEY, THIRD_KEY):
        apply(server, params(users=[user(public_key=key)]))
    assert [server.accepts("AIRBYTE", one) for one in (KEY, OTHER_KEY, THIRD_KEY)] == [False, True, True]


def test_a_key_that_is_to_be_made_is_said_in_check_mode(server: Snowflake) -> None:
    statements, _ = planned(server, params(users=[user(public_key="")]))
    assert [one.sql for one in statements] == [
        f"alter user AIRBYTE set rsa_public_key_2 = '{snowflake_plan.NOT_YET}'"
    ]
    assert planned(server, params(users=[user(public_key="")], state="one_key"))[0] == []


# --- removal --------------------------------------------------------------------------------------------------------


def test_removal_keeps_the_rows_and_who_owns_them_unless_told(server: Snowflake) -> None:
    apply(server, params(state="absent"))
    assert [server.names(kind) for kind in snowflake_plan.KINDS] == [
        set(),
        set(),
        {"RAW", "ANALYTICS"},
        {"LOADER"},
    ]
    apply(server, params(state="absent", remove_databases=True))
    assert not any(server.names(kind) for kind in snowflake_plan.KINDS)
    assert apply(server, params(state="absent", remove_databases=True)) == []


def test_removal_says_what_it_left(server: Snowflake) -> None:
    made_by_hand(server, "database", "somebody's")
    statements, said = planned(server, params(state="absent", remove_databases=True))
    assert said == {"kept": ["database RAW"]}
    assert "drop database ANALYTICS" in [one.sql for one in statements]


# --- input ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("bad", ["RAW; drop database X", 'R"AW', "", "A.B.C", "1RAW", "RAW\n", "RÄW", "A B"])
@pytest.mark.parametrize("what", ["database", "warehouse", "user", "role", "grant"])
def test_names_that_need_quotes_are_refused(what: str, bad: str) -> None:
    changes: dict[str, Any] = {
        "database": {"databases": [{"name": bad, "schemas": []}]},
        "warehouse": {"warehouses": [{"name": bad, "size": "XSMALL", "auto_suspend": 60}]},
        "user": {"users": [user(name=bad)]},
        "role": {"users": [user(role=bad)]},
        "grant": {"grants": [grant(object=bad)]},
    }[what]
    with pytest.raises(ValueError, match="not a plain Snowflake identifier"):
        planned(Snowflake(), params(**changes))


def test_a_privilege_is_not_a_statement() -> None:
    bad = grant(privileges=["ALL on x to y; drop"], object_type="DATABASE", object="RAW")
    with pytest.raises(ValueError, match="not a privilege"):
        planned(Snowflake(), params(grants=[bad]))


def test_a_mark_is_a_literal() -> None:
    assert snowflake_plan.text("it's \\' or 1") == "'it''s \\\\'' or 1'"


@pytest.mark.parametrize("marker", ["PRIVATE KEY", "RSA PUBLIC KEY", "CERTIFICATE"])
def test_what_is_no_public_key_is_refused(marker: str) -> None:
    with pytest.raises(ValueError, match="PEM public key"):
        snowflake_plan.fingerprint(f"-----BEGIN {marker}-----\nAAAA\n-----END {marker}-----")


def test_a_broken_public_key_is_refused() -> None:
    with pytest.raises(ValueError, match="PEM public key"):
        snowflake_plan.fingerprint("-----BEGIN PUBLIC KEY-----\nA'; drop\n-----END PUBLIC KEY-----")


def test_the_fingerprint_is_snowflakes() -> None:
    """As ``openssl rsa -pubin -outform DER | openssl dgst -sha256 -binary | openssl enc -base64`` prints it."""
    pem = "-----BEGIN PUBLIC KEY-----\nAAECAw==\n-----END PUBLIC KEY-----\n"
    assert snowflake_plan.fingerprint(pem) == "SHA256:BU7ewdAhH2JP7Qy8qdT5QAsOSRxDdCryxbCr6/DJkNg="


def test_rows_keep_their_cents() -> None:
    assert query.plain(decimal.Decimal("0.10")) == "0.10"
    assert query.plain(datetime.date(2026, 1, 2)) == "2026-01-02"
    assert query.plain(None) is None


def test_every_argument_is_documented() -> None:
    for name in objects.ARGUMENTS:
        assert re.search(rf"^  {name}:", objects.DOCUMENTATION, re.MULTILINE), name
    assert set(snowflake_login.LOGIN_SPEC) >= {"account", "user", "role", "private_key_path"}
