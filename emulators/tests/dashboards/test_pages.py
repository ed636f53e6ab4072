"""The pages that people read."""

from __future__ import annotations

import html
import re

import pytest
from starlette.testclient import TestClient

from retailflow_emulators.dashboards import vault
from retailflow_emulators.dashboards.settings import Settings
from retailflow_emulators.dashboards.store import Store
from retailflow_emulators.dashboards.warehouse import Result

from .conftest import ADMIN, FakeWarehouse, add_card, add_dashboard, add_database, card_body, filtered, reader


def test_pages_ask_to_log_in_and_come_back(client: TestClient) -> None:
    del client.headers["X-Metabase-Session"]
    asked = client.get("/dashboard/1")
    assert (asked.status_code, asked.headers["location"]) == (303, "/login?redirect=/dashboard/1")
    form = client.get(asked.headers["location"]).text
    assert "not Metabase" in form
    assert 'value="/dashboard/1"' in form
    wrong = client.post(
        "/login", data={"username": ADMIN["email"], "password": "x", "redirect": "/dashboard/1"}
    )
    assert wrong.status_code == 401
    right = client.post(
        "/login", data={"username": ADMIN["email"], "password": "secret1", "redirect": "/dashboard/1"}
    )
    assert (right.status_code, right.headers["location"]) == (303, "/dashboard/1")
    assert "HttpOnly" in right.headers["set-cookie"]
    assert client.get("/").status_code == 200
    assert client.post("/logout").status_code == 303
    assert client.get("/").status_code == 303


@pytest.mark.parametrize(
    "target", ["https://elsewhere.example", "//elsewhere.example", "/\\elsewhere.example"]
)
def test_log_in_never_leads_elsewhere(client: TestClient, target: str) -> None:
    answer = client.post(
        "/login", data={"username": ADMIN["email"], "password": "secret1", "redirect": target}
    )
    assert answer.headers["location"] == "/"


def test_a_dashboard_draws_its_cards_escaped_and_formatted(client: TestClient) -> None:
    database = add_database(client)["id"]
    money = {'["name","NET_REVENUE"]': {"number_style": "currency", "currency": "USD"}}
    card = card_body(database)["visualization_settings"] | {"column_settings": money}
    made = add_dashboard(client, add_card(client, database, visualization_settings=card)["id"])
    page = client.get(f"/dashboard/{made['id']}")
    assert "$1,234.50" in page.text
    assert "-$10.00" in page.text
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page.text
    assert "<script" not in page.text
    assert "default-src 'none'" in page.headers["content-security-policy"]


def test_a_dashboard_shows_what_is_wrong_beside_what_works(
    client: TestClient, warehouse: FakeWarehouse
) -> None:
    database = add_database(client)["id"]
    good, bad = add_card(client, database)["id"], add_card(client, database, sql="select broken")["id"]
    made = add_dashboard(client, good, bad)
    page = client.get(f"/dashboard/{made['id']}").text
    assert "1,234.50" in page
    assert "no such table" in page
    warehouse.result = Result(warehouse.result.columns, [])
    assert "No rows yet." in client.get(f"/dashboard/{made['id']}").text
    assert client.get("/dashboard/99").status_code == 404


def test_every_page_says_what_it_is(client: TestClient) -> None:
    made = filtered(client)
    pages = (
        "/",
        "/login",
        f"/dashboard/{made['id']}",
        "/dashboard/99",
        "/nowhere",
    )
    for page in pages:
        assert "mbedded dashboard server, not Metabase" in client.get(page).text, page


def test_the_page_filters_and_remembers_what_was_chosen(client: TestClient, warehouse: FakeWarehouse) -> None:
    made = filtered(client)
    page = client.get(f"/dashboard/{made['id']}?country=India").text
    assert '<option value="India" selected>India</option>' in page
    assert "<script" not in page
    assert ("select 1 where c = %(country)s", {"country": "India"}) in warehouse.queries
    odd = client.get(f"/dashboard/{made['id']}", params={"country": '"><script>'}).text
    assert "<script" not in odd
    warehouse.down = "gone"
    assert '<input name="country" value="India">' in client.get(f"/dashboard/{made['id']}?country=India").text


def test_a_page_shows_a_person_what_the_api_shows(
    client: TestClient, settings: Settings, warehouse: FakeWarehouse
) -> None:
    made, group = filtered(client), reader(client)[0]
    store = Store(settings.database_url)
    store.add("user", {"email": "r@b.example", "is_superuser": False, "group_ids": [1, group]})
    store.add_session(vault.hash_token("reader"), 2, seconds=60)
    store.close()
    person = {"X-Metabase-Session": "reader"}
    collection = client.post("/api/collection", json={"name": "Shop"}).json()["id"]
    client.put(f"/api/dashboard/{made['id']}", json={"collection_id": collection})
    path = f"/dashboard/{made['id']}"

    def allow(everybody: str, readers: str) -> None:
        graph = client.get("/api/collection/graph").json()
        graph["groups"]["1"] = {"root": "none", str(collection): everybody}
        graph["groups"][str(group)] = {str(collection): readers}
        assert client.put("/api/collection/graph", json=graph).status_code == 200

    allow("none", "none")
    assert client.get(f"/api{path}", headers=person).status_code == 403
    page = client.get(path, headers=person)
    assert page.status_code == 403
    assert "have permissions to do that" in page.text
    assert "Sales" not in client.get("/", headers=person).text
    allow("none", "read")
    warehouse.queries.clear()
    page = client.get(path, headers=person)
    assert (page.status_code, "Sales" in page.text) == (200, True)
    # Its card and the values of its filter lie in another collection, which this person may not read.
    assert "have permissions to do that" in page.text
    assert warehouse.queries == []
    place = made["dashcards"][0]
    for refused in (
        client.get(f"/api{path}/params/f1/values", headers=person),
        client.post(f"/api{path}/dashcard/{place['id']}/card/{place['card_id']}/query", headers=person),
    ):
        assert refused.status_code == 403


def test_an_empty_result_says_why_and_filters_can_be_reset(
    client: TestClient, warehouse: FakeWarehouse
) -> None:
    made = filtered(client)
    path = f"/dashboard/{made['id']}"
    assert "Reset" not in client.get(path).text
    warehouse.result = Result(warehouse.result.columns, [])
    chosen = client.get(f"{path}?country=India").text
    assert "Nothing matches these filters." in chosen
    assert 'class="reset" href="?tab="' in chosen
    assert "No rows yet." in client.get(f"{path}?country=").text


def test_a_filter_offers_what_goes_with_the_others(client: TestClient, warehouse: FakeWarehouse) -> None:
    made = filtered(client)
    parameter = made["parameters"][0]
    state = {**parameter, "id": "f2", "name": "State", "slug": "state"}
    places = [
        {
            **one,
            "parameter_mappings": [
                *one["parameter_mappings"],
                {**one["parameter_mappings"][0], "parameter_id": "f2"},
            ],
        }
        for one in made["dashcards"]
    ]
    parameters = [{**parameter, "values_source_type": None}, state]
    kept = ("id", "card_id", "row", "col", "size_x", "size_y", "parameter_mappings")
    body = {"parameters": parameters, "dashcards": [{name: one[name] for name in kept} for one in places]}
    assert client.put(f"/api/dashboard/{made['id']}", json=body).status_code == 200
    warehouse.queries.clear()
    client.get(f"/dashboard/{made['id']}?country=India")
    # The card that the offer of State comes from has the variable country too.
    assert warehouse.queries == [("select 1 where c = %(country)s", {"country": "India"})] * 2


def test_a_value_that_goes_with_no_other_filter_is_named(client: TestClient) -> None:
    page = client.get(f"/dashboard/{filtered(client)['id']}?country=Atlantis").text
    assert "Nothing goes with all of these filters" in page
    assert "Country “Atlantis”" in page


def test_a_tab_shows_the_filters_of_its_cards_and_keeps_the_others(client: TestClient) -> None:
    """As Metabase does: a filter that no card of the tab has would not change what one sees."""
    made = filtered(client)
    place = {key: made["dashcards"][0][key] for key in ("card_id", "row", "col", "size_x", "size_y")}
    mappings = made["dashcards"][0]["parameter_mappings"]
    body = {
        "tabs": [{"id": -1, "name": "One"}, {"id": -2, "name": "Two"}],
        "dashcards": [
            {**place, "id": -1, "dashboard_tab_id": -1, "parameter_mappings": mappings},
            {**place, "id": -2, "dashboard_tab_id": -2},
        ],
    }
    first, second = client.put(f"/api/dashboard/{made['id']}", json=body).json()["tabs"]
    path = f"/dashboard/{made['id']}?country=India&tab="
    assert '<select name="country">' in client.get(f"{path}{first['id']}").text
    page = client.get(f"{path}{second['id']}").text
    assert '<select name="country">' not in page
    assert f'href="?country=India&amp;tab={first["id"]}"' in page


def test_a_tile_without_a_figure_says_why(client: TestClient, warehouse: FakeWarehouse) -> None:
    made = filtered(client)
    card = made["dashcards"][0]["card_id"]
    client.put(f"/api/card/{card}", json={"display": "scalar"})
    warehouse.result = Result(warehouse.result.columns[1:], [[None]])
    path = f"/dashboard/{made['id']}"
    assert "Nothing matches these filters." in client.get(f"{path}?country=India").text
    assert '<div class="scalar">–</div>' in client.get(path).text


def test_a_date_is_picked_from_a_calendar(client: TestClient) -> None:
    made = filtered(client)
    day = {**made["parameters"][0], "type": "date/single", "values_source_type": None}
    client.put(f"/api/dashboard/{made['id']}", json={"parameters": [day]})
    page = client.get(f"/dashboard/{made['id']}?country=2026-01-31").text
    assert '<input type="date" name="country" value="2026-01-31">' in page


def test_a_heading_sorts_its_table_and_keeps_the_filters(
    client: TestClient, warehouse: FakeWarehouse
) -> None:
    made = filtered(client)
    warehouse.result = Result(
        warehouse.result.columns, [["India", 5.0], ["Kenya", None], ["Peru", 30.0], ["Chad", 7.0]]
    )
    path, place = f"/dashboard/{made['id']}", made["dashcards"][0]["id"]

    def countries(query: str) -> tuple[str, list[str]]:
        page = client.get(f"{path}?{query}").text
        return page, re.findall(r'<td class="label"[^>]*>(\w+)</td>', page)

    page, as_they_came = countries("country=India")
    assert as_they_came == ["India", "Kenya", "Peru", "Chad"]
    largest_first = f"country=India&amp;sort={place}.NET_REVENUE.desc"
    assert f'href="?{largest_first}#dashcard-{place}"' in page
    page, found = countries(largest_first.replace("&amp;", "&"))
    assert found == ["Peru", "Chad", "India", "Kenya"]
    assert 'aria-sort="descending"' in page
    assert f"sort={place}.NET_REVENUE.asc" in page
    assert countries(f"sort={place}.COUNTRY.asc")[1] == ["Chad", "India", "Kenya", "Peru"]
    for odd in ("99.NET_REVENUE.desc", f"{place}.GONE.desc", f"{place}", ".."):
        assert countries(f"sort={odd}")[1] == as_they_came


def test_a_card_opened_from_a_dashboard_keeps_its_filters(
    client: TestClient, warehouse: FakeWarehouse
) -> None:
    made = filtered(client)
    card = made["dashcards"][0]["card_id"]
    page = client.get(f"/dashboard/{made['id']}?country=India").text
    assert f'href="/question/{card}?country=India"' in page
    warehouse.queries.clear()
    page = client.get(f"/question/{card}?country=India").text
    assert ("select 1 where c = %(country)s", {"country": "India"}) in warehouse.queries
    assert f'<a href="/dashboard/{made["id"]}?country=India">Sales</a>' in page
    parameters = html.unescape(re.findall(r'name="parameters" value="([^"]*)"', page)[0])
    warehouse.queries.clear()
    client.post(f"/api/card/{card}/query/csv", data={"parameters": parameters})
    assert warehouse.queries == [("select 1 where c = %(country)s", {"country": "India"})]


def test_every_page_leads_to_the_other_dashboards(client: TestClient) -> None:
    made, other = filtered(client), add_dashboard(client)
    for path in (f"/dashboard/{made['id']}", f"/question/{made['dashcards'][0]['card_id']}", "/dashboard/99"):
        assert f'href="/dashboard/{other["id"]}"' in client.get(path).text, path


def test_a_table_that_shows_some_of_its_rows_says_so(client: TestClient, warehouse: FakeWarehouse) -> None:
    made = add_dashboard(client, add_card(client, add_database(client)["id"], display="table")["id"])
    warehouse.result = Result(warehouse.result.columns, [["India", 1.0]] * 13)
    assert "13 rows: scroll to see all" in client.get(f"/dashboard/{made['id']}").text
    warehouse.result = Result(warehouse.result.columns, [["India", 1.0]] * 2)
    assert "scroll" not in client.get(f"/dashboard/{made['id']}").text.partition("<main>")[2]


def test_a_rule_of_the_card_colours_its_rows(client: TestClient) -> None:
    rule = {
        **{"type": "single", "operator": "<", "value": 0, "columns": ["NET_REVENUE"]},
        **{"color": "#ED6E6E", "highlight_row": True},
    }
    settings = {"table.column_formatting": [rule]}
    card = add_card(client, add_database(client)["id"], display="table", visualization_settings=settings)
    page = client.get(f"/dashboard/{add_dashboard(client, card['id'])['id']}").text
    rows = page.split("<tr>")[2:]
    assert ["c-ed6e6e" in row for row in rows] == [False, True]
    assert "background-image: linear-gradient(#ed6e6ea6, #ed6e6ea6)" in page
    assert "style=" not in page  # the policy of the page lets no element bring its own


def test_a_filter_called_tab_and_the_tabs_work_side_by_side(
    client: TestClient, warehouse: FakeWarehouse
) -> None:
    made = filtered(client)
    place = {key: made["dashcards"][0][key] for key in ("id", "card_id", "row", "col", "size_x", "size_y")}
    mappings = made["dashcards"][0]["parameter_mappings"]
    body = {
        "parameters": [{**made["parameters"][0], "slug": "tab"}],
        "tabs": [{"id": -1, "name": "One"}, {"id": -2, "name": "Two"}],
        "dashcards": [{**place, "dashboard_tab_id": -2, "parameter_mappings": mappings}],
    }
    second = client.put(f"/api/dashboard/{made['id']}", json=body).json()["tabs"][1]["id"]
    page = client.get(f"/dashboard/{made['id']}?tab={second}&tab_f1=India").text
    assert (page.count("<section"), '<select name="tab_f1">' in page) == (1, True)
    assert ("select 1 where c = %(country)s", {"country": "India"}) in warehouse.queries


def test_a_text_on_a_dashboard_is_shown_and_escaped(client: TestClient) -> None:
    made = add_dashboard(client, add_card(client, add_database(client)["id"])["id"])
    text = {"virtual_card": {"display": "text"}, "text": "Read <b>this</b>"}
    place = {
        "id": -1,
        "card_id": None,
        "row": 0,
        "col": 0,
        "size_x": 4,
        "size_y": 2,
        "visualization_settings": text,
    }
    assert client.put(f"/api/dashboard/{made['id']}", json={"dashcards": [place]}).status_code == 200
    assert "Read &lt;b&gt;this&lt;/b&gt;" in client.get(f"/dashboard/{made['id']}").text


def test_a_card_opens_by_itself_and_downloads_as_csv(client: TestClient) -> None:
    made = filtered(client)
    card = made["dashcards"][0]["card_id"]
    assert f'href="/question/{card}"' in client.get(f"/dashboard/{made['id']}").text
    page = client.get(f"/question/{card}").text
    assert (page.count("<section"), "1,234.50" in page) == (1, True)
    assert f'action="/api/card/{card}/query/csv"' in page
    file = client.post(f"/api/card/{card}/query/csv", data={})
    assert file.text.splitlines() == [
        "COUNTRY,NET_REVENUE",
        "<script>alert(1)</script>,1234.5",
        "India,-10.0",
    ]
    assert "attachment" in file.headers["content-disposition"]
    assert client.get("/question/99").status_code == 404
