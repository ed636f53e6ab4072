"""What a person and a program get from the role metabase, here with the embedded dashboard server."""

from __future__ import annotations

import datetime
import json
import time
from pathlib import Path
from typing import Any

import pytest

BOUNDED = Path(__file__).parents[2] / "shared/files/bounded.py"
URL = "http://localhost:3000"
ADMIN = {"username": "admin@molecule.example", "password": "admin-secret-1"}


def call(host: Any, method: str, path: str, body: Any = None, session: str = "") -> tuple[int, Any]:
    """One request from the host itself: status, and the answer parsed where it is JSON."""
    script = (
        "import json, sys, urllib.error, urllib.request as u\n"
        "method, url, body, session = sys.argv[1:]\n"
        "headers = {'Content-Type': 'application/json', 'X-Metabase-Session': session}\n"
        "try:\n"
        "    answer = u.urlopen(u.Request(url, body.encode() or None, headers, method=method), timeout=60)\n"
        "except urllib.error.HTTPError as error:\n"
        "    answer = error\n"
        "print(answer.status, answer.read().decode())"
    )
    text = "" if body is None else json.dumps(body)
    status, _, answer = host.check_output(
        "python3 -c %s %s %s %s %s", script, method, URL + path, text, session
    ).partition(" ")
    try:
        return int(status), json.loads(answer)
    except ValueError:
        return int(status), answer


def log_in(host: Any) -> str:
    status, answer = call(host, "POST", "/api/session", ADMIN)
    assert status == 200, answer
    return str(answer["id"])


def wait_until_it_answers(host: Any) -> None:
    for _ in range(60):
        if host.run("python3 -c %s", f"import urllib.request as u; u.urlopen('{URL}/api/health')").rc == 0:
            return
        time.sleep(1)
    pytest.fail(host.run("docker logs --tail 30 metabase 2>&1").stdout)


def test_set_up_is_done_and_closed(host: Any) -> None:
    properties = call(host, "GET", "/api/session/properties")[1]
    assert (properties["has-user-setup"], properties["setup-token"]) == (True, None)
    body = {
        "token": "guess",
        "user": {"email": "x@y.example", "password": "secret1"},
        "prefs": {"site_name": "Mine"},
    }
    assert call(host, "POST", "/api/setup", body)[0] == 403


def test_the_server_is_no_root_has_no_capability_and_is_bounded(host: Any) -> None:
    assert host.check_output("printf %%s %s | python3 - metabase 10001 /data", BOUNDED.read_text()) == ""


def test_only_the_administrator_logs_in(host: Any) -> None:
    assert call(host, "POST", "/api/session", {**ADMIN, "password": "wrong1"})[0] == 401
    assert call(host, "GET", "/api/card")[0] == 401
    assert call(host, "GET", "/api/user/current", session=log_in(host))[1]["email"] == ADMIN["username"]


def test_every_card_of_every_dashboard_returns_its_rows(host: Any) -> None:
    session = log_in(host)
    dashboards = call(host, "GET", "/api/dashboard", session=session)[1]
    assert [dashboard["name"] for dashboard in dashboards] == ["Net revenue", "Pipeline health"]
    found = {}
    for dashboard in dashboards:
        places = call(host, "GET", f"/api/dashboard/{dashboard['id']}", session=session)[1]["dashcards"]
        for place in places:
            status, answer = call(host, "POST", f"/api/card/{place['card_id']}/query", {}, session)
            assert (status, answer["status"]) == (202, "completed"), answer
            found[place["card"]["name"]] = [row[:2] for row in answer["data"]["rows"]]
    assert found["Net revenue"] == [[1109.25]]
    assert found["Orders"] == [[6]]
    days = found["Net revenue by day"]
    assert days[0] == ["2026-01-01", 1109.25]
    assert {revenue for _, revenue in days[1:]} == {0}, "a day without orders is there, with zero"
    assert len(days) >= (datetime.datetime.now(datetime.UTC).date() - datetime.date(2026, 1, 1)).days
    assert found["Top products"] == [["Pen", 1109.25]]
    assert found["Net revenue by country"] == [["India", 1010.25], ["Kenya", 99]]
    assert found["Net revenue by state"] == [["Maharashtra", 1010.25], ["Nairobi", 99]]
    assert found["Net revenue by city"] == [
        ["Pune", 1000.25],
        ["<script>alert(1)</script>", 99],
        ["Mumbai", 10],
    ]
    assert found["Minutes since the last load"][0][0] <= 60
    assert found["State"] == [
        ["Cycles", "Well"],
        ["Reconciliation", "Well"],
        ["Daily tests", "Unknown"],
        ["Arrival of orders", "Well"],
        ["Marts", "Well"],
    ]
    assert found["Orders by day"][0] == ["2026-01-01", 6]
    assert len(found["Orders by hour"]) == 49
    assert found["Countries"] == found["Net revenue by country"]
    assert found["Role of the cards"] == [["REPORTER"]]
    assert {failing for _, failing in found["Failed checks"]} == {0}


def test_a_filter_reaches_the_cards(host: Any) -> None:
    session = log_in(host)
    page = call(host, "GET", "/dashboard/1?country=Kenya", session=session)[1]
    assert "$99.00" in page
    assert "$1,109.25" not in page
    injected = call(host, "GET", "/dashboard/1?country=%27%20or%201%3D1%20--", session=session)[1]
    assert "$1,109.25" not in injected


def test_a_date_reaches_the_cards(host: Any) -> None:
    session = log_in(host)
    assert "$1,109.25" in call(host, "GET", "/dashboard/1?from=2026-01-01&to=2026-01-01", session=session)[1]
    assert (
        "$1,109.25" not in call(host, "GET", "/dashboard/1?from=2026-01-03&to=2026-01-03", session=session)[1]
    )


def test_only_the_readers_group_and_administrators_see_the_content(host: Any) -> None:
    session = log_in(host)
    groups = {
        one["name"]: one["id"] for one in call(host, "GET", "/api/permissions/group", session=session)[1]
    }
    for group, sees in (("RetailFlow readers", True), ("All Users", False)):
        body = {"name": group, "group_id": groups[group]}
        made = call(host, "POST", "/api/api-key", body, session)[1]
        key = made["unmasked_key"]
        script = (
            "import sys, urllib.request as u\n"
            "print(u.urlopen(u.Request(sys.argv[1], headers={'X-API-Key': sys.argv[2]})).read().decode())"
        )
        found = json.loads(host.check_output("python3 -c %s %s %s", script, URL + "/api/dashboard", key))
        assert bool(found) is sees
        assert call(host, "DELETE", f"/api/api-key/{made['id']}", session=session)[0] == 204


def test_a_server_without_a_user_is_not_left_open(host: Any) -> None:
    bindings = host.check_output("docker inspect --format '{{json .HostConfig.PortBindings}}' metabase")
    assert json.loads(bindings)["3000/tcp"][0]["HostIp"] in ("", "0.0.0.0")
    assert host.file("/var/lib/retailflow/metabase/set_up").exists


def test_the_page_shows_the_figures_and_says_what_it_is(host: Any) -> None:
    session = log_in(host)
    page = call(host, "GET", "/dashboard/1", session=session)[1]
    for text in ("$1,109.25", "$1,010.25", "<svg", "not Metabase"):
        assert text in page
    tab = call(host, "GET", "/dashboard/1?tab=2", session=session)[1]
    for text in ("$1,000.25", "&lt;script&gt;"):
        assert text in tab
    assert "<script" not in page + tab


def test_secrets_are_not_readable_in_the_application_database(host: Any) -> None:
    dump = host.check_output("docker exec postgres pg_dump --username=metabase metabase")
    assert "snowflake.molecule.internal" in dump
    key = host.check_output("docker exec metabase printenv MB_ENCRYPTION_SECRET_KEY")
    for secret in (ADMIN["password"], key, "data:application/octet-stream;base64"):
        assert secret not in dump


def test_it_survives_a_restart_with_its_sessions(host: Any) -> None:
    session = log_in(host)
    host.check_output("docker restart metabase")
    wait_until_it_answers(host)
    assert call(host, "GET", "/api/user/current", session=session)[0] == 200


def test_a_warehouse_that_is_away_is_named_and_comes_back(host: Any) -> None:
    session = log_in(host)
    host.check_output("docker stop --time 10 snowflake")
    try:
        status, answer = call(host, "POST", "/api/card/1/query", {}, session)
        assert (status, answer["status"]) == (202, "failed")
        assert "snowflake.molecule.internal cannot be used" in answer["error"]
    finally:
        host.check_output("docker start snowflake")
    for _ in range(60):
        if call(host, "POST", "/api/card/1/query", {}, session)[1]["status"] == "completed":
            return
        time.sleep(1)
    pytest.fail(host.run("docker logs --tail 30 metabase 2>&1").stdout)
