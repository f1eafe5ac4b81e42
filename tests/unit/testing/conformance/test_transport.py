"""Transports that break one rule, as real ones do, are each found by the check that is named for it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from qpidha.interfaces import Link, LinkFactory, LinkHandler, Listener, Transport
from qpidha.testing import conformance
from qpidha.testing.conformance import RuleBroken
from qpidha.testing.conformance import links as kit
from qpidha.transports import MemoryNetwork, MemoryTransport
from qpidha.transports.memory import MemoryLink
from qpidha.types import Address, BytesLike


class BentLink:
    """Passes everything on. Subclasses bend one method."""

    def __init__(self, link: Link, bent: Bent) -> None:
        self.link = link
        self.bent = bent
        self.peer = link.peer

    def write(self, chunks: Sequence[BytesLike]) -> None:
        self.link.write(chunks)

    @property
    def buffered(self) -> int:
        return self.link.buffered

    def close(self) -> None:
        self.link.close()

    def abort(self) -> None:
        self.link.abort()


class BentHandler:
    """The same for what a link calls."""

    def __init__(self, handler: LinkHandler, link: Link) -> None:
        self.handler = handler
        self.link = link

    def get_buffer(self, size_hint: int) -> memoryview:
        return self.handler.get_buffer(size_hint)

    def received(self, nbytes: int) -> None:
        self.handler.received(nbytes)

    def drained(self) -> None:
        self.handler.drained()

    def closed(self, error: Exception | None) -> None:
        self.handler.closed(error)


class Bent(MemoryTransport):
    """A transport whose links or handlers are bent."""

    link: type[BentLink] = BentLink
    handler: type[BentHandler] = BentHandler

    def __init__(self) -> None:
        super().__init__(MemoryNetwork())
        self.opened: list[BentLink] = []

    def bend(self, on_link: LinkFactory) -> LinkFactory:
        def made(link: Link) -> LinkHandler:
            self.opened.append(self.link(link, self))
            return self.handler(on_link(self.opened[-1]), link)

        return made

    async def listen(self, address: Address, on_link: LinkFactory) -> Any:
        return await super().listen(address, self.bend(on_link))

    async def connect(self, address: Address, on_link: LinkFactory, **how: Any) -> Link:
        link = await super().connect(address, self.bend(on_link), **how)
        return next(each for each in self.opened if each.link is link)


class DropsAChunk(BentLink):
    """What does not fit is forgotten."""

    def write(self, chunks: Sequence[BytesLike]) -> None:
        self.link.write([c[:500_000] for c in chunks])


class SwapsChunks(BentLink):
    """Sends small chunks first."""

    def write(self, chunks: Sequence[BytesLike]) -> None:
        self.link.write(sorted(chunks, key=len))


class OverlappingWrites(BentLink):
    """Writes of one turn are sent in the wrong order: by a pool of workers, say."""

    later: list[Sequence[BytesLike]]

    def write(self, chunks: Sequence[BytesLike]) -> None:
        self.later = [*getattr(self, "later", []), chunks]
        asyncio.get_running_loop().call_soon(self.flush)

    def flush(self) -> None:
        while self.later:
            self.link.write(self.later.pop())


class OneStreamForAll(BentLink):
    """Several links to one peer share a connection, and their bytes are mixed."""

    def write(self, chunks: Sequence[BytesLike]) -> None:
        mine = [each for each in self.bent.opened if self.near(each) == self.near(self)]
        mine[-1].link.write(chunks)

    @staticmethod
    def near(each: BentLink) -> bool:
        assert isinstance(each.link, MemoryLink)
        return each.link.peer.address.startswith("127")


class CloseForgets(BentLink):
    """`close` does what `abort` should do."""

    def close(self) -> None:
        self.link.abort()


class NothingBuffered(BentLink):
    """Does not know how many bytes wait to be sent."""

    @property
    def buffered(self) -> int:
        return 0


class AbortCallsBack(BentLink):
    """Tells closed from within abort."""

    def abort(self) -> None:
        assert isinstance(self.link, MemoryLink)
        handler, self.link._handler = self.link._handler, None
        self.link.abort()
        if handler is not None:
            handler.closed(ConnectionError("aborted"))


class CallsAfterClosed(BentHandler):
    """Bytes that were under way still arrive after `closed`."""

    def closed(self, error: Exception | None) -> None:
        self.handler.closed(error)
        self.handler.get_buffer(1)
        self.handler.received(1)


class ClosedTwice(BentHandler):
    """Once for each direction."""

    def closed(self, error: Exception | None) -> None:
        self.handler.closed(error)
        self.handler.closed(error)


class SwallowsErrors(BentHandler):
    """Logs what a handler raises, and goes on."""

    def received(self, nbytes: int) -> None:
        try:
            self.handler.received(nbytes)
        except ValueError:
            return


class NeverDrained(BentHandler):
    """Knows only how to fill up."""

    def drained(self) -> None:
        return


class OverfillsViews(BentHandler):
    """Reads as much as it likes, and grows the buffer for it."""

    def get_buffer(self, size_hint: int) -> memoryview:
        handler = self.handler
        assert isinstance(handler, kit.Recorder)
        handler._buffer = bytearray(64 * 1024)
        return memoryview(handler._buffer)


def bent(**how: type) -> Callable[[Path], tuple[Transport, Transport]]:
    def make(directory: Path) -> tuple[Transport, Transport]:
        transport = type("Mine", (Bent,), how)()
        return transport, transport

    return make


class CutsLinksWithTheListener(MemoryTransport):
    """Closing the port closes what came in through it."""

    async def listen(self, address: Address, on_link: LinkFactory) -> Any:
        listener = await super().listen(address, on_link)
        close = listener.close

        async def both() -> None:
            await close()
            self.network.cut(listener.address)

        listener.close = both  # type: ignore[method-assign]
        return listener


class AnswersForNobody(MemoryTransport):
    """connect raises whatever the library below raises."""

    async def connect(self, address: Address, on_link: LinkFactory, **how: Any) -> Link:
        if address not in self.network.listeners:
            raise ConnectionRefusedError(111, "Connection refused")
        return await super().connect(address, on_link, **how)


class BindsTwice(MemoryTransport):
    """Takes the port from the process that listens on it."""

    async def listen(self, address: Address, on_link: LinkFactory) -> Listener:  # type: ignore[override]
        self.network.listeners.pop(address, None)
        return await super().listen(address, on_link)


def alone(kind: type[MemoryTransport]) -> Callable[[Path], tuple[Transport, Transport]]:
    def make(directory: Path) -> tuple[Transport, Transport]:
        transport = kind(MemoryNetwork())
        return transport, transport

    return make


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """The wait for something that should not arrive can be short."""
    from qpidha.testing.conformance import transportbench

    monkeypatch.setattr(kit, "TIMEOUT_S", 0.5)
    monkeypatch.setattr(transportbench, "TIMEOUT_S", 0.5)


@pytest.mark.parametrize(
    ("make", "check"),
    [
        (bent(link=DropsAChunk), "bytes-arrive-in-order-in-both-directions"),
        (bent(link=SwapsChunks), "bytes-arrive-in-order-in-both-directions"),
        (bent(link=OverlappingWrites), "small-writes-keep-their-order"),
        (bent(link=OneStreamForAll), "links-do-not-mix"),
        (bent(link=CloseForgets), "close-sends-everything-first-and-ends-both-in-order"),
        (bent(link=NothingBuffered), "drained-comes-once-the-peer-has-caught-up"),
        (bent(link=AbortCallsBack), "abort-ends-later-with-an-error-and-forgets"),
        (bent(handler=CallsAfterClosed), "close-sends-everything-first-and-ends-both-in-order"),
        (bent(handler=ClosedTwice), "abort-ends-later-with-an-error-and-forgets"),
        (bent(handler=SwallowsErrors), "an-error-of-the-handler-ends-its-link-only"),
        (bent(handler=NeverDrained), "drained-comes-once-the-peer-has-caught-up"),
        (bent(handler=OverfillsViews), "the-view-of-the-handler-is-respected"),
        (alone(CutsLinksWithTheListener), "closing-the-listener-leaves-links-alone"),
        (alone(AnswersForNobody), "nobody-answers"),
        (alone(BindsTwice), "an-address-in-use-is-an-os-error"),
    ],
)
def test_each_broken_transport_is_found(
    make: Callable[[Path], tuple[Transport, Transport]], check: str
) -> None:
    [found] = [c for c in conformance.transport_checks(make) if str(c) == check]
    with pytest.raises(RuleBroken):
        found()


def test_an_unchanged_wrapper_passes_every_check() -> None:
    conformance.run(conformance.transport_checks(bent()))


def test_the_report_says_where_the_bytes_differ() -> None:
    check = conformance.transport_checks(bent(link=DropsAChunk))[0]
    with pytest.raises(RuleBroken) as broken:
        check()
    assert broken.value.done.startswith("listen; connect; write 3 MiB")
    assert "bytes" in broken.value.expected and "bytes" in broken.value.seen
