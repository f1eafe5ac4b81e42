"""The time of a call: its own, or that of `within`, or none."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from qpidha import Settings
from qpidha.errors import ArgumentError, InDoubt, OpTimeout
from qpidha.node.runtime import Runtime
from qpidha.node.sync.call import Call, Wait
from qpidha.node.sync.caller import ANSWER_S, LoopCaller
from qpidha.node.sync.gate import Gate
from qpidha.node.sync.loopcalls import LoopCalls, Waited


class Calls(LoopCalls):
    """Makes calls at once, and notes what it was asked for."""

    def __init__(self, waited: Waited = Waited.OPEN, settings: Settings | None = None) -> None:
        super().__init__(Runtime("a", settings or Settings(), None), asyncio.Event().wait)
        self.asked: list[tuple[object, ...]] = []
        self._waited = waited

    def run(self, call: Call[Any], timeout_s: float | None) -> Any:
        self.asked.append((type(call), call._changes, call.name, timeout_s))
        return call._work()

    def wait(self, name: str, gate: Gate, timeout_s: float | None) -> Waited:
        self.asked.append((name, timeout_s))
        return self._waited


class Thing:
    def plain(self, a: int, *, b: int) -> tuple[int, int]:
        return a, b

    async def slow(self, timeout_s: float | None = None) -> None: ...


def test_each_kind_of_call_says_whether_it_changes_something() -> None:
    calls, thing = Calls(), Thing()
    caller = LoopCaller(calls)
    assert caller.change(thing.plain, 1, b=2) == (1, 2)
    assert caller.read(thing.plain, 3, b=4) == (3, 4)
    assert caller.run(thing.plain, lambda: 5) == 5
    for waits in (caller.wait, caller.perform):
        coroutine: Any = waits(None, thing.slow)
        coroutine.close()
    assert calls.asked == [
        (Call, True, "SyncThing.plain", None),
        (Call, False, "SyncThing.plain", None),
        (Call, True, "SyncThing.plain", None),
        (Wait, False, "SyncThing.slow", None),
        (Wait, True, "SyncThing.slow", None),
    ]


def test_a_time_of_a_call_counts_instead_of_that_of_within() -> None:
    calls, thing = Calls(), Thing()
    caller = LoopCaller(calls).within(2.0)
    caller.read(thing.plain, 1, b=2)
    for own_s in (None, 7.0, 0):
        coroutine: Any = caller.wait(own_s, thing.slow, timeout_s=own_s)
        coroutine.close()
    caller.within(None).read(thing.plain, 1, b=2)
    assert [asked[-1] for asked in calls.asked] == [2.0, 2.0, 7.0 + ANSWER_S, ANSWER_S, None]


@pytest.mark.parametrize(
    ("within_s", "own_s", "default_s", "expected"),
    [
        (None, None, None, None),
        (None, None, 9.0, 9.0),
        (2.0, None, 9.0, 2.0),
        (2.0, 1.0, 9.0, 1.0),
        (2.0, 0, None, 0),
    ],
)
def test_the_time_of_a_wait_for_an_op(
    within_s: float | None, own_s: float | None, default_s: float | None, expected: float | None
) -> None:
    calls = Calls(settings=Settings(op_timeout_s=default_s))
    LoopCaller(calls, within_s).wait_safe(Thing().plain, Gate(), own_s)
    assert calls.asked == [("SyncThing.plain", expected)]


def test_an_op_that_is_not_safe_in_time_is_still_pending() -> None:
    with pytest.raises(OpTimeout, match=r"not safe after 3 s; nothing was undone"):
        LoopCaller(Calls(Waited.LATE)).wait_safe(Thing().plain, Gate(), 3.0)


def test_an_op_of_a_loop_that_has_ended_is_in_doubt() -> None:
    with pytest.raises(InDoubt, match=r"SyncThing.plain: the event loop of node 'a' has ended") as found:
        LoopCaller(Calls(Waited.ENDED)).wait_safe(Thing().plain, Gate(), 3.0)
    assert not isinstance(found.value, TimeoutError)


@pytest.mark.parametrize("wrong", ["1", -1, float("nan"), True])
def test_a_wrong_time_is_refused_before_anything_is_called(wrong: Any) -> None:
    calls = Calls()
    with pytest.raises(ArgumentError, match="timeout_s"):
        LoopCaller(calls).within(wrong)
    with pytest.raises(ArgumentError, match="timeout_s"):
        LoopCaller(calls).wait(wrong, Thing().slow)
    assert calls.asked == []
