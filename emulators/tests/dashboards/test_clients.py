"""Clients that this project was not built with, unchanged: Metabase's own command line, and dbt-metabase.

Each has an environment of its own below .cache, made by the ordinary clients of npm and Python at the first run.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import uvicorn

from retailflow_emulators.dashboards import vault
from retailflow_emulators.dashboards.app import build_app
from retailflow_emulators.dashboards.settings import Settings
from retailflow_emulators.dashboards.store import Store

from . import operations
from .conftest import ADMIN, DETAILS, FakeWarehouse

CACHE = Path(__file__).parents[3] / ".cache" / "clients"
CLI_VERSION, DBT_METABASE_VERSION = "0.3.1", "1.7.5"


def made(folder: Path, *commands: list[str]) -> Path:
    """A folder that ``commands`` filled once; a half-made one is made again."""
    done = folder / "made"
    if not done.exists():
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        for command in commands:
            assert shutil.which(command[0]), f"{command[0]} is needed to make the environment of this client"
            environment = os.environ | {
                "UV_CACHE_DIR": str(CACHE / "uv"),
                "npm_config_cache": str(CACHE / "npm"),
            }
            subprocess.run(command, cwd=folder, env=environment, check=True, timeout=600)
        done.touch()
    return folder


@pytest.fixture(scope="module")
def command_line() -> Path:
    """The program ``mb``."""
    package = f"@metabase/cli@{CLI_VERSION}"
    install = ["npm", "install", "--prefix", ".", "--no-audit", "--no-fund", "--ignore-scripts", package]
    return made(CACHE / f"metabase-cli-{CLI_VERSION}", install) / "node_modules/.bin/mb"


@pytest.fixture(scope="module")
def dbt_metabase() -> Path:
    """The program ``dbt-metabase``."""
    uv = str(Path(sys.executable).with_name("uv"))
    folder = CACHE / f"dbt-metabase-{DBT_METABASE_VERSION}"
    package = f"dbt-metabase=={DBT_METABASE_VERSION}"
    made(
        folder,
        [uv, "venv", "--quiet", "--python", sys.executable, "venv"],
        [uv, "pip", "install", "--quiet", "--python", "venv/bin/python", package],
    )
    return folder / "venv/bin/dbt-metabase"


class Served:
    """The embedded server on a real socket, set up, with a database, a collection, a card and a dashboard."""

    def __init__(self, url: str, folder: Path) -> None:
        self.url, self._folder = url, folder
        self.key = ""

    def run(self, program: Path, *arguments: str, fails: bool = False, **environment: str) -> str:
        """What a program prints; its errors where it fails."""
        done = subprocess.run(
            [str(program), *arguments],
            env={
                "PATH": os.environ["PATH"],
                "HOME": str(self._folder),
                "XDG_CONFIG_HOME": str(self._folder),
                "MB_CLI_DISABLE_KEYRING": "1",
                **environment,
            },
            cwd=self._folder,
            capture_output=True,
            text=True,
            timeout=120,
        )
        assert (done.returncode != 0) is fails, f"{' '.join(arguments)}:\n{done.stdout}\n{done.stderr}"
        return done.stdout + done.stderr if fails else done.stdout


@pytest.fixture
def served(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Served]:
    monkeypatch.setitem(vault._SCRYPT, "n", 2)
    settings = Settings.from_env({"MB_DATA_DIR": str(tmp_path)})
    store = Store(settings.database_url)
    app = build_app(settings, store, FakeWarehouse())
    server = uvicorn.Server(uvicorn.Config(app, host="127.0.0.1", port=0, log_level="error"))
    thread = threading.Thread(target=server.run)
    thread.start()
    while not server.started:
        assert thread.is_alive()
    url = f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    served = Served(url, tmp_path)
    served.key = _fill(url)
    yield served
    server.should_exit = True
    thread.join()
    store.close()


def _fill(url: str) -> str:
    """Set the server up; an administrator's API key."""
    with httpx.Client(base_url=url, trust_env=False) as client:
        token = client.get("/api/session/properties").json()["setup-token"]
        prefs = {"site_name": "Shop"}
        user = {**ADMIN, "first_name": "Ada", "last_name": "Min"}
        session = client.post("/api/setup", json={"token": token, "user": user, "prefs": prefs}).json()["id"]
        client.headers["X-Metabase-Session"] = session
        client.post("/api/database", json={"name": "Snowflake", "engine": "snowflake", "details": DETAILS})
        collection = client.post("/api/collection", json={"name": "Shop"}).json()["id"]
        tag = {"id": "t", "name": "country", "display-name": "Country", "type": "text"}
        sql = "select * from marts.net_revenue_by_country [[where country = {{country}}]]"
        stage = {"lib/type": "mbql.stage/native", "native": sql, "template-tags": {"country": tag}}
        card = {
            "name": "Net revenue",
            "display": "row",
            "visualization_settings": {},
            "collection_id": collection,
            "dataset_query": {"lib/type": "mbql/query", "database": 1, "stages": [stage]},
        }
        card_id = client.post("/api/card", json=card).json()["id"]
        board = client.post("/api/dashboard", json={"name": "Sales", "collection_id": collection}).json()[
            "id"
        ]
        parameter = {
            "id": "f1",
            "name": "Country",
            "slug": "country",
            "type": "string/=",
            "values_source_type": "card",
            "values_source_config": {"card_id": card_id, "value_field": ["field", "COUNTRY", None]},
        }
        target = ["variable", ["template-tag", "country"]]
        place = {
            "id": -1,
            "card_id": card_id,
            "row": 0,
            "col": 0,
            "size_x": 8,
            "size_y": 4,
            "parameter_mappings": [{"parameter_id": "f1", "card_id": card_id, "target": target}],
        }
        body = {"parameters": [parameter], "dashcards": [place]}
        assert client.put(f"/api/dashboard/{board}", json=body).status_code == 200
        made = client.post("/api/api-key", json={"name": "robot", "group_id": 2}).json()
        return str(made["unmasked_key"])


def test_metabases_own_command_line_reads_and_writes(served: Served, command_line: Path) -> None:
    def mb(*arguments: str, **options: Any) -> Any:
        return json.loads(served.run(command_line, *arguments, "--json", **options))

    login = mb("auth", "login", "--url", served.url, "--api-key", served.key)
    assert (login["authenticated"], login["user"]["isAdmin"]) == (True, True)
    assert login["version"]["major"] == 64
    assert [one["name"] for one in mb("card", "list")["data"]] == ["Net revenue"]
    whole = mb("card", "get", "1", "--full")
    assert whole["dataset_query"]["stages"][0]["template-tags"][0]["name"] == "country"
    assert mb("card", "query", "1")["data"]["rows"][1] == ["India", -10.0]
    assert "COUNTRY,NET_REVENUE" in served.run(command_line, "card", "query", "1", "--export-format", "csv")
    assert '"COUNTRY":' in served.run(command_line, "card", "query", "1", "--export-format", "json")
    query = {
        "lib/type": "mbql/query",
        "database": 1,
        "stages": [{"lib/type": "mbql.stage/native", "native": "select 7"}],
    }
    card = {"name": "Seven", "display": "scalar", "dataset_query": query, "visualization_settings": {}}
    made = mb("card", "create", "--body", json.dumps(card))
    assert mb("card", "update", str(made["id"]), "--body", '{"name": "Sept"}')["name"] == "Sept"
    # A card may be sent back as it was read.
    assert mb(
        "card",
        "update",
        "1",
        "--body",
        json.dumps({"dataset_query": whole["dataset_query"]}),
        "--skip-validate",
    )
    assert mb("card", "archive", str(made["id"]))
    assert mb("query", "--body", json.dumps(query))["status"] == "completed"

    assert [one["name"] for one in mb("dashboard", "list")["data"]] == ["Sales"]
    place = mb("dashboard", "cards", "1")["data"][0]
    moved = mb("dashboard", "update-dashcard", "1", str(place["id"]), "--body", '{"size_x": 12}')
    assert (moved["id"], moved["size_x"]) == (place["id"], 12)
    assert mb("dashboard", "parameter-values", "1", "f1")["values"][1] == ["India"]
    board = mb("dashboard", "create", "--body", '{"name": "Empty"}')
    assert mb("dashboard", "update", str(board["id"]), "--body", '{"name": "Void"}')["name"] == "Void"
    assert mb("dashboard", "archive", str(board["id"]))
    whole = mb("dashboard", "get", "1", "--full", "--max-bytes", "0")
    assert whole["dashcards"][0]["parameter_mappings"][0]["parameter_id"] == "f1"

    assert "Shop" in [one["name"] for one in mb("collection", "list")["data"]]
    assert {one["model"] for one in mb("collection", "items", "1")["data"]} == {"card", "dashboard"}
    assert mb("collection", "get", "root")["id"] == "root"
    made = mb("collection", "create", "--body", '{"name": "Inner", "parent_id": 1}')
    assert mb("collection", "tree")[0]["children"][0]["name"] == "Inner"
    assert mb("collection", "archive", str(made["id"]))

    assert [one["name"] for one in mb("db", "list")["data"]] == ["Snowflake"]
    assert mb("db", "schemas", "1")["data"] == [{"name": "MARTS"}]
    assert mb("db", "schema-tables", "1", "MARTS")["data"][0]["name"] == "NET_REVENUE_BY_COUNTRY"
    assert mb("db", "get", "1")["engine"] == "snowflake"
    assert mb("db", "sync-schema", "1")["status"] == "ok"
    assert [one["id"] for one in mb("table", "list")["data"]] == [1]
    assert mb("table", "get", "1")["schema"] == "MARTS"
    assert mb("field", "get", "2")["base_type"] == "type/Number"
    assert [one["name"] for one in mb("table", "fields", "1")["data"]] == ["COUNTRY", "NET_REVENUE"]
    assert (
        mb("table", "update", "1", "--body", '{"description": "By country"}')["description"] == "By country"
    )
    assert (
        mb("field", "update", "1", "--body", '{"semantic_type": "type/Country"}')["semantic_type"]
        == "type/Country"
    )


NOT_HERE = (
    ("search", "revenue"),
    ("snippet", "list"),
    ("field", "values", "1"),
    ("db", "rescan-values", "1"),
    ("setting", "list"),
)


@pytest.mark.parametrize("arguments", NOT_HERE)
def test_what_is_not_here_is_refused_with_a_sentence(
    served: Served, command_line: Path, arguments: tuple[str, ...]
) -> None:
    served.run(command_line, "auth", "login", "--url", served.url, "--api-key", served.key)
    assert "not emulated" in served.run(command_line, *arguments, fails=True)


def manifest(folder: Path) -> Path:
    """dbt's manifest with one model."""
    identity = "model.retailflow.net_revenue_by_country"
    columns = {
        name: {"name": name, "description": text, "meta": {}}
        for name, text in (("country", "Where it was sold."), ("net_revenue", "Revenue less discount."))
    }
    model = {
        "resource_type": "model",
        "name": "net_revenue_by_country",
        "alias": "net_revenue_by_country",
        "unique_id": identity,
        "database": "ANALYTICS",
        "schema": "MARTS",
        "description": "One row per country.",
        "config": {"materialized": "table"},
        "columns": columns,
        "tags": [],
        "meta": {},
    }
    path = folder / "manifest.json"
    body = {"nodes": {identity: model}, "sources": {}, "child_map": {identity: []}, "parent_map": {}}
    path.write_text(json.dumps(body))
    return path


def test_dbt_metabase_describes_tables_and_finds_exposures(
    served: Served, dbt_metabase: Path, tmp_path: Path
) -> None:
    common = ("--manifest-path", str(manifest(tmp_path)), "--metabase-url", served.url)
    common += ("--metabase-api-key", served.key)
    for _ in range(2):
        served.run(dbt_metabase, "models", *common, "--metabase-database", "Snowflake", "--order-fields")
    with httpx.Client(base_url=served.url, headers={"X-API-Key": served.key}, trust_env=False) as client:
        table = client.get("/api/table/1/query_metadata").json()
    assert (table["description"], table["field_order"]) == ("One row per country.", "custom")
    assert [one["description"] for one in table["fields"]] == ["Where it was sold.", "Revenue less discount."]
    served.run(dbt_metabase, "exposures", *common, "--output-path", str(tmp_path))
    exposures = (tmp_path / "exposures.yml").read_text()
    assert exposures.count("ref('net_revenue_by_country')") == 2
    assert "name: Ada Min" in exposures


def test_the_table_of_operations_in_the_readme_is_fresh() -> None:
    text = operations.README.read_text()
    assert text == operations.written(text)
    assert operations.table() in text
    assert {version for (_, version), _, _ in operations.OPERATIONS} == {CLI_VERSION, DBT_METABASE_VERSION}
    refused = {what for _, what, verdict in operations.OPERATIONS if verdict == operations.NOT_HERE}
    assert refused == {" ".join(arguments[:2]).removesuffix(" revenue") for arguments in NOT_HERE}
