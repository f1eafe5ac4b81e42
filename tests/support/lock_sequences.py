"""A program that changes the names of a store's files in every way: two processes must never both use the store.

The owner opens the store. Then some of the `ACTIONS` are done by a third process, in every order. At the end a second
process opens the files under the store's name, and both try to commit. Either the second process or the owner must be
refused. If the owner is dead, the second process must succeed, unless there is nothing left to open.

Processes are forks of this one, which has not opened any store: a fork is cheap, and hundreds take only seconds.
"""

from __future__ import annotations

import itertools
import os
import shutil
import signal
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from uuid import UUID

from qpidha.errors import QpidhaError
from qpidha.journal import PutStatus
from qpidha.records.file.sessionfile import SessionFile, SessionInfo
from qpidha.stores import SqliteStore

MEMORY = "/dev/shm"
"""A file system in memory, where an fsync costs nothing."""
GONE, REFUSED, OPENED, BROKEN = 3, 4, 5, 6
CHANGES = [PutStatus(UUID(int=1), 1, primary=False)]


def remove(*names: str) -> Callable[[Path], None]:
    def act(base: Path) -> None:
        for name in names:
            (base / name).unlink(missing_ok=True)

    return act


def move(base: Path) -> None:
    """Move the store away, or back if it is away."""
    away, here = base / "away", base / "store"
    if away.exists():
        shutil.rmtree(here, ignore_errors=True)
        away.rename(here)
    elif here.exists():
        here.rename(away)


def into_a_new_directory(base: Path) -> None:
    """Move all files of the store into a new directory with the same name."""
    here = base / "store"
    if here.exists():
        here.rename(base / "old")
        here.mkdir(mode=0o700)
        for path in (base / "old").iterdir():
            path.rename(here / path.name)
        (base / "old").rmdir()


def by_hard_links(base: Path) -> None:
    """Replace the store's directory by a new one with hard links to the same files."""
    here = base / "store"
    if here.exists() and not (base / "first").exists():
        here.rename(base / "first")
        here.mkdir(mode=0o700)
        for name in ("store.db", "store.db-wal", "store.db-shm", "identity"):
            if (base / "first" / name).exists():
                os.link(base / "first" / name, here / name)


def restore_a_copy(base: Path) -> None:
    here = base / "store"
    if here.exists() and not (base / "original").exists():
        here.rename(base / "original")
        shutil.copytree(base / "original", here)


def link_the_lock(base: Path) -> None:
    if (base / "store").exists():
        (base / "store" / "lock").unlink(missing_ok=True)
        (base / "store" / "lock").symlink_to(base / "another")
        (base / "another").touch()


ACTIONS: dict[str, Callable[[Path], None]] = {
    "remove the lock": remove("store/lock"),
    "remove the session": remove("sessions/a.lock", "sessions/a.info"),
    "remove lock and identity": remove("store/lock", "store/identity"),
    "replace the lock by a link": link_the_lock,
    "move": move,
    "new directory": into_a_new_directory,
    "hard links": by_hard_links,
    "restore a copy": restore_a_copy,
}
TO_THE_OWNER = ("fork", "kill")


class Owner:
    """A process with the store and a session, controlled by letters through a pipe."""

    def __init__(self, base: Path) -> None:
        self._asks, asked = os.pipe()
        told, self._tells = os.pipe()
        self.alive = True
        self.children: list[int] = []
        self.pid = os.fork()
        if self.pid == 0:
            try:
                self._live(base, told, asked)
            finally:
                os._exit(1)
        os.close(told)
        os.close(asked)
        assert os.read(self._asks, 1) == b"o"

    def _live(self, base: Path, told: int, answers: int) -> None:
        store = SqliteStore(base / "store")
        store.open("a")
        SessionFile(base / "sessions", SessionInfo(node="a", ttl_s=60, info=b""))
        os.write(answers, b"o")
        while (word := os.read(told, 1)) == b"f" or word == b"c":
            if word == b"f":
                if os.fork() == 0:  # The child answers: by then it has given up what it inherited.
                    os.write(answers, os.getpid().to_bytes(8, "big"))
                    signal.pause()
                continue
            try:
                store.commit(CHANGES)
                os.write(answers, b"y")
            except QpidhaError:
                os.write(answers, b"n")

    def fork(self) -> None:
        if self.alive:
            os.write(self._tells, b"f")
            self.children.append(int.from_bytes(os.read(self._asks, 8), "big"))

    def commits(self) -> bool:
        if not self.alive:
            return False
        os.write(self._tells, b"c")
        return os.read(self._asks, 1) == b"y"

    def kill(self) -> None:
        if self.alive:
            os.kill(self.pid, signal.SIGKILL)
            os.waitpid(self.pid, 0)
            self.alive = False

    def end(self) -> None:
        self.kill()
        for pid in self.children:
            os.kill(pid, signal.SIGKILL)
        os.close(self._asks)
        os.close(self._tells)


def second_process(base: Path) -> int:
    """Return what a second process gets: refused, or the store, or nothing to open."""
    if not (base / "store").exists():
        return GONE
    pid = os.fork()
    if pid:
        return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    try:
        store = SqliteStore(base / "store")
        store.open("a")
        store.commit(CHANGES)
        os._exit(OPENED)
    except QpidhaError:
        os._exit(REFUSED)
    finally:
        os._exit(BROKEN)


def tried(sequence: tuple[str, ...]) -> str | None:
    """Return what is wrong after these actions, or None."""
    with tempfile.TemporaryDirectory(dir=MEMORY if os.path.isdir(MEMORY) else None) as tmp:
        base = Path(tmp)
        (base / "sessions").mkdir()
        owner = Owner(base)
        database = (base / "store" / "store.db").stat().st_ino
        try:
            for action in sequence:
                if action in TO_THE_OWNER:
                    getattr(owner, action)()
                else:
                    ACTIONS[action](base)
            second = second_process(base)
            if second not in (GONE, REFUSED, OPENED):
                return f"the second process ended with {second}"
            if second == OPENED and owner.commits():
                return "both have committed"
            if second == OPENED and owner.alive and (base / "store" / "store.db").stat().st_ino == database:
                return "both have the same database open"
            if second == REFUSED and not owner.alive and "replace the lock by a link" not in sequence:
                return "the owner is dead, and the second process is refused"
        finally:
            owner.end()
    return None


def main(length: int) -> int:
    tries = bad = 0
    for sequence in itertools.product([*ACTIONS, *TO_THE_OWNER], repeat=length):
        tries += 1
        if found := tried(sequence):
            bad += 1
            print(f"{', '.join(sequence)}: {found}")
    print(f"{tries} sequences, {bad} wrong")
    return min(bad, 1)


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1])))
