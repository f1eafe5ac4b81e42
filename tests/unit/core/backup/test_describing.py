"""What a backup says of its queues: digests made in slices, and descriptions in pieces (C1, C8)."""

from __future__ import annotations

from uuid import UUID

from qpidha import Batch, SequenceSet
from qpidha.core.backup.describing import Digests, description_count, descriptions
from qpidha.core.groups import digest, group_of, joined
from qpidha.core.queues import Queues
from qpidha.types import QueueSpec
from qpidha.wire.events import SubscribeQueue

KEY = b"k" * 16


def queues(count: int) -> Queues:
    made = Queues()
    for n in range(1, count + 1):
        q = made.make(UUID(int=n), QueueSpec(name=f"q{n}"), ((1, 1),), 1)
        if n % 2:
            ids = SequenceSet(range(1, 2 * n, 2))
            q.insert(ids, Batch.pack([b"m"] * len(ids)))
        made[q.queue] = q
    return made


def test_digests_are_made_in_slices() -> None:
    content = queues(20)
    work = Digests(content, 3, KEY)
    steps = 0
    while not work.done:
        work.advance(5)
        steps += 1
    assert steps > 3, "a slice ends after about so many queues"
    event = work.event(UUID(int=9), 4)
    assert (event.epoch, event.stored_generation, event.key) == (UUID(int=9), 4, KEY)
    assert len(event.digests) == len(work.groups) == 7
    for number, made in enumerate(event.digests):
        mine = [q for q in content.values() if group_of(q.queue, 7) == number]
        assert mine == work.groups[number] and made == digest(KEY, joined(mine))


def test_groups_without_queues_have_digests_too() -> None:
    content = queues(9)
    for n in (1, 2, 4, 5, 7, 8):
        del content[UUID(int=n)]
    work = Digests(content, 1, KEY)
    work.advance(100)
    assert work.done and work.groups[1] == [] == work.groups[2]
    assert work.event(UUID(int=9), 0).digests[1] == digest(KEY, b"")


def test_each_queue_is_described_in_as_many_pieces_as_its_runs_need() -> None:
    content = queues(5)
    events = list(descriptions(content.values(), 2))
    assert all(isinstance(event, SubscribeQueue) for event in events)
    assert len(events) == description_count(content.values(), 2) == 1 + 1 + 2 + 1 + 3
    for q in content.values():
        held = SequenceSet()
        for event in events:
            if isinstance(event, SubscribeQueue) and event.queue == q.queue:
                assert (event.lineage, event.next) == (q.lineage, q.next)
                held |= event.held
        assert held == q.held
