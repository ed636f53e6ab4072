"""Ports for servers that tests and benchmarks start."""

from __future__ import annotations

import contextlib
import random
import socket
from pathlib import Path


def free_port() -> int:
    """Return a port of the loopback that nobody listens on.

    It lies below those that the kernel gives to outgoing connections, so a server that is started again still finds it free.
    """
    outgoing = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    while True:
        port = random.SystemRandom().randrange(outgoing // 2, outgoing)
        with contextlib.suppress(OSError), socket.socket() as probe:
            probe.bind(("127.0.0.1", port))
            return port
