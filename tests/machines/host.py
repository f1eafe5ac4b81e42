"""A machine: a network namespace with one cable, and what runs in it."""

from __future__ import annotations

import contextlib
import ctypes
import os
import socket
import struct
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from tests.machines.runs import HOSTS_FILES, NAMESPACES, run_command

CLONE_NEWNET = 0x40000000
NETLINK_NETFILTER = 12
CONNTRACK_DELETE = 1 << 8 | 2
"""Subsystem ctnetlink, message IPCTNL_MSG_CT_DELETE: without a tuple all entries are deleted."""
REQUEST_WITH_ACK = 0x5
_libc = ctypes.CDLL(None, use_errno=True)

TRACKING = """
table inet faults {
    chain input { type filter hook input priority 0; meta l4proto tcp ct state invalid drop; }
    chain output { type filter hook output priority 0; meta l4proto tcp ct state invalid drop; }
}
"""


class Host:
    """A machine of a `Network`, which makes it: ``eth0`` with an address of each family, and a loopback interface.

    Args:
        ipv4: Its IPv4 address, if it is not that of its number; empty: it has none.
    """

    def __init__(self, name: str, namespace: str, number: int, *, ipv4: str | None = None) -> None:
        self.name = name
        self.namespace = namespace
        self.number = number
        self.ipv4 = f"10.77.0.{number}" if ipv4 is None else ipv4
        self.ipv6 = f"fd77::{number:x}"
        self._forgets = False

    @property
    def address(self) -> str:
        """Its IPv4 address, or its IPv6 address if it has no other."""
        return self.ipv4 or self.ipv6

    def command(self, words: Sequence[str]) -> list[str]:
        """The command line that runs a program on this machine. The process is the program itself: it has its pid."""
        return ["ip", "netns", "exec", self.namespace, *words]

    def run(self, *words: str, stdin: str | None = None) -> str:
        """Run a program on this machine, and return its output. Raises RuntimeError if it fails."""
        return run_command(*self.command(words), stdin=stdin)

    def launch(self, *words: str, log: Path) -> subprocess.Popen[bytes]:
        """Start a program that goes on; its output is appended to a file. It ends with the thread that started it."""
        with log.open("ab") as file:
            return subprocess.Popen(
                ["setpriv", "--pdeathsig", "KILL", "--", *self.command(words)],
                stdin=subprocess.DEVNULL, stdout=file, stderr=subprocess.STDOUT, start_new_session=True,
            )  # fmt: skip

    @contextlib.contextmanager
    def entered(self) -> Iterator[None]:
        """Let this thread, and threads that it starts, make their sockets on this machine. Files are the same."""
        with open("/proc/thread-self/ns/net", "rb") as before:
            self._enter(NAMESPACES / self.namespace)
            try:
                yield
            finally:
                set_namespace(before.fileno())

    @staticmethod
    def _enter(path: Path) -> None:
        with path.open("rb") as file:
            set_namespace(file.fileno())

    # --- what only the machine itself can do -------------------------------------------------------

    def set_up(self) -> None:
        """Give the interfaces their addresses. The cable must be there."""
        ip = ["ip", "-n", self.namespace]
        run_command(*ip, "link", "set", "dev", "lo", "up")
        if self.ipv4:
            run_command(*ip, "addr", "add", f"{self.ipv4}/24", "dev", "eth0")
        run_command(*ip, "-6", "addr", "add", f"{self.ipv6}/64", "dev", "eth0", "nodad")
        run_command(*ip, "link", "set", "dev", "eth0", "up")

    def know(self, addresses: Mapping[str, str]) -> None:
        """Let programs that are started on this machine resolve these names, like that until the next call."""
        file = HOSTS_FILES / self.namespace / "hosts"
        file.parent.mkdir(parents=True, exist_ok=True)
        known = {"localhost": "127.0.0.1", **addresses}
        lines = [f"{address} {name}\n" for name, address in known.items()]
        file.write_text("".join(lines))  # The same file as before: programs that run see it, too.

    def forget_connections(self) -> None:
        """Drop what belongs to a TCP connection of now, without telling either end; new connections are served.

        This is what a firewall does that lost its table, in front of this machine. Until `remember`.
        """
        with self.entered():
            Path("/proc/sys/net/netfilter/nf_conntrack_tcp_loose").write_text("0\n")
            if not self._forgets:
                run_command("nft", "-f", "-", stdin=TRACKING)
                self._forgets = True
            with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, NETLINK_NETFILTER) as netlink:
                for family in (socket.AF_INET, socket.AF_INET6):
                    head = struct.pack("=IHHII", 20, CONNTRACK_DELETE, REQUEST_WITH_ACK, 1, 0)
                    netlink.send(head + struct.pack("=BBH", family, 0, 0))
                    (error,) = struct.unpack_from("=i", netlink.recv(4096), 16)
                    if error:
                        raise OSError(-error, os.strerror(-error))

    def remember(self) -> None:
        """End `forget_connections`: connections that both ends still have go on."""
        if self._forgets:
            self.run("nft", "delete", "table", "inet", "faults")
            self._forgets = False


def set_namespace(descriptor: int) -> None:
    """Let this thread be in this network namespace."""
    if _libc.setns(descriptor, CLONE_NEWNET):
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
