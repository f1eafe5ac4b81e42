"""Calls of threads: one turn for all that wait, a true error for each that is not answered, and no call that hangs."""

from __future__ import annotations

import asyncio
import ctypes
import os
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import partial
from typing import Any

import pytest

from qpidha import Settings
from qpidha.bridge import LoopThread
from qpidha.errors import (
    CallTimeout,
    ForkedError,
    InDoubt,
    LocalProtocolError,
    NodeStopped,
    WaitTimeout,
    WrongThread,
)
from qpidha.node.caller import FORKED
from qpidha.node.runtime import Runtime
from qpidha.node.sync import loopcalls
from qpidha.node.sync.call import Call, Wait
from qpidha.node.sync.loopcalls import LoopCalls, Waited
from tests.support.harness import until
from tests.support.threads import SOON_S, Worker, count_time_from_the_begin, in_a_thread


class Loop:
    """An event loop in a thread, and the calls of a node that belongs to it and never stops."""

    def __init__(self) -> None:
        self.thread = LoopThread("loop of a test")
        self.runtime = Runtime("a", Settings(), None)
        self.calls = LoopCalls(self.runtime, asyncio.Event().wait)
        self.made: list[object] = []
        self.let_go = threading.Event()

    async def enter(self) -> None:
        self.runtime.enter_loop()

    def call(self, value: object = 1, *, changes: bool = True) -> Call[object]:
        """A call that notes that it was made."""

        def work() -> object:
            self.made.append(value)
            return value

        return Call("a", self.call, work, changes=changes)

    def wait(self, work: Callable[[], Any], *, changes: bool = False) -> Wait[Any]:
        return Wait("a", self.wait, work, changes=changes)

    def run(self, call: Call[Any], timeout_s: float | None = None) -> Any:
        return self.calls.run(call, timeout_s)

    def block(self) -> None:
        """Block the loop until ``let_go`` is set."""
        blocked = threading.Event()
        self.thread.post(lambda: (blocked.set(), self.let_go.wait(SOON_S)))
        assert blocked.wait(SOON_S)


@contextmanager
def looping() -> Iterator[Loop]:
    loop = Loop()
    try:
        loop.thread.run(loop.enter())
        yield loop
    finally:
        loop.let_go.set()
        loop.thread.close()


def signal_once(reached: Callable[[], object]) -> None:
    """Send this process a signal as soon as a condition holds."""
    while not reached():
        time.sleep(0.001)
    os.kill(os.getpid(), signal.SIGUSR1)


def raised(call: Callable[[], object]) -> BaseException:
    try:
        call()
    except BaseException as error:
        return error
    raise AssertionError("nothing was raised")


async def turn() -> None:
    await asyncio.sleep(0)


async def forever() -> None:
    await asyncio.Event().wait()


# --- answers -------------------------------------------------------------------------------------


def test_a_call_is_made_in_the_loop_and_answered() -> None:
    with looping() as loop:
        assert loop.run(Call("a", loop.run, threading.get_ident, changes=False)) == loop.runtime.thread
        assert loop.run(loop.call("x"), 5.0) == "x"

        async def later() -> int:
            await asyncio.sleep(0)
            return 7

        assert loop.run(loop.wait(later)) == 7


def test_calls_that_wait_are_made_in_one_turn_in_order() -> None:
    with looping() as loop:
        loop.block()
        next_turn: list[list[object]] = []

        def first() -> None:
            asyncio.get_running_loop().call_soon(lambda: next_turn.append(list(loop.made)))

        workers = [Worker(lambda: loop.run(Call("a", loop.run, first, changes=True)))]
        for n in range(8):
            while len(loop.calls._waiting) <= n:
                time.sleep(0.001)
            workers.append(Worker(partial(loop.run, loop.call(n))))
        while len(loop.calls._waiting) < 9:
            time.sleep(0.001)
        loop.let_go.set()
        assert [worker.join() for worker in workers] == [None] * 9
        loop.run(loop.wait(turn))
        assert next_turn == [list(range(8))]


def test_the_loop_gets_to_its_other_work_while_threads_call_without_end(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(loopcalls, "GATHER_S", 0.0)
    with looping() as loop:
        turns: list[int] = []

        def turn() -> None:
            turns.append(1)
            asyncio.get_running_loop().call_soon(turn)

        loop.thread.post(turn)
        workers = [Worker(lambda: [loop.run(loop.call()) for _ in range(200)]) for _ in range(2)]
        assert [worker.join() for worker in workers] == [None, None]
        assert len(turns) > 10
        assert len(loop.made) == 400


def test_a_call_does_not_see_the_context_of_some_thread() -> None:
    """One turn makes the calls of several threads, and effects of the node begin in it."""
    client = ContextVar("client", default="none")

    def work() -> None:
        client.set("of this thread")
        assert loop.run(Call("a", loop.run, client.get, changes=False)) == "none"

        async def later() -> str:
            return client.get()

        assert loop.run(loop.wait(later)) == "none"

    with looping() as loop:
        assert in_a_thread(work) is None


# --- where it may be called ----------------------------------------------------------------------


def test_the_loop_itself_is_refused_and_told_what_to_call() -> None:
    with looping() as loop:

        async def main() -> None:
            with pytest.raises(WrongThread, match=r"Loop.run was called in the node's event loop.*node.sync"):
                loop.run(Call("a", loop.run, dict, changes=False))
            with pytest.raises(WrongThread):
                loop.calls.wait("x", loop.call().answered, None)

        loop.thread.run(main())
        assert loop.made == []


def test_before_the_start_there_is_no_loop() -> None:
    calls = LoopCalls(Runtime("a", Settings(), None), forever)
    with pytest.raises(LocalProtocolError, match=r"before Node\.start"):
        calls.run(Call("a", dict, dict, changes=False), None)


def test_a_forked_child_is_refused() -> None:
    with looping() as loop:
        loop.runtime.thread = FORKED
        with pytest.raises(ForkedError):
            loop.run(loop.call())


# --- time ----------------------------------------------------------------------------------------


def test_a_call_that_a_blocked_loop_did_not_begin_is_withdrawn() -> None:
    with looping() as loop:
        loop.block()
        error = raised(lambda: loop.run(loop.call(), 0.01))
        assert isinstance(error, WaitTimeout) and "nothing was changed" in str(error)
        loop.let_go.set()
        assert loop.run(loop.call(2)) == 2
        assert loop.made == [2]


def test_a_call_that_was_begun_is_in_doubt_and_its_task_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    count_time_from_the_begin(monkeypatch)
    with looping() as loop:
        cancelled = threading.Event()

        async def work() -> None:
            try:
                await forever()
            finally:
                cancelled.set()

        error = raised(lambda: loop.run(loop.wait(work, changes=True), 0.01))
        assert isinstance(error, CallTimeout) and "may have been made" in str(error)
        assert cancelled.wait(SOON_S)
        assert isinstance(raised(lambda: loop.run(loop.wait(forever), 0.01)), WaitTimeout)


@pytest.mark.parametrize(("changes", "error"), [(True, CallTimeout), (False, WaitTimeout)])
def test_a_task_that_its_thread_has_given_up_does_not_say_that_the_loop_has_ended(
    changes: bool, error: type[Exception], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also if the task has ended before its thread looks."""
    count_time_from_the_begin(monkeypatch)
    with looping() as loop:
        give_up, call = loop.calls._give_up, loop.wait(forever, changes=changes)

        def slow(*given: Any) -> bool:
            begun = give_up(*given)
            while not (call._task and call._task.done()):
                loop.thread.run(turn())
            loop.thread.run(turn())
            return begun

        monkeypatch.setattr(loop.calls, "_give_up", slow)
        late = raised(lambda: loop.run(call, 0.01))
        assert type(late) is error and "within 0.01 s" in str(late)


def test_an_answer_at_the_last_moment_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    with looping() as loop:
        give_up = loop.calls._give_up

        def late(*given: Any) -> bool:
            loop.let_go.set()
            while not call.answered.wait(0.01):
                pass
            return give_up(*given)

        monkeypatch.setattr(loop.calls, "_give_up", late)
        loop.block()
        call = loop.call("in time")
        assert loop.run(call, 0.01) == "in time"


def test_a_pause_of_the_process_does_not_count(monkeypatch: pytest.MonkeyPatch) -> None:
    """A look that ended much too late is followed by another one, in which the loop can answer."""
    times = [0.0, 30.0, 30.0]
    with looping() as loop:
        loop.block()
        real = time.monotonic

        def monotonic() -> float:
            if len(times) == 1:  # The second look begins.
                loop.let_go.set()
            return times.pop(0) if times else 30.0 + real()

        monkeypatch.setattr(loopcalls.time, "monotonic", monotonic)
        assert loop.run(loop.call("answered"), 0.01) == "answered"


def test_an_interrupted_thread_withdraws_its_call(monkeypatch: pytest.MonkeyPatch) -> None:
    with looping() as loop:
        loop.block()

        def interrupt(signum: int, frame: object) -> None:
            raise KeyboardInterrupt

        before = signal.signal(signal.SIGUSR1, interrupt)
        try:
            killer = Worker(partial(signal_once, lambda: loop.calls._waiting))
            with pytest.raises(KeyboardInterrupt):
                loop.run(loop.call("never"))
            assert killer.join() is None
        finally:
            signal.signal(signal.SIGUSR1, before)
        loop.let_go.set()
        assert loop.run(loop.call(2)) == 2
        assert loop.made == [2]


def test_threads_that_are_interrupted_anywhere_do_not_hold_up_others() -> None:
    """As by `KeyboardInterrupt`, between any two steps of a call."""

    class Interrupted(BaseException):
        pass

    over = threading.Event()
    counts = Counter[str]()

    def victim() -> None:
        counts["begun"] += 1
        while not over.is_set():
            try:
                while not over.is_set():
                    loop.run(loop.call("victim"))
            except Interrupted:
                counts["interrupted"] += 1

    def other() -> None:
        while not over.is_set():
            loop.run(loop.call("other"), SOON_S)
            counts["other"] += 1

    def harass() -> None:
        for _ in range(300):
            for worker in victims:
                ident = ctypes.c_ulong(worker._thread.ident or 0)
                ctypes.pythonapi.PyThreadState_SetAsyncExc(ident, ctypes.py_object(Interrupted))
            time.sleep(0.001)
        for worker in victims:  # None comes later, after the end of the work.
            ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(worker._thread.ident or 0), None)

    with looping() as loop:
        victims = [Worker(victim) for _ in range(3)]
        others = [Worker(other) for _ in range(2)]
        while counts["begun"] < len(victims):
            time.sleep(0.001)
        harass()
        made = counts["other"]
        while counts["other"] < made + 20:
            assert not any(worker.error for worker in others)
            time.sleep(0.001)
        over.set()
        assert [worker.join() for worker in others] == [None, None]
        for worker in victims:
            assert worker.join() is None or isinstance(worker.error, Interrupted)  # Outside of its call.
        assert counts["interrupted"] > 10
        assert loop.run(loop.call("after"), SOON_S) == "after"
        assert not loop.calls._waiting


def test_a_signal_handler_may_call_in_the_middle_of_a_call() -> None:
    with looping() as loop:
        answers: list[object] = []
        loop.block()

        def handler(signum: int, frame: object) -> None:
            loop.let_go.set()
            answers.append(loop.run(loop.call("handler")))

        before = signal.signal(signal.SIGUSR1, handler)
        try:
            killer = Worker(partial(signal_once, lambda: loop.calls._waiting))
            assert loop.run(loop.call("outer")) == "outer"
            assert killer.join() is None
        finally:
            signal.signal(signal.SIGUSR1, before)
        assert answers == ["handler"]


# --- the end of the loop -------------------------------------------------------------------------


def test_threads_do_not_wait_for_a_loop_that_ends_in_order() -> None:
    with looping() as loop:
        waiting = Worker(lambda: loop.run(loop.wait(forever)))
        changing = Worker(lambda: loop.run(loop.wait(forever, changes=True)))
        while len(loop.calls._begun) < 2:
            time.sleep(0.001)
        gate = loop.call().answered
        op = Worker(lambda: loop.calls.wait("x", gate, None))
        loop.thread.close()
        assert isinstance(waiting.join(), NodeStopped)
        error = changing.join()
        assert isinstance(error, InDoubt) and not isinstance(error, TimeoutError)
        assert op.join() is None and op.result is Waited.ENDED
        assert isinstance(raised(lambda: loop.run(loop.call())), NodeStopped)
        assert loop.made == []


def test_calls_are_refused_from_the_moment_all_tasks_are_cancelled() -> None:
    """``asyncio.run`` waits for its executor's threads then, so these must not wait for it."""
    found: list[BaseException | None] = []
    loop = Loop()

    def in_executor() -> None:
        found.append(raised(lambda: loop.run(loop.wait(forever))))
        found.append(raised(lambda: loop.run(loop.wait(forever))))
        found.append(raised(lambda: loop.run(loop.call())))

    async def main() -> None:
        await loop.enter()
        working = asyncio.get_running_loop().run_in_executor(None, in_executor)
        await until(lambda: loop.calls._begun)
        assert not working.done()

    ended = Worker(lambda: asyncio.run(main()))
    assert ended.join() is None
    assert [type(error) for error in found] == [NodeStopped] * 3
    loop.thread.close()


def test_a_call_that_was_waiting_when_the_loop_ended_was_not_made() -> None:
    with looping() as loop:
        loop.block()
        loop.thread.post(
            loop.calls._end
        )  # All tasks are cancelled, in a turn before the one that takes the call.
        waiting = Worker(lambda: loop.run(loop.call()))
        while not loop.calls._waiting:
            time.sleep(0.001)
        loop.let_go.set()
        error = waiting.join()
        assert isinstance(error, NodeStopped) and "nothing was changed" in str(error)
        assert loop.made == []


def test_a_loop_that_just_stops_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loopcalls, "LOOK_S", 0.05)
    loop = Loop()
    stopped = asyncio.new_event_loop()

    def work() -> None:
        stopped.run_until_complete(loop.enter())
        loop.let_go.wait(SOON_S)

    owner = Worker(work)
    try:
        while loop.runtime.loop is None or stopped.is_running():
            time.sleep(0.001)
        assert isinstance(raised(lambda: loop.run(loop.call())), NodeStopped)
        assert not loop.calls._waiting
        assert loop.calls.wait("x", loop.call().answered, None) is Waited.ENDED
    finally:
        loop.let_go.set()
        owner.join()
        stopped.close()
        loop.thread.close()
    assert isinstance(raised(lambda: loop.run(loop.call())), NodeStopped)
    assert loop.made == []


def test_a_loop_that_closes_while_a_call_is_sent_is_noticed() -> None:
    class Closing:
        """Closed between the look and the call."""

        def is_closed(self) -> bool:
            return False

        def call_soon_threadsafe(self, *_: object, context: object) -> None:
            raise RuntimeError("Event loop is closed")

    with looping() as loop:
        runtime: Any = loop.runtime
        runtime.loop = Closing()
        assert isinstance(raised(lambda: loop.run(loop.call())), NodeStopped)
        assert not loop.calls._waiting


def test_calls_after_one_that_ends_the_loop_are_made_when_it_runs_again() -> None:
    """KeyboardInterrupt in the middle of a call stops the loop; what was taken with that call is not lost."""
    loop = Loop()
    again = asyncio.new_event_loop()

    def interrupt() -> None:
        raise KeyboardInterrupt

    again.run_until_complete(loop.enter())
    loop.runtime.thread = -2  # Calls may come from here.
    for call in (Call("a", loop.run, interrupt, changes=True), loop.call(1), loop.call(2)):
        loop.calls._send(again, call)
    with pytest.raises(KeyboardInterrupt):
        again.run_until_complete(asyncio.sleep(0.01))
    assert loop.made == []
    again.run_until_complete(asyncio.sleep(0.01))
    assert loop.made == [1, 2]
    for task in asyncio.all_tasks(again):
        task.cancel()
    again.run_until_complete(asyncio.sleep(0))
    again.close()
    loop.thread.close()


def test_a_node_that_has_stopped_still_answers() -> None:
    with looping() as loop:

        async def stopped() -> None:
            pass

        loop.calls = LoopCalls(loop.runtime, stopped)
        assert loop.run(loop.call(1)) == 1
        assert loop.run(loop.call(2)) == 2
        assert in_a_thread(lambda: loop.run(loop.call(3))) is None
