"""Odd requests of an administrator to a server that has something to show; see tests/web for the others."""

from __future__ import annotations

from unittest import mock

from hypothesis import given
from hypothesis import strategies as st
from odd_requests import MANY, models_of, paths, requests
from starlette.testclient import TestClient

from retailflow_emulators.dashboards import api, models, pages

from .conftest import filtered

ROUTES = [
    route
    for route in (*paths(api.routes(mock.Mock())), *paths(pages.routes(mock.Mock())))
    if not (route[0] in ("/api/session", "/logout") and route[1] != ("GET", "HEAD"))  # which end the session
]
BODIES = models_of(models)


def test_no_request_is_a_fault_of_the_server(client: TestClient) -> None:
    """The client raises what the server does not handle."""
    filtered(client)

    @MANY
    @given(st.data())
    def attempt(data: st.DataObject) -> None:
        method, path, _, body = data.draw(requests(ROUTES, BODIES))
        headers = {"Content-Type": "application/json"}
        answer = TestClient.request(client, method, path, headers=headers, content=body)
        assert answer.status_code < 500 or answer.status_code == 501, answer.text

    attempt()
