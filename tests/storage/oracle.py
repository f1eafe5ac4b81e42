"""What a workload was promised, and whether its files keep the promises.

The states that a store may show are computed by applying the same commits to a store without a disk.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

from qpidha.journal import StoreState
from qpidha.records.file.store import FileRecordStore
from qpidha.stores import MemoryStore, SqliteStore
from tests.storage.shim import Call, Op
from tests.storage.workload import COMMITS, image_digest, plain, record


class Broken(AssertionError):
    """A promise was broken: something is lost, incomplete, or was never written."""


@dataclass(frozen=True, slots=True)
class Promise:
    """Bounds on what a store or record must contain, as numbers of commits or versions."""

    floor: int = 0
    """Lower bound: this many were confirmed."""
    ceiling: int = 0
    """Upper bound: no more than this many were requested."""
    states: tuple[StoreState, ...] = tuple(StoreState)
    """The states that an inspection of the store may report."""
    failed: str = ""
    """The first failure, as "step type: message"."""


@cache
def state_numbers() -> dict[int, int]:
    """Map the digest of a store's content after 0, 1, 2 ... commits to the number of commits."""
    found = {}
    for number in range(len(COMMITS) + 1):
        store = MemoryStore()  # Another one: what is set aside does not outlive the one that is opened again.
        store.open("a")
        for changes in COMMITS[:number]:
            store.commit(changes)
        store.close(clean=False)
        found[image_digest(store.open("a"))] = number
    return found


IN_USE = (StoreState.DIRTY, StoreState.EMPTY)
STOPPED = (StoreState.CLEAN, StoreState.EMPTY)


def promised(calls: Iterable[Call], given: Promise | None = None) -> Promise:
    """Combine the workload's lines in a trace with the promises from before it began."""
    now = given or Promise()
    for call in calls:
        if call.op is Op.SAY:
            now = _said(now, call.words)
    return now


def _said(now: Promise, words: tuple[str, ...]) -> Promise:
    match words:
        case ("commit", number):
            return replace(now, ceiling=max(now.ceiling, int(number)))
        case ("committed", number):
            return replace(now, floor=max(now.floor, int(number)), ceiling=max(now.ceiling, int(number)))
        case ("found", digest):  # A caller may have acted on this answer.
            number = state_numbers()[int(digest)]
            return replace(now, floor=number, ceiling=number, states=IN_USE)
        case ("opened",) | ("closed",):
            return replace(now, states=IN_USE)
        case ("open",):
            return replace(now, states=(*STOPPED, *IN_USE) if StoreState.CLEAN in now.states else IN_USE)
        case ("close", "clean"):
            return now if now.failed else replace(now, states=(*STOPPED, *IN_USE))
        case ("closed", "clean"):
            return replace(now, states=STOPPED)
        case ("failed", step, what):
            if step == "commit" and what.startswith(("Unavailable:", "Conflict:")):
                now = replace(now, ceiling=now.floor)  # The request was surely not carried out (M1).
            return replace(now, failed=now.failed or f"{step} {what}")
    return now


def check_store(directory: Path, promise: Promise) -> int:
    """Open the store and return the number of commits that it shows.

    Raises:
        Broken: It shows something that it must not.
        StoreError: It does not open.
    """
    store = SqliteStore(directory / "node" / "store")
    store.memory_bytes_max = 1  # So nearly every message is one that a running store gives back.
    image = store.open("a")
    shown = state_numbers().get(image_digest(image))
    store.close(clean=False)
    if shown is None:
        raise Broken(f"a state that never was: {plain(image)}")
    if not promise.floor <= shown <= promise.ceiling:
        raise Broken(f"{shown} commits are there, {promise.floor} to {promise.ceiling} were promised")
    if image.status.state not in promise.states:
        raise Broken(f"left {image.status.state.value}, after {shown} commits; {promise}")
    return shown


def check_record(directory: Path, promise: Promise) -> int:
    """Read the record and return its version; 0 if there is none. Raises Broken or `ClusterError`."""
    place = directory / "shared" / "cluster"
    found = FileRecordStore.peek(place) if place.is_dir() else None
    version = 0 if found is None else found.version
    if found is not None and found.record != record(version):
        raise Broken(f"not what was written as version {version}: {found}")
    if not promise.floor <= version <= promise.ceiling:
        raise Broken(f"version {version} is there, {promise.floor} to {promise.ceiling} were promised")
    return version


CHECKS = {"live": check_store, "recover": check_store, "elect": check_record}
