"""What a process says to its service manager: the protocol of systemd's ``sd_notify``, without its library.

A datagram of lines ``NAME=value`` goes to the socket that the environment names. Nothing is answered.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping

SOCKET = "NOTIFY_SOCKET"
WATCHDOG = "WATCHDOG_USEC"
WATCHDOG_PID = "WATCHDOG_PID"


class Notifier:
    """The connection to the service manager. It never fails: a manager that is gone must not stop a broker."""

    def __init__(self, environment: Mapping[str, str] = os.environ) -> None:
        """Takes what it needs from the environment of the process."""
        self._address = address_of(environment.get(SOCKET, ""))
        self.watchdog_s = watchdog_of(environment) if self._address is not None else None
        """The manager ends this process if it hears nothing for so long; None: it does not."""
        self.failures = 0
        """How many messages could not be sent."""

    @property
    def managed(self) -> bool:
        """There is a service manager that listens."""
        return self._address is not None

    def tell(self, **state: str | int) -> None:
        """Send these. O(1), does not block: a message for which there is no room is dropped."""
        if self._address is None:
            return
        text = "\n".join(f"{name}={_one_line(str(value))}" for name, value in state.items())
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as link:
                link.setblocking(False)
                link.sendto(text.encode("utf-8", "replace"), self._address)
        except OSError:
            self.failures += 1


def address_of(text: str) -> str | None:
    """The address in NOTIFY_SOCKET; "@" stands for the null byte of an abstract one. None: there is no usable one."""
    if text.startswith("@") and len(text) > 1:
        return f"\0{text[1:]}"
    return text if text.startswith("/") else None


def watchdog_of(environment: Mapping[str, str]) -> float | None:
    """The time in WATCHDOG_USEC, in seconds, if it is meant for this process."""
    text, pid = environment.get(WATCHDOG, ""), environment.get(WATCHDOG_PID, "")
    if pid and pid != str(os.getpid()):
        return None
    return int(text) / 1e6 if text.isascii() and text.isdigit() and 0 < int(text) < 2**63 else None


def _one_line(text: str) -> str:
    return "".join(char if char.isprintable() else " " for char in text)
