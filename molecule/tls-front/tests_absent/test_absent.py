"""No part of the front is left, and what it stood before goes on."""

from __future__ import annotations

from typing import Any


def test_nothing_is_left(host: Any) -> None:
    for port in (80, 3000, 3001):
        assert not host.socket(f"tcp://0.0.0.0:{port}").is_listening
    assert not host.file("/etc/retailflow/tls-front").exists
    assert host.run("nginx -t").rc == 0, "what is left of its configuration is whole"
    assert not host.service("nginx").is_enabled
    assert host.socket("tcp://127.0.0.1:13000").is_listening
