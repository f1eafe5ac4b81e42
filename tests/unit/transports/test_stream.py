"""What a TCP link does in each state of its connection: the complete table of `LinkState`.

Method: a fake asyncio transport and a fake handler that note every call; a link is brought into each state by the
calls that lead to it, then each operation is tried.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from qpidha.errors import LinkClosed
from qpidha.transports.stream import ALIVE, SMALL_BYTES, WRITABLE, WRITES_PER_TURN, Flow, LinkState, TcpLink


class NoNames:
    """TLS with a peer that shows no certificate."""

    def getpeercert(self) -> None:
        """Nothing."""


class Transport(asyncio.Transport):
    """Notes the link's calls."""

    def __init__(self, *, tls: bool = False) -> None:
        super().__init__({"peername": ("127.0.0.1", 1)} | ({"ssl_object": NoNames()} if tls else {}))
        self.written: list[bytes] = []
        self.calls: list[str] = []

    def write(self, data: Any) -> None:
        self.written.append(bytes(data))

    def get_write_buffer_size(self) -> int:
        return 0

    def writelines(self, list_of_data: Any) -> None:
        self.written += map(bytes, list_of_data)

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        assert high is not None

    def is_closing(self) -> bool:
        return bool(self.calls)

    def close(self) -> None:
        self.calls.append("close")

    def abort(self) -> None:
        self.calls.append("abort")


class Handler:
    """Notes the link's calls; `get_buffer` raises if `broken` is set, `received` does what `reacts` says."""

    def __init__(self) -> None:
        self.calls: list[object] = []
        self.error: Exception | None = None
        self.broken = False
        self.reacts: Callable[[], None] = lambda: None

    def get_buffer(self, size_hint: int) -> memoryview:
        self.calls.append("get_buffer")
        if self.broken:
            raise RuntimeError("no room")
        return memoryview(bytearray(10))

    def received(self, nbytes: int) -> None:
        self.calls.append(nbytes)
        self.reacts()

    def drained(self) -> None:
        self.calls.append("drained")

    def closed(self, error: Exception | None) -> None:
        self.calls.append("closed")
        self.error = error


class Rig:
    """A link in one state, with a fake transport and a fake handler."""

    def __init__(self, state: LinkState, *, tls: bool = False) -> None:
        self.transport, self.handler = Transport(tls=tls), Handler()
        self.link = TcpLink(asyncio.get_running_loop(), lambda link: self.handler, lambda peer: None)
        if state is not LinkState.CONNECTING:
            self.link.connection_made(self.transport)
        if state is LinkState.CLOSING:
            self.link.pause_writing()  # Data must wait, otherwise the link is closed in the next turn.
            self.link.write([b"last"])
            self.link.close()
        elif state is LinkState.DEAD:
            self.link.abort()
        assert self.link._state is state
        self.handler.calls.clear()
        self.transport.calls.clear()


def each(test: Callable[[Rig, LinkState], None]) -> None:
    async def main() -> None:
        for state in LinkState:
            rig = Rig(state)
            test(rig, state)
            if state is LinkState.CONNECTING:
                rig.link.connection_made(rig.transport)
            rig.link.connection_lost(None)

    asyncio.run(main())


def test_only_a_writable_link_takes_what_is_written() -> None:
    def test(rig: Rig, state: LinkState) -> None:
        before = rig.link.buffered
        rig.link.write([b"more"])
        taken = rig.link.buffered - before + len(b"".join(rig.transport.written))
        assert taken == (4 if state in WRITABLE else 0), state

    each(test)


def test_only_a_live_link_receives() -> None:
    def test(rig: Rig, state: LinkState) -> None:
        assert len(rig.link.get_buffer(10)) > 0  # TLS continues to read and needs a buffer.
        rig.link.buffer_updated(3)
        assert rig.handler.calls == (["get_buffer", 3] if state in ALIVE else []), state

    each(test)


def test_close_affects_only_an_open_link() -> None:
    def test(rig: Rig, state: LinkState) -> None:
        rig.link.close()
        assert rig.link._state is (LinkState.CLOSING if state is LinkState.OPEN else state)
        assert rig.transport.calls == []  # Only after the call.

    each(test)


def test_abort_ends_every_link_that_is_connected_and_not_dead() -> None:
    def test(rig: Rig, state: LinkState) -> None:
        rig.link.abandon()
        ends = state not in (LinkState.CONNECTING, LinkState.DEAD)
        assert rig.transport.calls == (["abort"] if ends else []), state

    each(test)


@pytest.mark.parametrize("state", [LinkState.OPEN, LinkState.CLOSING])
def test_the_handler_of_a_lost_link_is_told_once(state: LinkState) -> None:
    async def main() -> None:
        rig = Rig(state)
        rig.link.connection_lost(ConnectionResetError())
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert rig.handler.calls == ["closed"] and isinstance(rig.handler.error, LinkClosed)
        assert rig.link._state is LinkState.DEAD and rig.link.buffered == 0

    asyncio.run(main())


def test_a_handler_that_fails_to_give_a_buffer_loses_its_link_in_the_next_turn() -> None:
    async def main() -> None:
        rig = Rig(LinkState.OPEN)
        rig.handler.broken = True
        rig.link.get_buffer(10)
        assert rig.link._state is LinkState.DEAD and rig.transport.calls == []
        rig.handler.calls.clear()
        await asyncio.sleep(0)
        assert rig.transport.calls == ["abort"]
        rig.link.connection_lost(None)
        assert rig.handler.calls == ["closed"] and isinstance(rig.handler.error, RuntimeError)

    asyncio.run(main())


def test_drained_follows_a_full_transport_once_and_not_within_its_call() -> None:
    async def main() -> None:
        rig = Rig(LinkState.OPEN)
        rig.link.pause_writing()
        rig.link.write([b"waits"])
        assert rig.transport.written == []
        rig.link.resume_writing()
        assert rig.link._flow is Flow.RELIEVED and rig.transport.written == []
        await asyncio.sleep(0)
        assert rig.transport.written == [b"waits"] and rig.handler.calls == ["drained"]
        await asyncio.sleep(0)
        assert rig.handler.calls == ["drained"]
        rig.link.connection_lost(None)

    asyncio.run(main())


def test_what_the_handler_writes_while_it_receives_is_handed_down_at_once() -> None:
    async def main() -> None:
        rig = Rig(LinkState.OPEN)
        rig.handler.reacts = lambda: rig.link.write([b"ans", b"wer"])
        rig.link.buffer_updated(3)
        assert rig.transport.written == [b"answer"] and rig.link.buffered == 0
        rig.link.connection_lost(None)

    asyncio.run(main())


def test_each_turn_in_which_something_is_read_allows_some_writes() -> None:
    async def main() -> None:
        rig = Rig(LinkState.OPEN)
        rig.handler.reacts = lambda: [rig.link.write([b"x"]) for _ in range(WRITES_PER_TURN + 1)] and None
        for _ in range(2):
            del rig.transport.written[:]
            rig.link.get_buffer(1)
            rig.link.buffer_updated(1)
            assert len(rig.transport.written) == WRITES_PER_TURN
            await asyncio.sleep(0)
            assert b"".join(rig.transport.written) == b"x" * (WRITES_PER_TURN + 1)
        rig.link.connection_lost(None)

    asyncio.run(main())


def test_with_tls_it_is_handed_down_in_the_next_turn() -> None:
    async def main() -> None:
        rig = Rig(LinkState.OPEN, tls=True)
        rig.handler.reacts = lambda: rig.link.write([b"answer"])
        rig.link.buffer_updated(3)
        assert rig.transport.written == [] and rig.link.buffered == 6
        await asyncio.sleep(0)
        assert rig.transport.written == [b"answer"] and rig.link.buffered == 0
        rig.link.connection_lost(None)

    asyncio.run(main())


@pytest.mark.parametrize("end", ["abort", "raise", "eof"])
def test_the_transport_is_aborted_in_the_turn_after_its_call(end: str) -> None:
    async def main() -> None:
        rig = Rig(LinkState.OPEN)

        def fail() -> None:
            raise RuntimeError("received")

        rig.handler.reacts = fail if end == "raise" else rig.link.abort
        rig.link.eof_received() if end == "eof" else rig.link.buffer_updated(3)
        assert rig.link._state is LinkState.DEAD and rig.transport.calls == []
        await asyncio.sleep(0)
        assert rig.transport.calls == ["abort"]
        rig.link.connection_lost(None)

    asyncio.run(main())


@pytest.mark.parametrize("vectored", [False, True])
def test_one_turn_hands_down_a_few_writes_only(vectored: bool) -> None:
    """A loop that was not told yet that the connection broke complains of the fifth."""

    async def main() -> None:
        rig = Rig(LinkState.OPEN)
        rig.link._vectored = vectored
        rig.link.write([bytes(SMALL_BYTES)] * 40)
        for number in range(20):
            rig.link.write([b"%d" % number])
        turns = [len(rig.transport.written)]
        while rig.link.buffered:
            await asyncio.sleep(0)
            turns.append(len(rig.transport.written) - sum(turns))
        assert max(turns) <= (WRITES_PER_TURN * 8 if vectored else WRITES_PER_TURN)
        assert b"".join(rig.transport.written)[40 * SMALL_BYTES :] == b"".join(b"%d" % n for n in range(20))
        rig.link.connection_lost(None)

    asyncio.run(main())


def test_a_transport_that_closes_gets_no_more_writes() -> None:
    async def main() -> None:
        rig = Rig(LinkState.OPEN)
        rig.transport.close()
        rig.link.write([b"more"])
        assert rig.transport.written == []
        rig.link.connection_lost(None)

    asyncio.run(main())


def test_a_transport_is_closed_once_though_it_was_full_when_the_link_was_closed() -> None:
    async def main() -> None:
        rig = Rig(LinkState.OPEN)
        rig.link.write([b"last"])
        rig.link.pause_writing()
        rig.link.close()
        await asyncio.sleep(0)
        assert rig.transport.calls == ["close"]
        rig.link.resume_writing()
        await asyncio.sleep(0)
        assert rig.transport.calls == [
            "close"
        ]  # TLS would forget the connection, so that it could not be aborted.
        rig.link.connection_lost(None)

    asyncio.run(main())
