"""Ports for what is stopped and started again under the same address."""

from __future__ import annotations

import random
import socket
from pathlib import Path

RANGE = Path("/proc/sys/net/ipv4/ip_local_port_range")
TRIED = 10_000


def free_port() -> int:
    """A port on which nobody listens, and which the system gives to nobody that asks for any.

    A port of those would be another program's a moment later, or that of a connection.
    """
    end = int(RANGE.read_text().split()[0]) if RANGE.exists() else 32_768
    for port in random.SystemRandom().sample(range(end - TRIED, end), TRIED):
        try:
            socket.create_server(("127.0.0.1", port)).close()
        except OSError:
            continue
        return port
    raise AssertionError("all ports are taken")
