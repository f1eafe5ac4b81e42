"""The name of a run, and the removal of what dead runs left.

The namespaces of a run are named ``qpidha-RUN-HOST``. The process that made them holds a lock of a file of that name as
long as it lives, whatever happens to it: a run whose lock is free is dead, and another run may remove what it left.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import shutil
import signal
import subprocess
import time
from pathlib import Path

LOCKS = Path("/run/qpidha-machines")
NAMESPACES = Path("/run/netns")
HOSTS_FILES = Path("/etc/netns")
"""What ``ip netns exec`` starts sees the files of its namespace's directory here in the place of those of /etc."""
NAME = re.compile(r"qpidha-(?P<run>[0-9a-f]{8})-.+")
PROCESSES_END_TIMEOUT_S = 10.0


def run_command(*words: str, stdin: str | None = None) -> str:
    """Run a program and return its output.

    Raises:
        RuntimeError: It failed; the message has what it said.
    """
    done = subprocess.run(words, input=stdin, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{' '.join(words)}: {done.stderr.strip() or done.returncode}")
    return done.stdout


class Run:
    """One run of this process. `close` removes all its namespaces, with the processes in them."""

    def __init__(self) -> None:
        self.name = os.urandom(4).hex()
        lock = take_lock(self.name)
        assert lock is not None, "another run has the same name"
        self._lock = lock

    def namespace(self, host: str) -> str:
        """The name of the namespace of a host."""
        return f"qpidha-{self.name}-{host}"

    def close(self) -> None:
        """Remove everything. May be called again."""
        remove(self.name)
        if self._lock >= 0:
            (LOCKS / self.name).unlink(missing_ok=True)
            os.close(self._lock)
            self._lock = -1


def take_lock(run: str) -> int | None:
    """Take the lock of a run, and return its descriptor. None: a living process has it."""
    LOCKS.mkdir(mode=0o700, exist_ok=True)
    lock = os.open(LOCKS / run, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(lock)
        return None
    return lock


def namespaces(run: str | None = None) -> list[str]:
    """The namespaces of a run, or of all runs."""
    names = [entry.name for entry in NAMESPACES.iterdir()] if NAMESPACES.exists() else []
    found = [(name, NAME.fullmatch(name)) for name in sorted(names)]
    return [name for name, match in found if match and run in (None, match["run"])]


def remove(run: str) -> None:
    """Kill the processes of a run's namespaces, and remove these."""
    names = namespaces(run)
    for name in names:
        end_processes(name)
    for name in names:
        shutil.rmtree(HOSTS_FILES / name, ignore_errors=True)
        with contextlib.suppress(RuntimeError):  # Another process may sweep at the same time.
            run_command("ip", "netns", "del", name)


def end_processes(namespace: str) -> None:
    """Kill all processes in a namespace, and wait until they are gone."""
    deadline = time.monotonic() + PROCESSES_END_TIMEOUT_S
    while True:
        try:
            pids = [int(pid) for pid in run_command("ip", "netns", "pids", namespace).split()]
        except RuntimeError:
            return
        others = [pid for pid in pids if pid != os.getpid() and not is_zombie(pid)]
        if not others or time.monotonic() > deadline:
            return
        for pid in others:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(0.005)


def is_zombie(pid: int) -> bool:
    """Whether a process has ended, and its parent has not asked for its exit code."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True


def sweep() -> list[str]:
    """Remove what dead runs left. Returns their names."""
    swept = []
    runs = {match["run"] for name in namespaces() if (match := NAME.fullmatch(name))}
    for run in sorted(runs):
        lock = take_lock(run)
        if lock is None:
            continue
        remove(run)
        (LOCKS / run).unlink(missing_ok=True)
        os.close(lock)
        swept.append(run)
    return swept
