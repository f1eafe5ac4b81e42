"""Deadlines end in the time that the process lives: a pause, or a loop that stood still, ends none of them at once."""

from __future__ import annotations

import asyncio
from threading import get_ident

import pytest

from qpidha.errors import InDoubt, InvariantError
from qpidha.node.home import Home
from qpidha.node.ledger import Ledger, Outcome
from qpidha.node.op import Op
from qpidha.node.opdeadlines import LATE_S, LOOK_S, SPARE, OpDeadlines
from tests.support.node_parts import pause, run, turns

NODES = frozenset({"a"})


class Entry:
    def __init__(self, timeout_s: float) -> None:
        self.timeout_s = timeout_s
        self.over = False
        self.ended_at: float | None = None

    def expire(self) -> None:
        self.over = True
        self.ended_at = asyncio.get_running_loop().time()


def now() -> float:
    return asyncio.get_running_loop().time()


def test_each_ends_when_its_time_is_over_and_not_before() -> None:
    async def main() -> None:
        deadlines, began = OpDeadlines(), now()
        entries = [Entry(seconds) for seconds in (0.5, 0.05, 3.0, 0.0)]
        for entry in entries:
            deadlines.add(entry)
        await asyncio.sleep(5)
        for entry in entries:
            assert entry.ended_at is not None
            assert entry.ended_at - began == pytest.approx(entry.timeout_s, abs=0.01)
        assert len(deadlines) == 0 and deadlines._timer is None, "nothing runs for nothing"

    run(main())


def test_a_pause_does_not_count() -> None:
    async def main() -> None:
        deadlines, began = OpDeadlines(), now()
        near, far = Entry(1.0), Entry(4.0)
        deadlines.add(near)
        deadlines.add(far)
        await asyncio.sleep(0.5)
        pause(3600)
        await asyncio.sleep(0.2)
        assert not near.over and not far.over
        await asyncio.sleep(5)
        assert near.ended_at is not None and far.ended_at is not None
        lived = [entry.ended_at - began - 3600 for entry in (near, far)]
        assert 0.7 < lived[0] <= 1.2 and 3.7 < lived[1] <= 4.2

    run(main())


def test_nothing_ends_right_after_a_pause_so_that_what_arrived_is_read_first() -> None:
    async def main() -> None:
        deadlines, entry = OpDeadlines(), Entry(LOOK_S)
        deadlines.add(entry)
        pause(60)
        await turns()
        assert not entry.over
        await asyncio.sleep(LOOK_S + 0.01)
        assert entry.over

    run(main())


def test_a_loop_that_stands_still_again_and_again_ends_them_all_the_same() -> None:
    async def main() -> None:
        deadlines, entry = OpDeadlines(), Entry(1.0)
        deadlines.add(entry)
        for _ in range(12):
            pause(LOOK_S + LATE_S + 0.1)
            await asyncio.sleep(0)
            await turns()
        assert entry.over

    run(main())


def test_a_pause_before_another_is_added_does_not_count_either() -> None:
    """Whoever comes first after the pause: the timer, or somebody who asks."""

    async def main() -> None:
        deadlines, old, new = OpDeadlines(), Entry(0.3), Entry(0.3)
        deadlines.add(old)
        pause(60)
        deadlines.add(new)
        await turns()
        assert not old.over and not new.over
        await asyncio.sleep(0.15)
        assert old.over and not new.over
        await asyncio.sleep(0.2)
        assert new.over

    run(main())


def test_a_clock_that_stands_or_goes_back_ends_nothing() -> None:
    async def main() -> None:
        deadlines, entry = OpDeadlines(), Entry(1.0)
        deadlines.add(entry)
        await asyncio.sleep(0.5)
        pause(-100)
        await asyncio.sleep(0.1)
        assert not entry.over
        await asyncio.sleep(102)
        assert entry.over

    run(main())


def test_a_nearer_deadline_that_is_added_later_ends_first() -> None:
    async def main() -> None:
        deadlines, far, near = OpDeadlines(), Entry(30.0), Entry(0.02)
        deadlines.add(far)
        deadlines.add(near)
        await asyncio.sleep(0.03)
        assert near.over and not far.over

    run(main())


def test_ops_that_complete_leave_little_behind() -> None:
    async def main() -> None:
        ledger, deadlines = Ledger(1, home=Home(get_ident()), nodes=NODES), OpDeadlines(60.0)
        ledger.deadlines = deadlines
        answers: list[object] = []
        for cover in range(1, 2001):
            op = Op(ledger, cover, range(0), ledger.expect(cover, Outcome()))
            op.add_safe_callback(lambda _, error: answers.append(error))
            if cover % 10 == 0:
                ledger.advance(cover, NODES)
                deadlines.check()
        assert (len(answers), len(deadlines)) == (2000, 0)
        assert len(deadlines._entries) <= SPARE + 10
        await asyncio.sleep(61)
        assert answers == [None] * 2000 and deadlines._entries == []

    run(main())


def test_what_is_over_is_passed_by() -> None:
    async def main() -> None:
        deadlines, over, later = OpDeadlines(), Entry(0.1), Entry(0.2)
        deadlines.add(over)
        deadlines.add(later)
        over.over = True
        deadlines.answered()
        await asyncio.sleep(0.3)
        assert over.ended_at is None and later.over

    run(main())


def test_after_a_stop_nothing_ends_and_what_is_told_later_does_no_harm() -> None:
    async def main() -> None:
        ledger, deadlines = Ledger(1, home=Home(get_ident())), OpDeadlines(1.0)
        ledger.deadlines = deadlines
        answers: list[object] = []
        Op(ledger, 1, range(0), Outcome()).add_safe_callback(lambda _, error: answers.append(error))
        deadlines.stop()
        deadlines.stop()
        await asyncio.sleep(5)
        assert answers == []
        ledger.doubt(InDoubt("over"))
        deadlines.check()
        assert len(answers) == 1

    run(main())


def test_entries_that_are_miscounted_are_found() -> None:
    async def main() -> None:
        deadlines = OpDeadlines()
        deadlines.add(Entry(1.0))
        deadlines.answered()
        with pytest.raises(InvariantError, match="counted"):
            deadlines.check()

    run(main())
