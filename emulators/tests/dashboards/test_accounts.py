"""The first-run set-up, log-ins, secrets and guesses."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
import sqlalchemy as sa
from starlette.testclient import TestClient

from retailflow_emulators.dashboards import throttle, vault
from retailflow_emulators.dashboards.app import build_app, rotate
from retailflow_emulators.dashboards.settings import Settings
from retailflow_emulators.dashboards.store import Store

from .conftest import ADMIN, KEY, SECRET, FakeWarehouse, add_database, set_up


def test_set_up_is_open_once_and_the_token_is_gone_after_it(fresh: TestClient) -> None:
    before = fresh.get("/api/session/properties").json()
    assert before["has-user-setup"] is False
    assert set_up(fresh, token="guess").status_code == 400
    assert set_up(fresh).status_code == 200
    after = fresh.get("/api/session/properties").json()
    assert (after["has-user-setup"], after["setup-token"], after["site-name"]) == (True, None, "Shop")
    assert set_up(fresh, token=before["setup-token"]).status_code == 403


@pytest.mark.parametrize(
    ("user", "field"),
    [
        ({**ADMIN, "password": "short"}, "user.password"),
        ({**ADMIN, "password": "no-digits"}, "user.password"),
        ({**ADMIN, "email": "nobody"}, "user.email"),
        ({"email": "a@b.example"}, "user.password"),
    ],
)
def test_a_weak_first_user_is_refused_by_field(fresh: TestClient, user: dict[str, str], field: str) -> None:
    answer = set_up(fresh, user=user)
    assert answer.status_code == 400
    assert field in answer.json()["errors"]
    assert fresh.get("/api/session/properties").json()["has-user-setup"] is False


@pytest.mark.parametrize(
    "path", ["/api/user/current", "/api/database", "/api/card", "/api/collection", "/api/dashboard/1"]
)
def test_nothing_is_shown_without_a_session(client: TestClient, path: str) -> None:
    del client.headers["X-Metabase-Session"]
    assert client.get(path).status_code == 401
    client.headers["X-Metabase-Session"] = "guess"
    assert client.get(path).status_code == 401


def test_log_in_and_out(client: TestClient) -> None:
    wrong = client.post("/api/session", json={"username": ADMIN["email"], "password": "secret2"})
    assert (wrong.status_code, wrong.json()["errors"]) == (401, {"password": "did not match stored password"})
    unknown = client.post("/api/session", json={"username": "x@y.example", "password": "secret1"})
    assert unknown.status_code == 401
    session = client.post(
        "/api/session", json={"username": "admin@RetailFlow.example", "password": "secret1"}
    ).json()
    client.headers["X-Metabase-Session"] = session["id"]
    user = client.get("/api/user/current").json()
    assert user["email"] == "admin@retailflow.example"
    assert "password" not in user
    assert client.delete("/api/session").status_code == 204
    assert client.get("/api/user/current").status_code == 401


def test_a_session_ends_with_its_time(settings: Settings) -> None:
    now = [1_000.0]
    store = Store(settings.database_url, clock=lambda: now[0])
    store.add("user", {"email": "a@b.example"})
    store.add_session("hash", 1, seconds=60)
    now[0] += 59
    assert store.session_user("hash")
    now[0] += 1
    assert store.session_user("hash") is None
    store.close()


def test_secrets_and_passwords_are_not_readable_in_the_state(client: TestClient, settings: Settings) -> None:
    add_database(client)
    state = b"".join(
        path.read_bytes() for path in Path(settings.database_url.database or "").parent.iterdir()
    )
    assert b"METABASE" in state
    for secret in (SECRET, ADMIN["password"], client.headers["X-Metabase-Session"]):
        assert secret.encode() not in state


def test_another_key_stops_the_server_with_its_state_unharmed(client: TestClient, settings: Settings) -> None:
    add_database(client)
    store = Store(settings.database_url)
    other = Settings(database_url=settings.database_url, encryption_key="another-key-another-key")
    with pytest.raises(vault.WrongKeyError, match="MB_ENCRYPTION_SECRET_KEY"):
        build_app(other, store, FakeWarehouse())
    assert build_app(settings, store, FakeWarehouse())
    store.close()


def test_another_key_takes_the_place_of_the_old_one_and_the_old_one_is_refused(
    client: TestClient, settings: Settings
) -> None:
    add_database(client)
    new = Settings(database_url=settings.database_url, encryption_key="another-key-another-key")
    store = Store(settings.database_url)
    assert rotate(settings, store, ["rotate-encryption-key", new.encryption_key]) == 0
    with pytest.raises(vault.WrongKeyError, match="encrypted with a different key"):
        build_app(settings, store, FakeWarehouse())
    warehouse = FakeWarehouse()
    answer = TestClient(build_app(new, store, warehouse)).post(
        "/api/session", json={"username": ADMIN["email"], "password": ADMIN["password"]}
    )
    assert answer.status_code == 200
    details = store.all("database")[0]["details"]
    assert vault.Vault(new.encryption_key).open(details)["private-key-value"] == SECRET
    store.close()


def test_a_key_that_is_wrong_short_or_missing_changes_nothing(
    client: TestClient, settings: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    added = add_database(client)
    deadline = time.monotonic() + 30
    while client.get(f"/api/database/{added['id']}").json()["initial_sync_status"] == "incomplete":
        assert time.monotonic() < deadline, "its tables are not read"
        time.sleep(0.02)
    store = Store(settings.database_url)
    before = (store.all("database"), store.setting("encryption-check"))
    other = Settings(database_url=settings.database_url, encryption_key="another-key-another-key")
    none = Settings(database_url=settings.database_url)
    for given, arguments, told in (
        (other, ["rotate-encryption-key", KEY], "Database was encrypted with a different key"),
        (none, ["rotate-encryption-key", KEY], "environment variable was NOT set"),
        (settings, ["rotate-encryption-key", "short"], "at least 16 characters"),
        (settings, ["rotate-encryption-key"], "not emulated"),
        (settings, ["dump-to-h2", "x"], "not emulated: the command dump-to-h2"),
    ):
        assert rotate(given, store, arguments) == 1
        assert told in caplog.text
    assert (store.all("database"), store.setting("encryption-check")) == before
    store.close()


def test_a_server_without_a_database_knows_its_key_too(fresh: TestClient, settings: Settings) -> None:
    store = Store(settings.database_url)
    other = Settings(database_url=settings.database_url, encryption_key="another-key-another-key")
    with pytest.raises(vault.WrongKeyError, match="different key"):
        build_app(other, store, FakeWarehouse())
    store.close()


def test_an_empty_key_decrypts_and_the_next_start_encrypts_again(
    client: TestClient, settings: Settings
) -> None:
    add_database(client)
    store = Store(settings.database_url)
    assert rotate(settings, store, ["rotate-encryption-key", ""]) == 0
    assert store.setting("encryption-check") == "unencrypted"
    assert store.all("database")[0]["details"]["private-key-value"] == SECRET
    build_app(settings, store, FakeWarehouse())
    assert store.all("database")[0]["details"]["private-key-value"] != SECRET
    store.close()


def test_a_new_password_ends_every_session_and_opens_one(client: TestClient) -> None:
    mine = client.get("/api/user/current").json()["id"]
    path = f"/api/user/{mine}/password"
    assert client.put(path, json={"password": "weak"}).status_code == 400
    answer = client.put(path, json={"password": "secret2"})
    assert (answer.status_code, answer.json()["success"]) == (200, True)
    client.cookies.clear()
    assert client.get("/api/user/current").status_code == 401
    client.headers["X-Metabase-Session"] = answer.json()["session_id"]
    assert client.get("/api/user/current").status_code == 200
    for password, status in ((ADMIN["password"], 401), ("secret2", 200)):
        login = {"username": ADMIN["email"], "password": password}
        assert client.post("/api/session", json=login).status_code == status
    assert client.put("/api/user/999/password", json={"password": "secret2"}).status_code == 404


@pytest.mark.parametrize(
    ("env", "named"),
    [
        ({"MB_JETTY_PORT": "many"}, "MB_JETTY_PORT"),
        ({"MB_ENCRYPTION_SECRET_KEY": "short"}, "MB_ENCRYPTION_SECRET_KEY"),
        ({"MB_DATA_DIR": "/nowhere"}, "MB_DATA_DIR"),
        ({"MB_DB_TYPE": "postgres", "MB_DB_HOST": "h"}, "MB_DB_PASS"),
    ],
)
def test_wrong_configuration_is_named(env: dict[str, str], named: str) -> None:
    with pytest.raises(ValueError, match=named):
        Settings.from_env(env)


def test_the_application_database_is_metabases() -> None:
    names = ("MB_DB_TYPE", "MB_DB_HOST", "MB_DB_PORT", "MB_DB_DBNAME", "MB_DB_USER", "MB_DB_PASS")
    env = dict(zip(names, ("postgres", "db", "5433", "metabase", "metabase", "p@ss/word"), strict=True))
    url = Settings.from_env(env).database_url
    assert sa.make_url(url.render_as_string(hide_password=False)) == url
    assert (url.host, url.port, url.database, url.password) == ("db", 5433, "metabase", "p@ss/word")


def test_guessing_is_slowed_down_even_for_the_right_password(client: TestClient) -> None:
    body = {"username": ADMIN["email"], "password": "wrong1"}
    for _ in range(throttle.ATTEMPTS_OF_A_NAME):
        assert "password" in client.post("/api/session", json=body).json()["errors"]
    right = client.post("/api/session", json={**body, "password": ADMIN["password"]})
    assert right.status_code == 401
    assert "You must wait 15 seconds" in right.json()["errors"]["username"]
    assert "You must wait" in client.post("/login", data=body).text
    other = client.post("/api/session", json={**body, "username": "b@c.example"})
    assert "password" in other.json()["errors"]


def test_the_wait_doubles_ends_and_is_forgotten() -> None:
    now = [0.0]
    guesses = throttle.Throttle(2, clock=lambda: now[0])
    waits = []
    for _ in range(5):
        guesses.failed("a")
        waits.append(guesses.wait("a"))
    assert waits == [0.0, 15.0, 30.0, 60.0, 120.0]
    now[0] = 121.0
    assert guesses.wait("a") == 0.0
    for _ in range(20):
        guesses.failed("a")
    assert guesses.wait("a") == throttle.LONGEST_WAIT_S
    guesses.succeeded("a")
    assert guesses.wait("a") == 0.0
    guesses.failed("b")
    now[0] += throttle.REMEMBERED_S
    guesses.failed("b")
    assert guesses.wait("b") == 0.0
