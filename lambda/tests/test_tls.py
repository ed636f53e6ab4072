"""The function talks to the server that its authority has signed under the server's name, and to no other."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from retailflow_generator import database as module
from retailflow_generator.batch import DatabaseUnavailableError
from retailflow_generator.config import Settings
from retailflow_generator.handler import handler
from tls_support import REFUSED, Authority, present

BATCH = {"rows": 3, "batch_id": "encrypted"}


@pytest.fixture
def authority(
    login: Callable[[], Any], database: Any, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Authority]:
    """The authority that the function knows; the server is its own again at the end."""
    known = Authority()
    monkeypatch.setenv("DB_HOST", "localhost")
    monkeypatch.setenv("DB_AUTHORITY", known.certificate)
    module.engine_for.cache_clear()
    yield known
    module.engine_for.cache_clear()
    present(login, None)


def test_a_server_that_the_authority_signed_is_taken_and_encrypted(
    login: Callable[[], Any], authority: Authority
) -> None:
    present(login, authority.sign())
    assert handler(BATCH)["rows"] == 3
    with module.engine_for(Settings.from_env(os.environ)).connect() as connection:
        encrypted = connection.exec_driver_sql("select ssl from pg_stat_ssl where pid = pg_backend_pid()")
        assert encrypted.scalar_one() is True


@pytest.mark.parametrize("server_is", REFUSED)
def test_any_other_server_is_refused(
    login: Callable[[], Any], authority: Authority, sql: Any, server_is: str
) -> None:
    signed, words = REFUSED[server_is]
    present(login, signed(authority))
    with pytest.raises(DatabaseUnavailableError, match=words):
        handler(BATCH)
    assert sql("select count(*) from sales") == [(0,)]


def test_the_authority_is_one_private_file(authority: Authority) -> None:
    paths = {module._file_of(authority.certificate) for _ in range(3)}
    assert len(paths) == 1
    path = Path(paths.pop())
    assert path.read_text() == authority.certificate
    assert path.stat().st_mode & 0o777 == 0o600
