"""Rules for stores that give messages back (`qpidha.interfaces.ReadableStore`). Other stores pass the checks."""

from __future__ import annotations

import random
from uuid import UUID

from qpidha.errors import StoreFailed
from qpidha.interfaces import ReadableStore
from qpidha.journal import StoreStatus
from qpidha.seq import SequenceSet
from qpidha.testing.conformance.changes import CREATE, QUEUE, STATUS, ids, insert, remove, some_commits
from qpidha.testing.conformance.commits import RandomCommits
from qpidha.testing.conformance.store import RULES
from qpidha.testing.conformance.storebench import StoreBench
from qpidha.testing.sim.content import Content, messages

COMMITS = 12


@RULES
def what_was_committed_can_be_read_again(bench: StoreBench) -> None:
    """`read` gives back whatever was committed and not removed since: any of it, in order, with all columns."""
    rng = random.Random(1)
    model = Content(StoreStatus(node="a", epoch=UUID(int=1)))
    drawn = RandomCommits(rng, model)
    opened, _ = bench.open()
    if not isinstance(opened.store, ReadableStore):
        return
    for _ in range(2):
        for _ in range(COMMITS):
            opened.commit(*drawn.commit())
            _read_some(bench, opened.store, model, rng)
        opened.close(clean=True)
        opened, _ = bench.open()
        assert isinstance(opened.store, ReadableStore)
        _read_some(bench, opened.store, model, rng)


def _read_some(bench: StoreBench, store: ReadableStore, model: Content, rng: random.Random) -> None:
    for name, queue in model.queues.items():
        wanted = sorted(queue.held)
        if rng.random() < 0.5:
            wanted = [id for id in wanted if rng.random() < 0.5]
        if not wanted:
            continue
        bench.did(f"read({name.hex[-2:]}, {wanted})")
        found = store.read(name, SequenceSet(wanted))
        bench.same(f"messages of {name.hex[-2:]}", tuple(queue.held[id] for id in wanted), messages(found))


@RULES
def a_start_with_a_limit_gives_everything(bench: StoreBench) -> None:
    """With `memory_bytes_max`, what comes back at a start is the same, in the same order."""
    if not isinstance(bench.make(), ReadableStore):
        return
    expected = bench.reopened(*some_commits())
    for limit in (0, 40):
        bench.limit = limit
        opened, image = bench.open()
        bench.agrees(expected, image)
        opened.close(clean=True)


@RULES
def what_is_not_there_cannot_be_read(bench: StoreBench) -> None:
    """`read` of a message that was removed raises StoreFailed, and then every commit does; so does a closed store."""
    opened, _ = bench.open()
    if not isinstance(opened.store, ReadableStore):
        return
    opened.commit(STATUS, CREATE, insert(ids((1, 3))))
    opened.commit(remove(ids(2)))
    bench.did("read(a1, 1-3)")
    with bench.raises(StoreFailed, "read() of a message that was removed"):
        opened.store.read(QUEUE, ids((1, 3)))
    with bench.raises(StoreFailed, "commit() after a read that failed"):
        opened.commit(remove(ids(1)))
    opened.close(clean=False)
    with bench.raises(StoreFailed, "read() of a closed store"):
        opened.store.read(QUEUE, ids(1))
