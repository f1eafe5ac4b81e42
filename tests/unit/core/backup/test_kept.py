"""Which queues a backup keeps as they are, and how the plan changes that (C8, Q9)."""

from __future__ import annotations

from uuid import UUID

import pytest

from qpidha import SequenceSet
from qpidha.core.backup.kept import Kept
from qpidha.core.groups import divided
from qpidha.core.queues import Queues
from qpidha.errors import RemoteProtocolError
from qpidha.types import QueueSpec

GROUPS = 3


def id(n: int) -> UUID:
    return UUID(int=n)


def queues(*numbers: int) -> Queues:
    made = Queues()
    for n in numbers:
        made[id(n)] = made.make(id(n), QueueSpec(name=f"q{n}"), ((1, 1),), 1)
    return made


def kept(*numbers: int, differing: list[int]) -> Kept:
    content = queues(*numbers)
    return Kept(content, divided(content.values(), GROUPS), SequenceSet(differing))


def test_queues_of_groups_that_do_not_differ_are_kept() -> None:
    made = kept(1, 2, 3, 4, 6, differing=[1])
    assert [n for n in range(10) if id(n) in made] == [2, 3, 6]
    assert [q.queue.int for q in made.described] == [1, 4] == [q.queue.int for q in made.others()]
    assert made.unplanned({}) == 3


def test_the_plan_counts_where_it_names_a_queue() -> None:
    made = kept(1, 2, 3, differing=[1])
    assert made.unplanned([id(2)]) == 1, "2 is planned: it changed"
    assert made.unplanned([id(1), id(5), id(9)]) == 2, "none of them is kept"


def test_a_queue_that_is_withdrawn_is_judged_like_one_that_was_described() -> None:
    made = kept(1, 2, 3, differing=[1])
    assert made.withdraw(id(2)) and id(2) not in made
    assert not made.withdraw(id(2)), "once"
    assert not made.withdraw(id(1)) and not made.withdraw(id(5)), "not kept, not known"
    assert [q.queue.int for q in made.others()] == [1, 2]
    assert made.unplanned([]) == 1 and made.unplanned([id(2)]) == 1


def test_without_groups_nothing_is_kept() -> None:
    made = Kept(queues(1, 2))
    assert id(1) not in made and not made.withdraw(id(1))
    assert [q.queue.int for q in made.others()] == [1, 2] and made.unplanned([]) == 0


def test_a_group_that_does_not_exist_is_refused() -> None:
    with pytest.raises(RemoteProtocolError, match="group 3 of 3"):
        kept(1, differing=[0, 3])
