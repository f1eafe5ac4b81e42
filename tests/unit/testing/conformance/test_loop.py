"""Loops around the core that neglect one duty are each found by the check that is named for it."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from qpidha.core import Answer, CloseLink, Completion, HandOver, Notice, Ready, Request
from qpidha.driver import Done, Driver
from qpidha.errors import StoreFailed
from qpidha.journal import Change
from qpidha.testing import conformance
from qpidha.testing.conformance import RuleBroken, Surroundings
from qpidha.types import NodeId, Versioned
from qpidha.wire import Frame
from qpidha.wire.events import Acknowledged

TICK_S = 0.1


class ThreadLoop:
    """One thread owns the core, and another one the disk. Each subclass neglects one duty."""

    def __init__(self, around: Surroundings) -> None:
        self.around = around
        self.replica = around.replica
        self.calls: queue.SimpleQueue[Callable[[], object] | None] = queue.SimpleQueue()
        self.disk = ThreadPoolExecutor(1)
        self.gone: set[int] = set()
        self.driver = self.make_driver()
        self.thread = threading.Thread(target=self.work, daemon=True)
        self.thread.start()

    def make_driver(self) -> Driver:
        return Driver(self.replica, self.commit, self, self.around.clock, self.calls.put)

    def work(self) -> None:
        ticked = 0.0
        while True:
            try:
                call = self.calls.get(timeout=TICK_S)
                if call is None:
                    return
                call()
            except queue.Empty:
                pass
            if (now := self.around.clock()) >= ticked + TICK_S:
                ticked = now
                self.tick(now)
            self.driver.run()

    def tick(self, now: float) -> None:
        self.replica.tick(now)

    # --- what arrives ------------------------------------------------------------------------------

    def call(self, work: Callable[[], object]) -> None:
        self.calls.put(work)

    def opened(self, link: int, to: NodeId | None) -> None:
        self.call(lambda: self.replica.link_opened(link, to=to))

    def received(self, link: int, frame: Frame) -> None:
        self.call(lambda: link in self.gone or self.replica.received(link, frame, self.around.clock()))

    def closed(self, link: int) -> None:
        def closed() -> None:
            self.gone.add(link)
            self.replica.link_closed(link)

        self.call(closed)

    def record_seen(self, current: Versioned | None) -> None:
        self.call(lambda: self.replica.record_seen(current, self.around.clock()))

    def answered(self, request: Request, answer: Answer) -> None:
        self.call(lambda: self.replica.answered(request, answer, self.around.clock()))

    def stop(self) -> None:
        self.calls.put(None)
        self.thread.join(10)
        self.disk.shutdown()

    # --- effects -----------------------------------------------------------------------------------

    def commit(self, changes: list[Change], done: Done) -> None:
        future = self.disk.submit(self.around.commit, changes)
        future.add_done_callback(lambda f: self.call(lambda: done(f.exception())))  # type: ignore[arg-type]

    def send(self, frames: Sequence[tuple[int, Frame]]) -> None:
        for link, frame in frames:
            self.around.send(link, frame)

    def request(self, request: Request) -> None:
        self.around.request(request)

    def complete(self, completion: Completion) -> None:
        self.around.complete(completion)

    def notify(self, notice: Notice) -> None:
        if isinstance(notice, CloseLink):
            self.around.close(notice.link)
            return
        self.around.notify(notice)
        if isinstance(notice, HandOver):
            self.call(lambda: self.replica.handed_over(notice.messages))

    def store_failed(self, error: BaseException) -> None:
        self.around.failed(error)


@pytest.mark.parametrize("check", conformance.loop_checks(ThreadLoop), ids=str)
def test_a_loop_that_keeps_its_duties_passes(check: Any) -> None:
    check()


# --- loops that neglect a duty ---------------------------------------------------------------------


class SaysDurableEarly(ThreadLoop):
    """Does not wait for the disk, because it is slow."""

    def commit(self, changes: list[Change], done: Done) -> None:
        self.disk.submit(self.around.commit, changes)
        done(None)


class ByHand(ThreadLoop):
    """Without a `Driver`; the commit blocks the loop. Subclasses do it wrong."""

    def make_driver(self) -> Any:
        self.dead = False
        return self

    def run(self) -> None:
        while not self.dead and (ready := self.replica.ready(self.around.clock())):
            try:
                if ready.persist:
                    self.around.commit(ready.persist)
            except StoreFailed as error:
                self.on_failure(error, ready)
                return
            self.perform(ready)
            self.replica.performed(self.around.clock())

    def on_failure(self, error: StoreFailed, ready: Ready) -> None:
        self.dead = True
        Driver(self.replica, self.commit, self, self.around.clock).fail(error, ready)

    def perform(self, ready: Ready) -> None:
        for link, frame in ready.send:
            self.around.send(link, frame)
        if ready.request is not None:
            self.around.request(ready.request)
        for completion in ready.complete:
            self.complete(completion)
        for notice in ready.notify:
            self.notify(notice)


class ClientsFirst(ByHand):
    """Confirms before it sends."""

    def perform(self, ready: Ready) -> None:
        for completion in ready.complete:
            self.complete(completion)
        ready.complete = []
        super().perform(ready)


class FramesBackwards(ByHand):
    def perform(self, ready: Ready) -> None:
        ready.send.reverse()
        super().perform(ready)


class LosesRequests(ByHand):
    def perform(self, ready: Ready) -> None:
        if ready.persist and ready.complete:
            ready.complete = ready.complete[:-1]
        super().perform(ready)


class SendsTwice(ThreadLoop):
    def send(self, frames: Sequence[tuple[int, Frame]]) -> None:
        super().send(frames)
        super().send(frames[-1:])


class NeverSaysPerformed(ByHand):
    def run(self) -> None:
        while not self.dead and (ready := self.replica.ready(self.around.clock())):
            if ready.persist:
                self.around.commit(ready.persist)
            self.perform(ready)


class FramesFromTheirOwnThread(ThreadLoop):
    """The thread that reads the socket calls the core itself."""

    def received(self, link: int, frame: Frame) -> None:
        def deliver() -> None:
            self.replica.received(link, frame, self.around.clock())
            self.call(lambda: None)

        threading.Thread(target=deliver).start()

    def tick(self, now: float) -> None:
        super().tick(now)
        for _ in range(20):
            self.replica.tick(self.around.clock())


class Reorders(ThreadLoop):
    """Some frames take another way: a pool of threads between the socket and the loop."""

    def __init__(self, around: Surroundings) -> None:
        self.held: list[tuple[int, Frame]] = []
        super().__init__(around)

    def received(self, link: int, frame: Frame) -> None:
        self.held.append((link, frame))
        if len(self.held) < 2 and frame.session == 0 and isinstance(frame.event, Acknowledged):
            return
        for held in reversed(self.held):
            super().received(*held)
        self.held.clear()


class HearsTheDead(ThreadLoop):
    def closed(self, link: int) -> None:
        self.call(lambda: self.replica.link_closed(link))


class TellsCloseTwice(ThreadLoop):
    def closed(self, link: int) -> None:
        self.call(lambda: self.replica.link_closed(link))
        super().closed(link)


class KeepsRefusedLinks(ThreadLoop):
    def notify(self, notice: Notice) -> None:
        if not isinstance(notice, CloseLink):
            super().notify(notice)


class ForgetsAnswers(ThreadLoop):
    """Drops the answer of a compare-and-set, because it reads the record anyway."""

    def answered(self, request: Request, answer: Answer) -> None:
        pass


class GoesOnWithoutDisk(ByHand):
    """Logs the failure, and performs the effects."""

    def on_failure(self, error: StoreFailed, ready: Ready) -> None:
        self.around.failed(error)
        self.perform(ready)
        self.replica.performed(self.around.clock())


class DiesInSilence(ByHand):
    def on_failure(self, error: StoreFailed, ready: Ready) -> None:
        self.dead = True
        self.replica.stop("the disk failed")
        self.around.failed(error)


class NeverTicks(ThreadLoop):
    def tick(self, now: float) -> None:
        pass


class OtherClock(ThreadLoop):
    """The wall clock for frames, the monotonic one for the rest."""

    def received(self, link: int, frame: Frame) -> None:
        self.call(lambda: link in self.gone or self.replica.received(link, frame, self.around.clock() - 3600))


class LeavesMessagesUnanswered(ThreadLoop):
    def notify(self, notice: Notice) -> None:
        if isinstance(notice, HandOver):
            self.around.notify(notice)
        else:
            super().notify(notice)


WRONG: list[tuple[type[ThreadLoop], str]] = [
    (SaysDurableEarly, "nothing-leaves-before-it-is-durable"),
    (ClientsFirst, "effects-keep-their-order"),
    (FramesBackwards, "effects-keep-their-order"),
    (LosesRequests, "each-effect-is-performed-once"),
    (SendsTwice, "each-effect-is-performed-once"),
    (NeverSaysPerformed, "each-ready-is-performed-before-the-next"),
    (FramesFromTheirOwnThread, "calls-of-the-core-do-not-overlap"),
    (Reorders, "frames-reach-the-core-in-order"),
    (HearsTheDead, "no-frame-after-the-end-of-its-link"),
    (TellsCloseTwice, "no-frame-after-the-end-of-its-link"),
    (KeepsRefusedLinks, "a-refused-link-is-closed"),
    (ForgetsAnswers, "answers-come-back-to-the-core"),
    (GoesOnWithoutDisk, "a-failed-commit-promises-nothing"),
    (DiesInSilence, "a-failed-commit-promises-nothing"),
    (NeverTicks, "time-passes-for-the-core"),
    (OtherClock, "now-is-the-time-of-the-clock"),
    (LeavesMessagesUnanswered, "handed-over-messages-are-answered-for"),
]


@pytest.mark.parametrize(("loop", "name"), WRONG, ids=lambda value: getattr(value, "__name__", ""))
def test_a_loop_that_neglects_a_duty_is_found(loop: type[ThreadLoop], name: str) -> None:
    [check] = [check for check in conformance.loop_checks(loop) if check.name == name]
    with pytest.raises(RuleBroken):
        check()


@pytest.mark.parametrize("check", conformance.loop_checks(ByHand), ids=str)
def test_a_loop_without_a_driver_can_keep_them_too(check: Any) -> None:
    check()


def test_each_check_finds_a_wrong_loop() -> None:
    """A check that finds no wrong loop might never fail."""
    assert {name for _, name in WRONG} == {check.name for check in conformance.loop_checks(ThreadLoop)}
