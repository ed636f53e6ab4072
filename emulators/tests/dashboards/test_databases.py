"""Connections to the warehouse."""

from __future__ import annotations

import time

import pytest
from starlette.testclient import TestClient

from retailflow_emulators.dashboards import vault
from retailflow_emulators.dashboards.warehouse import WarehouseError, private_key_der

from .conftest import DETAILS, SECRET, FakeWarehouse, add_database


def test_a_secret_is_masked_and_survives_an_update_with_its_mask(
    client: TestClient, warehouse: FakeWarehouse
) -> None:
    added = add_database(client)
    assert added["details"]["private-key-value"] == vault.MASK
    changed = {**added["details"], "role": "REPORTER"}
    assert client.put(f"/api/database/{added['id']}", json={"details": changed}).status_code == 200
    assert warehouse.checked[-1] == {**DETAILS, "role": "REPORTER"}


def test_a_database_that_does_not_connect_is_not_kept(client: TestClient, warehouse: FakeWarehouse) -> None:
    warehouse.down = "Snowflake at nowhere cannot be used"
    answer = client.post("/api/database", json={"name": "x", "engine": "snowflake", "details": DETAILS})
    assert answer.status_code == 400
    assert answer.json()["errors"] == {"host": warehouse.down}
    assert client.get("/api/database").json() == {"data": [], "total": 0}


def test_a_sync_reports_when_it_is_done_or_that_it_failed(
    client: TestClient, warehouse: FakeWarehouse
) -> None:
    def status() -> str:
        deadline = time.monotonic() + 10
        while (
            found := client.get(f"/api/database/{identity}").json()["initial_sync_status"]
        ) == "incomplete":
            assert time.monotonic() < deadline
        return str(found)

    identity = add_database(client)["id"]
    assert status() == "complete"
    tables = client.get(f"/api/database/{identity}?include=tables").json()["tables"]
    assert [(one["schema"], one["name"], one["display_name"]) for one in tables] == [
        ("MARTS", "NET_REVENUE_BY_COUNTRY", "Net Revenue By Country")
    ]
    warehouse.down = "gone"
    client.post(f"/api/database/{identity}/sync_schema")
    assert status() == "aborted"


def test_a_key_that_cannot_be_read_is_named() -> None:
    with pytest.raises(WarehouseError, match="PKCS#8") as error:
        private_key_der(SECRET)
    assert error.value.field == "private-key-value"
