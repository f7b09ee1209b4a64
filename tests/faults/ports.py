"""Ports of this machine."""

import secrets
import socket
from contextlib import suppress


def free_port() -> int:
    """A port that is free, below those that outgoing connections take."""
    while True:
        port = 15_000 + secrets.randbelow(17_000)
        with suppress(OSError), socket.create_server(("127.0.0.1", port)):
            return port
