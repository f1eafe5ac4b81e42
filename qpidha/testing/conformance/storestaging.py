"""Rules for stores that set messages aside (`qpidha.interfaces.StagingStore`). Other stores pass the checks."""

from __future__ import annotations

import random

from qpidha.errors import StoreFailed
from qpidha.interfaces import StagingStore
from qpidha.journal import Adopt, PutQueue, Stage, StoreStatus, Unstage
from qpidha.seq import SequenceSet
from qpidha.testing.conformance.changes import (
    CREATE,
    OTHER,
    OTHER_SPEC,
    QUEUE,
    STATUS,
    batch,
    ids,
    insert,
    remove,
)
from qpidha.testing.conformance.commits import RandomCommits
from qpidha.testing.conformance.store import RULES
from qpidha.testing.conformance.storebench import StoreBench
from qpidha.testing.sim.content import Content, messages

LIVES = 4
COMMITS = 8


@RULES
def what_is_set_aside_becomes_content_when_it_is_adopted(bench: StoreBench) -> None:
    """C5: random commits, some of which set messages aside, adopt and forget them; nothing is set aside after a start."""
    rng = random.Random(1)
    opened, image = bench.open()
    if not isinstance(opened.store, StagingStore):
        return
    drawn = RandomCommits(rng, Content(StoreStatus(node="a", epoch=image.status.epoch)), staging=True)
    for life in range(LIVES):
        for _ in range(COMMITS):
            opened.commit(*drawn.commit())
            assert isinstance(opened.store, StagingStore)
            _read_some(bench, opened.store, drawn.model, rng)
        if life % 2:
            bench.kill(opened)
        else:
            opened.close(clean=life == 0)
        drawn.model.staged.clear()
        opened, image = bench.open()
        bench.agrees(drawn.model.image(), image)


def _read_some(bench: StoreBench, store: StagingStore, model: Content, rng: random.Random) -> None:
    for name, aside in model.staged.items():
        wanted = [id for id in sorted(aside) if rng.random() < 0.7]
        if wanted:
            bench.did(f"read_staged({name.hex[-2:]}, {wanted})")
            found = store.read_staged(name, SequenceSet(wanted))
            bench.same(f"set aside for {name.hex[-2:]}", tuple(aside[id] for id in wanted), messages(found))


@RULES
def what_is_set_aside_is_no_content(bench: StoreBench) -> None:
    """C5: it is in no image, whether the store was killed or closed, and its ids may be those of other messages."""
    for clean in (True, False):
        bench.home = bench.directory / f"aside-{clean}"
        bench.home.mkdir()
        opened, _ = bench.open()
        if not isinstance(opened.store, StagingStore):
            return
        opened.commit(STATUS, CREATE, insert(ids((1, 3))))
        opened.commit(Stage(QUEUE, ids((2, 9)), batch(ids((2, 9)))), Stage(OTHER, ids(1), batch(ids(1))))
        opened.close(clean=clean)
        opened, image = bench.open()
        bench.same("queues", [QUEUE], [queue.queue for queue in image.queues])
        bench.same("ids", [1, 2, 3], sorted(bench.held(image)))
        opened.commit(insert(ids((4, 9))), PutQueue(OTHER, OTHER_SPEC, ((1, 1),), 1), insert(ids(1), OTHER))
        opened.close(clean=clean)
        image = bench.open()[1]
        bench.same("ids", list(range(1, 10)), sorted(bench.held(image)))
        bench.same("ids", [1], sorted(bench.held(image, OTHER)))


@RULES
def what_was_adopted_is_read_as_before(bench: StoreBench) -> None:
    """`read_staged` gives the messages also after they were adopted, and none that were forgotten."""
    opened, _ = bench.open()
    if not isinstance(opened.store, StagingStore):
        return
    opened.commit(STATUS, CREATE, insert(ids(1, 5)))
    new = batch(ids((11, 14)))
    opened.commit(Stage(QUEUE, ids((5, 8)), new))
    bench.same("before", list(new), list(opened.store.read_staged(QUEUE, ids((5, 8)))))
    opened.commit(remove(ids(5)), Adopt(QUEUE, ids((5, 7))), Unstage())
    bench.did("read_staged(a1, 5-7)")
    bench.same("after", list(new)[:3], list(opened.store.read_staged(QUEUE, ids((5, 7)))))
    bench.kill(opened)
    opened, image = bench.open()
    bench.same("ids after a start", [1, 5, 6, 7], sorted(bench.held(image)))
    assert isinstance(opened.store, StagingStore)
    bench.did("read_staged(a1, 8)")
    with bench.raises(StoreFailed, "read_staged() of a message that was forgotten"):
        opened.store.read_staged(QUEUE, ids(8))
