"""Clients that all connect at once, as they do after a failover."""

from __future__ import annotations

import os
import signal
import socket
from contextlib import ExitStack

CLIENTS = 600
ANSWER_S = 5.0


def rush(pid: int, address: tuple[str, int]) -> None:
    """Connect many clients to a process that is stopped meanwhile. Raises TimeoutError if its backlog has no room."""
    os.kill(pid, signal.SIGSTOP)
    try:
        with ExitStack() as stack:
            for _ in range(CLIENTS):
                stack.enter_context(socket.create_connection(address, ANSWER_S))
    finally:
        os.kill(pid, signal.SIGCONT)
