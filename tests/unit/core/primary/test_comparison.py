"""Which groups of a backup's queues are equal to the primary's, and what is remembered of those (C8)."""

from __future__ import annotations

from uuid import UUID

import pytest

from qpidha import Batch, SequenceSet
from qpidha.core.groups import digest, divided, joined
from qpidha.core.primary.comparison import Comparison
from qpidha.core.queues import Queues
from qpidha.core.resync import History
from qpidha.errors import RemoteProtocolError
from qpidha.types import QueueSpec
from qpidha.wire.groups import SubscribeGroups

KEY = b"k" * 16
GROUPS = 3


def id(n: int) -> UUID:
    return UUID(int=n)


def queues(*numbers: int) -> Queues:
    made = Queues()
    for n in numbers:
        made[id(n)] = made.make(id(n), QueueSpec(name=f"q{n}"), ((1, 1),), 1)
        made[id(n)].append(Batch.pack([b"m"] * n))
    return made


def told(content: Queues, key: bytes = KEY) -> SubscribeGroups:
    """What a backup with this content says."""
    digests = tuple(digest(key, joined(group)) for group in divided(content.values(), GROUPS))
    return SubscribeGroups(epoch=id(9), stored_generation=1, key=key, digests=digests)


def compared(mine: Queues, theirs: Queues) -> Comparison:
    made = Comparison(told(theirs))
    made.begin(mine.values())
    made.advance(1000)
    assert made.done
    return made


def test_equal_groups_are_equal_and_their_queues_known() -> None:
    mine = queues(1, 2, 3, 4)
    made = compared(mine, queues(4, 3, 2, 1))
    assert not made.differing and list(made.finish()) == []
    mine[id(1)].remove(SequenceSet([1]))
    mine[id(1)].next = 50
    assert made.history(id(1)) == History(((1, 1),), 2, SequenceSet([1])), "as it was when it was compared"
    assert made.history(id(7)) is None, "the group is equal, and has no such queue"


@pytest.mark.parametrize("theirs", [(1, 2, 3), (1, 2, 3, 4, 7), (1, 2, 3, 7)])
def test_a_queue_more_or_less_makes_its_group_differ(theirs: tuple[int, ...]) -> None:
    made = compared(queues(1, 2, 3, 4), queues(*theirs))
    assert list(made.differing) == [1]
    assert [q.int for q in made.finish()] == [1, 4], "as the primary has them"
    assert made.history(id(1)) is None and made.history(id(2)) is not None


def test_only_queues_of_groups_that_differ_may_be_described() -> None:
    made = compared(queues(1, 2, 3), queues(2, 3))
    made.check_described(id(1))
    with pytest.raises(RemoteProtocolError, match="its group is equal"):
        made.check_described(id(2))


def test_each_group_is_compared_as_it_is_at_that_moment() -> None:
    mine = queues(1, 2, 3, 4)
    made = Comparison(told(mine))
    made.begin(mine.values())
    made.advance(1)  # The first group, of queue 3.
    for n in (3, 4):
        mine[id(n)].remove(SequenceSet([1]))
    made.advance(1000)
    assert list(made.differing) == [1], "that of queue 4"
    assert made.history(id(3)) == History(((1, 1),), 4, SequenceSet([1, 2, 3]))


def test_a_queue_that_was_deleted_meanwhile_is_compared_as_it_was() -> None:
    """The backup has it: it must be told that it is gone (Q9)."""
    mine = queues(1, 2)
    made = Comparison(told(mine))
    made.begin(mine.values())
    del mine[id(1)]
    made.advance(1000)
    assert not made.differing and made.history(id(1)) is not None


def test_a_group_with_a_message_older_than_its_lineage_is_described() -> None:
    """Equal ids of unknown generations need not be equal messages (G1): `plan_resync` sends them again."""
    mine, theirs = queues(1, 2), queues(1, 2)
    for content in (mine, theirs):
        content[id(2)].lineage = ((5, 2),)
    assert list(compared(mine, theirs).differing) == [2]


def test_the_key_is_that_of_the_backup() -> None:
    mine = queues(1, 2)
    wrong = told(mine, b"x" * 16)
    made = Comparison(SubscribeGroups(epoch=id(9), stored_generation=1, key=KEY, digests=wrong.digests))
    made.begin(mine.values())
    made.advance(1000)
    assert list(made.differing) == [0, 1, 2]


def test_it_is_done_in_slices() -> None:
    mine = queues(*range(1, 10))
    made = Comparison(told(mine))
    made.begin(mine.values())
    steps = 0
    while not made.done:
        made.advance(4)
        steps += 1
    assert steps == GROUPS and not made.differing
