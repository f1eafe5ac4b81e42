"""A host for each broker: a network namespace with one cable to a bridge. Linux, as root.

The demonstration itself enters the namespace of the bridge: clients, and an engine that keeps the record, are there. A
host whose cable is taken out of the bridge is cut off as by a broken switch: its link is up, and nothing answers.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import re
import shutil
import subprocess
from pathlib import Path

CLONE_NEWNET = 0x40000000
NAMESPACES = Path("/run/netns")
NAME = re.compile(r"qpidha-demo-(?P<pid>[0-9]+)-.+")
BRIDGE_ADDRESS = "10.79.0.254"
_libc = ctypes.CDLL(None, use_errno=True)


class HostsMissing(Exception):
    """Hosts cannot be made here. The message says why, and what to do."""


class Hosts:
    """A context manager: on the way out the namespaces are gone, and this thread is where it was before."""

    def __init__(self) -> None:
        """Raises `HostsMissing` if this is not Linux, the user is not root, or a program is not installed."""
        if not hasattr(_libc, "setns"):
            raise HostsMissing("only Linux has network namespaces")
        if os.geteuid() != 0:
            raise HostsMissing("only root may make network namespaces")
        if shutil.which("ip") is None:
            raise HostsMissing("ip is not installed; on Debian and Ubuntu: apt-get install iproute2")
        self._addresses: dict[str, str] = {}
        self._before = -1

    def __enter__(self) -> Hosts:
        sweep()
        self._before = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
        try:
            switch = namespace("switch")
            command("ip", "netns", "add", switch)
            enter(NAMESPACES / switch)
            command("ip", "link", "set", "dev", "lo", "up")
            command("ip", "link", "add", "br0", "type", "bridge", "stp_state", "0", "forward_delay", "0")
            command("ip", "addr", "add", f"{BRIDGE_ADDRESS}/24", "dev", "br0")
            command("ip", "link", "set", "dev", "br0", "up")
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Leave the namespaces, and remove them. May be called again."""
        if self._before >= 0:
            set_namespace(self._before)
            os.close(self._before)
            self._before = -1
        remove(os.getpid())

    def add(self, name: str) -> str:
        """Make a host, and return its address. Raises `HostsMissing` if the kernel refuses something."""
        number = len(self._addresses) + 1
        self._addresses[name] = address = f"10.79.0.{number}"
        host = namespace(name)
        command("ip", "netns", "add", host)
        command(
            "ip", "link", "add", "name", f"port-{name}", "type", "veth", "peer", "name", "eth0", "netns", host
        )
        command("ip", "link", "set", "dev", f"port-{name}", "master", "br0", "up")
        command("ip", "-n", host, "link", "set", "dev", "lo", "up")
        command("ip", "-n", host, "addr", "add", f"{address}/24", "dev", "eth0")
        command("ip", "-n", host, "link", "set", "dev", "eth0", "up")
        return address

    @staticmethod
    def wrapper(name: str) -> list[str]:
        """What comes before a command line that is to run on a host. The process is the program itself."""
        return ["ip", "netns", "exec", namespace(name)]

    def cut(self, name: str) -> None:
        """Cut a host off from everything, until `mend`."""
        command("ip", "link", "set", "dev", f"port-{name}", "nomaster")

    def mend(self, name: str) -> None:
        """End `cut`."""
        command("ip", "link", "set", "dev", f"port-{name}", "master", "br0")


def namespace(name: str, pid: int | None = None) -> str:
    """The namespace of a host of this process."""
    return f"qpidha-demo-{os.getpid() if pid is None else pid}-{name}"


def command(*words: str) -> None:
    """Run a program. Raises `HostsMissing` if it fails."""
    done = subprocess.run(words, capture_output=True, text=True, check=False)  # noqa: S603 - our own command line
    if done.returncode:
        raise HostsMissing(
            f"this kernel, or this container, refuses `{' '.join(words)}`: {done.stderr.strip()}"
        )


def enter(path: Path) -> None:
    """Let this thread, and all that it starts from now on, be in a network namespace."""
    with open(path, "rb") as file:
        set_namespace(file.fileno())


def set_namespace(descriptor: int) -> None:
    """The same, by the descriptor of the namespace."""
    if _libc.setns(descriptor, CLONE_NEWNET):
        number = ctypes.get_errno()
        raise HostsMissing(f"cannot enter a network namespace: {os.strerror(number)}")


def remove(pid: int) -> None:
    """Remove the namespaces of a demonstration."""
    for name in [entry.name for entry in NAMESPACES.glob(f"qpidha-demo-{pid}-*")]:
        with contextlib.suppress(HostsMissing):
            command("ip", "netns", "del", name)


def sweep() -> None:
    """Remove what demonstrations left that were killed."""
    found = {int(match["pid"]) for entry in NAMESPACES.glob("*") if (match := NAME.fullmatch(entry.name))}
    for pid in found:
        if not Path(f"/proc/{pid}").exists():
            remove(pid)
