"""The bench of the checks of stores: a directory at which a store is made, opened, killed and opened again."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeAlias, TypeVar
from uuid import UUID

from qpidha.interfaces import MessageStore, ReadableStore, WatchfulStore
from qpidha.journal import Change, StoreImage
from qpidha.testing.conformance.changes import QUEUE, messages, plain, said
from qpidha.testing.conformance.check import Trial

T = TypeVar("T")

MakeStore: TypeAlias = Callable[[Path], MessageStore]
"""Makes the store in this directory. Called again for the same directory after a close or a kill."""
Kill: TypeAlias = Callable[[MessageStore, Path], Path]
"""Ends a store as a kill or a power cut does, and returns the directory in which it is opened next."""


def copy_away(store: MessageStore, directory: Path) -> Path:
    """Copy the files as they are now, without what the process has not written, and return the copy.

    Raises:
        RuntimeError: It was called 999 times for one directory.
    """
    for n in range(1, 1000):
        copy = directory.with_name(f"{directory.name}.{n}")
        if not copy.exists():
            shutil.copytree(directory, copy)
            return copy
    raise RuntimeError("killed too often")


class Opened:
    """A store, used as a node uses it: all calls in one worker thread if it is ``blocking``."""

    def __init__(self, bench: StoreBench, store: MessageStore) -> None:
        self._bench = bench
        self.store = store
        self._thread = ThreadPoolExecutor(1) if store.blocking else None

    def _call(self, work: Callable[[], T]) -> T:
        return work() if self._thread is None else self._thread.submit(work).result()

    def open(self, node: str, *, refuse_dirty: bool) -> StoreImage:
        """Open the store as this node, and return what it holds."""
        return self._call(lambda: self.store.open(node, refuse_dirty=refuse_dirty))

    def commit(self, *changes: Change) -> None:
        """Commit these changes in one transaction."""
        self._bench.did(said(changes))
        self._call(lambda: self.store.commit(changes))

    def verify_files(self) -> None:
        """Call `verify_files` of the store, if it has it, in the thread that commits."""
        if isinstance(self.store, WatchfulStore):
            self._bench.did("verify_files()")
            self._call(self.store.verify_files)

    def close(self, *, clean: bool) -> None:
        """Close the store."""
        self._bench.did(f"close({clean=})")
        self._call(lambda: self.store.close(clean=clean))

    def release(self) -> None:
        """Close the store if it is open, and end its thread."""
        with contextlib.suppress(Exception):  # The check is over; close has its own checks.
            self._call(lambda: self.store.close(clean=False))
        if self._thread is not None:
            self._thread.shutdown()


class StoreBench(Trial):
    """The directory of one store, and steps that open, kill and compare it."""

    def __init__(self, make: MakeStore, kill: Kill, **trial: Any) -> None:
        super().__init__(**trial)
        self._make = make
        self._kill = kill
        self.home = self.directory / "store"
        self.home.mkdir()
        self._opened: list[Opened] = []
        self.limit: int | None = None
        """`memory_bytes_max` of the stores that are opened next, if they are `ReadableStore`."""

    def make(self) -> MessageStore:
        """Make a store in the current directory, without opening it."""
        return self._make(self.home)

    def open(self, node: str = "a", *, refuse_dirty: bool = False) -> tuple[Opened, StoreImage]:
        """Make and open a store; return it and what it holds."""
        self.did(f"open({node!r}{', refuse_dirty=True' if refuse_dirty else ''})")
        store = self.make()
        if isinstance(store, ReadableStore):
            store.memory_bytes_max = self.limit
        opened = Opened(self, store)
        image = opened.open(node, refuse_dirty=refuse_dirty)
        self._opened.append(opened)
        return opened, image

    def kill(self, opened: Opened) -> None:
        """Kill the process: the next `open` finds what it left."""
        self.did("kill")
        self.home = self._kill(opened.store, self.home)

    def reopened(self, *commits: Sequence[Change], clean: bool = True) -> StoreImage:
        """Open, commit, close and open again; return what is there then. The store is closed afterwards."""
        opened, _ = self.open()
        for changes in commits:
            opened.commit(*changes)
        opened.close(clean=clean)
        opened, image = self.open()
        opened.close(clean=clean)
        return image

    def held(self, image: StoreImage, queue: UUID = QUEUE) -> dict[int, bytes]:
        """Return the messages of one queue by id. Raises `RuleBroken` if it is missing."""
        found = next((q for q in image.queues if q.queue == queue), None)
        if found is not None:
            return messages(found.held)
        return self.broken(f"a queue {queue}", f"queues {[str(q.queue) for q in image.queues]}")

    def agrees(self, expected: StoreImage, seen: StoreImage) -> None:
        """Check that an image is equal to the expected one; state and stop id may differ."""
        for what, one, other in zip(
            ("node", "cluster", "generation", "primary"), plain(expected), plain(seen), strict=False
        ):
            self.same(what, one, other)
        queues, found = ({q.queue: q for q in image.queues} for image in (expected, seen))
        self.same("queues", set(queues), set(found))
        for name, queue in queues.items():
            self.same(f"spec of {name.hex[-2:]}", queue.spec, found[name].spec)
            self.same(f"lineage of {name.hex[-2:]}", queue.lineage, found[name].lineage)
            self.same(f"next of {name.hex[-2:]}", queue.next, found[name].next)
            self.same(f"messages of {name.hex[-2:]}", messages(queue.held), messages(found[name].held))
        self.same("quarantine", plain(expected)[-1], plain(seen)[-1])

    async def release(self) -> None:
        """Close all stores that were opened."""
        for opened in self._opened:
            opened.release()
