"""A broker with plain methods is called in one thread: one call at a time, in order, all of them."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Sequence
from typing import Any

import pytest

from qpidha import Discarded
from qpidha.bridge import LoopThread, ThreadBroker
from qpidha.errors import SettingsError
from tests.support.harness import QUICK, Recorder, World
from tests.support.threads import SOON_S


class Plain:
    """Keeps its calls, and the threads in which they are made. A gate that is closed keeps on_promote waiting."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, Any]] = []
        self.threads: set[int] = set()
        self.gate = threading.Event()
        self.gate.set()
        self.begun = threading.Event()

    def on_promote(self, generation: int) -> None:
        self.begun.set()
        assert self.gate.wait(SOON_S)
        self._called("on_promote", generation)

    def on_demote(self, generation: int) -> None:
        self._called("on_demote", generation)

    def on_discarded(self, messages: Sequence[Discarded]) -> None:
        self._called("on_discarded", messages)

    def _called(self, name: str, argument: Any) -> None:
        self.calls.append((name, argument))
        self.threads.add(threading.get_ident())


def test_each_call_is_made_in_the_same_thread() -> None:
    plain = Plain()

    async def main() -> None:
        broker = ThreadBroker(plain)
        await broker.on_promote(1)
        await broker.on_demote(1)
        await broker.on_discarded([])

    asyncio.run(main())
    assert plain.calls == [("on_promote", 1), ("on_demote", 1), ("on_discarded", [])]
    assert len(plain.threads) == 1 and threading.get_ident() not in plain.threads


def test_its_methods_use_the_node_of_the_loop() -> None:
    """They wait for it, which no method in the loop may do."""
    thread, world = LoopThread("loop of a test"), World(QUICK)

    class Declares(Plain):
        def on_promote(self, generation: int) -> None:
            world.nodes["a"].sync.declare("q").enqueue(b"1")
            super().on_promote(generation)

    plain = Declares()

    class InThread(ThreadBroker, Recorder):
        """What the harness wants a broker to be."""

    try:
        node = thread.run(world.start("a", broker=InThread(plain)), SOON_S)
        node.sync.promote(timeout_s=SOON_S)
        node.sync.wait_serving(timeout_s=SOON_S)  # `promote` does not wait for the end of on_promote.
        assert plain.calls == [("on_promote", 1)]
        assert [data for _, data in node.sync.queue("q")] == [b"1"]
    finally:
        thread.run(world.__aexit__(), SOON_S)
        thread.close()
    assert plain.calls == [("on_promote", 1), ("on_demote", 1)]


def test_a_call_that_the_node_does_not_wait_for_any_longer_comes_to_its_end_before_the_next() -> None:
    plain = Plain()

    async def main() -> None:
        broker = ThreadBroker(plain)
        plain.gate.clear()
        promoted = asyncio.ensure_future(broker.on_promote(1))
        assert await asyncio.to_thread(plain.begun.wait, SOON_S)
        promoted.cancel()
        demoted = asyncio.ensure_future(broker.on_demote(1))
        await asyncio.sleep(0.01)
        demoted.cancel()  # It waits for its turn, and has it nevertheless.
        await asyncio.wait({promoted, demoted})
        assert plain.calls == [] and promoted.cancelled() and demoted.cancelled()
        plain.gate.set()
        await broker.on_discarded([])

    asyncio.run(main())
    assert [name for name, _ in plain.calls] == ["on_promote", "on_demote", "on_discarded"]


def test_an_error_reaches_the_node() -> None:
    class Failing(Plain):
        def on_promote(self, generation: int) -> None:
            raise ValueError("not today")

    async def main() -> None:
        with pytest.raises(ValueError, match="not today"):
            await ThreadBroker(Failing()).on_promote(1)

    asyncio.run(main())


def test_a_broker_with_coroutines_is_refused() -> None:
    with pytest.raises(SettingsError, match="without 'async'"):
        ThreadBroker(Recorder())  # type: ignore[arg-type]
