"""Helpers for tests of `Node.sync`: nodes in an event loop in a thread, and threads that report what they have raised."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import pytest

from qpidha import CallTimeout, Node
from qpidha.bridge import LoopThread
from qpidha.errors import WaitTimeout
from qpidha.node.sync.call import Call, Wait
from qpidha.node.sync.loopcalls import LoopCalls
from tests.support.harness import QUICK, World

T = TypeVar("T")
SOON_S = 20.0
"""Much longer than anything here takes."""


@contextmanager
def nodes(*names: str, settings: Any = QUICK) -> Iterator[tuple[LoopThread, World, list[Node]]]:
    """Run a cluster in a loop in a thread; the first node is primary."""
    thread = LoopThread("loop of a test")
    world = World(settings)
    try:
        yield thread, world, thread.run(world.cluster(*names), SOON_S)
    finally:
        thread.run(world.__aexit__(), SOON_S)
        thread.close()


class Worker:
    """A thread that makes one call, and keeps what it returns or raises."""

    def __init__(self, call: Callable[[], object]) -> None:
        self._call = call
        self.result: object = None
        self.error: BaseException | None = None
        self._thread = threading.Thread(target=self._work, daemon=True)
        self._thread.start()

    def _work(self) -> None:
        try:
            self.result = self._call()
        except BaseException as error:
            self.error = error

    @property
    def running(self) -> bool:
        return self._thread.is_alive()

    def join(self) -> BaseException | None:
        """Wait for the end; the error."""
        self._thread.join(SOON_S)
        assert not self._thread.is_alive(), "the call hangs"
        return self.error


def count_time_from_the_begin(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have the time of calls of coroutine functions count from their begin, which may come late on a busy machine.

    So a call with a short time that is not answered has always been begun.
    """
    send = LoopCalls._send

    def sent(calls: LoopCalls, loop: Any, call: Call[Any]) -> None:
        send(calls, loop, call)
        deadline = time.monotonic() + SOON_S
        while isinstance(call, Wait) and call._task is None:
            assert time.monotonic() < deadline, "the loop does not begin the call"
            time.sleep(0.001)

    monkeypatch.setattr(LoopCalls, "_send", sent)


def answered(call: Callable[[], T]) -> T:
    """Return the answer of a call that may be repeated. Its time is short, and the machine may be busy for longer."""
    deadline = time.monotonic() + SOON_S
    while True:
        try:
            return call()
        except (WaitTimeout, CallTimeout):
            assert time.monotonic() < deadline, "never answered"


def in_a_thread(call: Callable[[], object]) -> BaseException | None:
    """What this call raises in another thread."""
    return Worker(call).join()
