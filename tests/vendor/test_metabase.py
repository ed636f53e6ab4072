"""The module metabase_content against Metabase itself; only for those who ask, where the vendor's image can be pulled.

    pytest tests/vendor/test_metabase.py

starts the pinned image (``RETAILFLOW_METABASE_IMAGE`` names another one) with an application database inside the
container, and Metabase's sample database in the place of Snowflake, so no account is needed. With
``RETAILFLOW_METABASE_URL`` it takes a server that runs already, which must have a database or be a new one.
"""

from __future__ import annotations

import os
import subprocess
import time
import uuid
from collections.abc import Iterator
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible.module_utils.metabase.client import Api
from ansible.module_utils.metabase.errors import MetabaseError
from ansible.module_utils.metabase.reconciler import Reconciler
from ansible.module_utils.metabase.rules import load

ROOT = Path(__file__).resolve().parents[2]

PORT = 23999
START_S = 300  # the first start makes Metabase's tables
ADMIN = {"email": "admin@x.example", "password": "secret1-vendor", "first_name": "A", "last_name": "B"}
MARK = uuid.uuid4().hex[:10]  # a server that runs already may have seen this test before
CONTENT = {
    "a.yml": {
        "collections": {"shop": {"name": f"Shop {MARK}", "description": "Of a test"}},
        "cards": {
            "one": {
                "entity_id": f"rf-test-{MARK}--1",
                "collection": "shop",
                "name": "One",
                "display": "row",
                "sql": "select 'a' as country, 1 as n [[where 'a' = {{country}}]]",
                "settings": {"graph.dimensions": ["COUNTRY"], "graph.metrics": ["N"]},
                "columns": {"N": {"number_style": "currency", "currency": "USD", "decimals": 2}},
            },
            "two": {
                "entity_id": f"rf-test-{MARK}--2",
                "collection": "shop",
                "name": "Two",
                "display": "scalar",
                "sql": "select 2 as n",
            },
        },
        "dashboards": {
            "board": {
                "collection": "shop",
                "name": "Board",
                "tabs": ["First", "Second"],
                "filters": {"country": {"name": "Country", "card": "one", "column": "COUNTRY"}},
                "cards": [
                    {"card": "one", "tab": "First", "row": 0, "col": 0, "size_x": 12, "size_y": 6},
                    {"card": "two", "tab": "Second", "row": 0, "col": 0, "size_x": 12, "size_y": 6},
                ],
            }
        },
    }
}


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    """The address of a server that answers."""
    if given := os.environ.get("RETAILFLOW_METABASE_URL"):
        yield given
        return
    versions = yaml.safe_load((ROOT / "inventory/group_vars/all/versions.yml").read_text())["versions"]
    image = os.environ.get("RETAILFLOW_METABASE_IMAGE", f"metabase/metabase:{versions['metabase']}")
    command = ["docker", "run", "--detach", "--rm", f"--publish=127.0.0.1:{PORT}:3000", image]
    container = subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()
    try:
        api, deadline = Api(f"http://127.0.0.1:{PORT}", 10), time.monotonic() + START_S
        while True:
            try:
                api("GET", "/api/health")
                break
            except MetabaseError:
                assert time.monotonic() < deadline, "Metabase does not answer"
                time.sleep(2)
        yield f"http://127.0.0.1:{PORT}"
    finally:
        subprocess.run(["docker", "stop", container], check=False, capture_output=True)


class Run:
    """The parts of the module that need no Snowflake, on the server's first database."""

    def __init__(self, url: str, folder: Path) -> None:
        self.api = Api(url, 60)
        self.params = {
            "admin": ADMIN,
            "site_name": "RetailFlow",
            "state_file": str(folder / "applied.json"),
            "database": {"name": "", "details": {}},
            "group": f"Readers {MARK}",
        }

    def __call__(self, content: dict[str, Any], check: bool = False) -> list[str]:
        """What was, or in check mode would be, written."""
        work = Reconciler(self.api, self.params, load(content), check)
        work.writer.log_in(self.params["admin"], self.params["site_name"])
        database = self.api("GET", "/api/database")["data"][0]
        work.database_id, self.params["database"]["name"] = database["id"], database["name"]
        work.apply_content(True)
        return [action for action in work.writer.actions if not action.startswith("do the first-run set-up")]


def test_the_set_up_and_the_content_are_what_metabase_takes(url: str, tmp_path: Path) -> None:
    run = Run(url, tmp_path)
    planned = run(CONTENT, check=True)
    made = run(CONTENT)
    assert f"create collection Shop {MARK}" in made
    assert not planned or planned == made  # before the set-up there is nothing to compare with
    assert run(CONTENT) == []
    body = {"token": "guess", "user": ADMIN, "prefs": {"site_name": "Mine"}}
    with pytest.raises(MetabaseError) as refused:
        run.api("POST", "/api/setup", body)
    assert refused.value.status == 403

    shop = next(one["id"] for one in run.api("GET", "/api/collection") if one["name"] == f"Shop {MARK}")
    board = next(one for one in run.api("GET", "/api/dashboard") if one["collection_id"] == shop)
    board = run.api("GET", f"/api/dashboard/{board['id']}")
    assert [tab["name"] for tab in board["tabs"]] == ["First", "Second"]
    place = next(place for place in board["dashcards"] if place["card"]["name"] == "One")
    path = f"/api/dashboard/{board['id']}/dashcard/{place['id']}/card/{place['card_id']}/query"
    for value, rows in (("a", 1), ("b", 0)):
        parameters = [{"id": board["parameters"][0]["id"], "value": [value]}]
        answer = run.api("POST", path, {"parameters": parameters})
        assert (answer["status"], len(answer["data"]["rows"])) == ("completed", rows)

    run.api("PUT", f"/api/card/{place['card_id']}", {"name": "Renamed"})
    run.api("PUT", f"/api/dashboard/{board['id']}", {"archived": True})
    assert run(CONTENT) == ["update card One", "update dashboard Board"]
    assert run(CONTENT) == []

    fewer: dict[str, Any] = deepcopy(CONTENT)
    del fewer["a.yml"]["dashboards"]["board"]
    del fewer["a.yml"]["cards"]["two"]
    assert run(fewer) == ["archive dashboard Board", "archive card Two"]
    assert run(fewer) == []
    assert run(CONTENT) == [
        "update card Two",
        "create dashboard Board",
        "place the cards of dashboard Board",
    ]


def test_a_wrong_password_is_explained(url: str, tmp_path: Path) -> None:
    run = Run(url, tmp_path)
    run.params["admin"] = {**ADMIN, "password": "other1-vendor"}
    with pytest.raises(MetabaseError, match="refuses the given password"):
        run({})
