"""Containers of podman, in namespaces of their own: what a test leaves ends with them, and nothing else of it is seen.

The namespaces have a /run and a network of their own, without a way to elsewhere: images are made of files that are here.
"""

from __future__ import annotations

import functools
import os
import shutil
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

from tests.machines.rootfs import not_installed

PROGRAMS = ("podman", "crun", "netavark", "aardvark-dns", "catatonit", "podman-compose")
"""Each in the Debian package of its name."""
PACKAGES = ("etcd-server", "gcc", "libc6-dev", "openssl", "python3-dev", "python3-venv", "systemd", "dbus")
"""Of the base image: what the recipe and the unit need."""
HOLD = """
mount -t tmpfs tmpfs /run
umount /sys/fs/cgroup/unified 2>/dev/null  # crun knows one hierarchy of control groups or the other, not both.
ip link set lo up
echo ready
exec sleep infinity
"""
CONFIG = """
[containers]
default_ulimits = ["nofile=4096:4096", "nproc=4096:4096"]
[engine]
cgroup_manager = "cgroupfs"
events_logger = "none"
[network]
network_config_dir = "{folder}/networks"
"""
"""Limits of processes can be lowered everywhere, and raised only with a right that a container may not have."""
STORAGE = """
[storage]
driver = "overlay"
graphroot = "{folder}/store"
runroot = "/run/containers/storage"
"""
WAIT_S = 180.0


class Engine:
    """podman with an empty store in a folder, which is removed at the end: images are large."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        (folder / "containers.conf").write_text(CONFIG.format(folder=folder))
        (folder / "storage.conf").write_text(STORAGE.format(folder=folder))
        self._environment = {
            **{name: value for name, value in os.environ.items() if name != "NOTIFY_SOCKET"},
            "CONTAINERS_CONF": str(folder / "containers.conf"),
            "CONTAINERS_STORAGE_CONF": str(folder / "storage.conf"),
        }
        # The namespaces also end when this process is killed.
        unshare = [
            "setpriv",
            "--pdeathsig",
            "KILL",
            "unshare",
            "--mount",
            "--net",
            "--pid",
            "--fork",
            "--mount-proc",
            "--kill-child",
        ]
        self._holder = subprocess.Popen(
            [*unshare, "--propagation", "private", "sh", "-c", HOLD], stdout=subprocess.PIPE, text=True
        )
        assert self._holder.stdout is not None and self._holder.stdout.readline() == "ready\n"
        children = Path(f"/proc/{self._holder.pid}/task/{self._holder.pid}/children").read_text().split()
        self._enter = ["nsenter", "--target", children[0], "--mount", "--net", "--pid"]

    def try_run(self, *words: str, timeout_s: float = WAIT_S) -> subprocess.CompletedProcess[str]:
        """Run a program in the namespaces, such as podman."""
        return subprocess.run(
            [*self._enter, *words],
            env=self._environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=timeout_s,
            check=False,
        )

    def run(self, *words: str, timeout_s: float = WAIT_S) -> str:
        """The same; returns the output. Raises `RuntimeError` with what it said if it fails."""
        done = self.try_run(*words, timeout_s=timeout_s)
        if done.returncode:
            raise RuntimeError(f"{' '.join(words)}: {done.returncode}\n{done.stdout}{done.stderr}"[-4000:])
        return done.stdout

    def load(self, root: Path, image: str, *changes: str) -> None:
        """Make an image of a root file system."""
        options = [word for change in changes for word in ("--change", change)]
        archive = root.with_suffix(".tar")
        subprocess.run(["tar", "-C", root, "-cf", archive, "."], check=True)
        self.run("podman", "import", "-q", *options, str(archive), image)
        archive.unlink()

    def close(self) -> None:
        """End everything in the namespaces: the first process of theirs ends, and so do all others."""
        self._holder.kill()
        self._holder.wait()
        assert self._holder.stdout is not None
        self._holder.stdout.close()
        shutil.rmtree(self._folder)


def until(condition: Callable[[], object], what: Callable[[], object], timeout_s: float = WAIT_S) -> None:
    """Wait until this is true. ``what``: told if it does not come true."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, what()
        time.sleep(0.2)


@functools.cache
def missing() -> tuple[str, ...]:
    """All that is missing, as sentences. Empty: containers can be run here."""
    found = [
        f"{program} is not installed (Debian: apt-get install {program})"
        for program in PROGRAMS
        if shutil.which(program, path=f"{os.environ.get('PATH', '')}:/usr/lib/podman") is None
    ]
    found += [f"this machine lacks the Debian package {package}" for package in not_installed(PACKAGES)]
    if os.geteuid() != 0:
        found.append("only root may make the namespaces")
    return tuple(found)
