"""Texts and digests of groups of queues: they are as docs/wire.md says, and differ wherever a plan would (C8)."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from uuid import UUID

import pytest

from qpidha import Batch, SequenceSet, Settle
from qpidha.core.groups import (
    digest,
    divided,
    group_count,
    group_of,
    history_in,
    joined,
    session_key,
)
from qpidha.core.lineage import Lineage
from qpidha.core.queue import ReplicatedQueue
from qpidha.core.resync import History
from qpidha.types import QueueSpec
from qpidha.wire.groups import DIGEST_BYTES, GROUPS_MAX, KEY_BYTES
from tests.unit.wire.test_codec import SAMPLES

DOC = Path(__file__).resolve().parents[3] / "docs" / "wire.md"
ORDERS = UUID("00112233-4455-6677-8899-aabbccddeeff")
SPEC = QueueSpec(name="orders", settle=Settle.REPLICATED, kind="fifo")
LINEAGE = ((1, 1), (3, 500))
KEY = bytes(range(KEY_BYTES))


def queue(
    id: UUID = ORDERS,
    spec: QueueSpec = SPEC,
    lineage: Lineage = LINEAGE,
    held: SequenceSet | None = None,
    next: int = 501,
) -> ReplicatedQueue:
    made = ReplicatedQueue(id, spec, lineage, next)
    ids = SequenceSet([1, 2, 3, 500]) if held is None else held
    if ids:
        made.insert(ids, Batch.pack([b"m"] * len(ids)))
    return made


def test_the_text_and_its_digest_are_those_of_the_specification() -> None:
    (block,) = re.findall(r"```text\n(00 11 22.*?)```", DOC.read_text(), re.DOTALL)
    lines = [re.split(r"   |  [a-z]| {2,}[a-z0-9]+, ", line)[0] for line in block.splitlines()]
    said = bytes.fromhex(
        "".join(re.match(r"(?:[0-9a-f]{2} {1,2})+", line + "  ")[0] for line in block.splitlines())
    )  # type: ignore[index]
    assert lines and said == joined([queue()])
    sample = SAMPLES["subscribe-groups"]
    groups = divided([queue()], 2)
    assert tuple(digest(KEY, joined(group)) for group in groups) == sample.digests  # type: ignore[union-attr]


OTHERS: dict[str, Callable[[], ReplicatedQueue]] = {
    "uuid": lambda: queue(UUID(int=ORDERS.int + 1)),
    "next": lambda: queue(next=502),
    "generation of an entry": lambda: queue(lineage=((1, 1), (4, 500))),
    "first id of an entry": lambda: queue(lineage=((1, 1), (3, 499))),
    "one entry more": lambda: queue(lineage=(*LINEAGE, (5, 501))),
    "one message less": lambda: queue(held=SequenceSet([1, 2, 500])),
    "another message": lambda: queue(held=SequenceSet([1, 2, 4, 500])),
    "no message": lambda: queue(held=SequenceSet()),
    "name": lambda: queue(spec=QueueSpec(name="order", settle=Settle.REPLICATED, kind="fifo")),
    "kind": lambda: queue(spec=QueueSpec(name="orders", settle=Settle.REPLICATED, kind="ring")),
    "name and kind cut elsewhere": lambda: queue(
        spec=QueueSpec(name="forders", settle=Settle.REPLICATED, kind="fi")
    ),
    "settle": lambda: queue(spec=QueueSpec(name="orders", settle=Settle.IMMEDIATE, kind="fifo")),
}


@pytest.mark.parametrize("what", OTHERS)
def test_whatever_a_plan_says_of_a_queue_changes_its_text(what: str) -> None:
    assert joined([OTHERS[what]()]) != joined([queue()])
    assert joined([queue()]) == joined([queue()])
    both = [queue(), OTHERS[what]()]
    assert joined([queue(), queue()]) != joined(both) == joined(both[::-1])


def test_a_digest_depends_on_the_key_and_not_on_the_order_of_the_queues() -> None:
    one, two = queue(UUID(int=1)), queue(UUID(int=2), held=SequenceSet())
    assert joined([one, two]) == joined([two, one]) != joined([one])
    made = digest(KEY, joined([one, two]))
    assert len(made) == DIGEST_BYTES
    assert made != digest(bytes(KEY_BYTES), joined([one, two]))


def test_the_history_of_each_queue_can_be_read_from_the_texts() -> None:
    queues = [
        queue(UUID(int=1)),
        queue(UUID(int=2), lineage=(), held=SequenceSet(), next=1),
        queue(UUID(int=3)),
    ]
    text = joined(queues)
    for q in queues:
        assert history_in(text, q.queue) == History(q.lineage, q.next, q.held)
    assert history_in(text, UUID(int=4)) is None
    assert history_in(b"", UUID(int=1)) is None


def test_queues_are_divided_by_their_uuids() -> None:
    queues = [queue(UUID(int=n)) for n in (7, 1, 4, 2)]
    assert [[q.queue.int for q in group] for group in divided(queues, 3)] == [[], [7, 1, 4], [2]]
    assert all(q in divided(queues, 3)[group_of(q.queue, 3)] for q in queues)


@pytest.mark.parametrize(
    ("queues", "per_digest", "groups"),
    [(0, 32, 1), (32, 32, 1), (33, 32, 2), (5, 1, 5), (100_000, 32, 3_125), (10**6, 32, GROUPS_MAX)],
)
def test_a_group_has_about_as_many_queues_as_the_settings_say(
    queues: int, per_digest: int, groups: int
) -> None:
    assert group_count(queues, per_digest) == groups


def test_each_session_has_a_key_of_its_own() -> None:
    keys = {
        session_key(secret, boot, session)
        for secret in (b"", b"secret", b"another", bytes(80))
        for boot in (UUID(int=1), UUID(int=2))
        for session in (1, 2)
    }
    assert len(keys) == 16 and {len(key) for key in keys} == {KEY_BYTES}
