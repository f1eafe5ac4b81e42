"""A link handler that writes down what it is told, and pairs of connected links, for the transport tests."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import trustme

from qpidha.interfaces import Link, Transport
from qpidha.transports import MemoryNetwork, MemoryTransport, TcpTransport
from qpidha.types import Address

HERE: Address = ("127.0.0.1", 0)
TIMEOUT_S = 10.0


class Recorder:
    """A `LinkHandler`: keeps every byte and every call."""

    def __init__(self, link: Link, *, buffer_bytes: int = 64 * 1024) -> None:
        self.link = link
        self.data = bytearray()
        self.deliveries: list[int] = []
        self.drains = 0
        self.ends: list[Exception | None] = []
        self.late: list[str] = []
        self.fail_with: Exception | None = None
        self._buffer = bytearray(buffer_bytes)

    def _called(self, name: str) -> None:
        if self.ends:
            self.late.append(name)

    def get_buffer(self, size_hint: int) -> memoryview:
        self._called("get_buffer")
        return memoryview(self._buffer)

    def received(self, nbytes: int) -> None:
        self._called("received")
        if self.fail_with is not None:
            raise self.fail_with
        self.deliveries.append(nbytes)
        self.data += self._buffer[:nbytes]

    def drained(self) -> None:
        self._called("drained")
        self.drains += 1

    def closed(self, error: Exception | None) -> None:
        self.ends.append(error)

    async def has(self, nbytes: int) -> bytes:
        await until(lambda: len(self.data) >= nbytes)
        return bytes(self.data)

    async def ended(self) -> Exception | None:
        """How it was closed; it must have been told exactly once, last of all."""
        await until(lambda: bool(self.ends))
        await asyncio.sleep(0.01)
        assert len(self.ends) == 1
        assert self.late == []
        return self.ends[0]


class Factory:
    """A `LinkFactory` that remembers the handlers it made."""

    def __init__(self) -> None:
        self.made: list[Recorder] = []

    def __call__(self, link: Link) -> Recorder:
        self.made.append(Recorder(link))
        return self.made[-1]

    async def first(self) -> Recorder:
        await until(lambda: bool(self.made))
        return self.made[0]


class Authority:
    """A certificate authority whose files lie in one directory."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.ca = trustme.CA()
        self.ca_file = directory / "ca.pem"
        self.ca.cert_pem.write_to_path(str(self.ca_file))

    def issue(self, name: str, **how: Any) -> tuple[Path, Path]:
        """Files with a certificate for this name and its key."""
        issued = self.ca.issue_cert(name, **how)
        certificate, key = self.directory / f"{name}.pem", self.directory / f"{name}.key"
        certificate.write_bytes(b"".join(pem.bytes() for pem in issued.cert_chain_pems))
        key.touch(mode=0o600)
        key.write_bytes(issued.private_key_pem.bytes())
        return certificate, key

    def transport(self, name: str, **how: Any) -> TcpTransport:
        """A transport with a certificate for this name."""
        certificate, key = self.issue(name, **how)
        return TcpTransport.with_certificates(ca=self.ca_file, certificate=certificate, key=key)


async def until(condition: Callable[[], bool]) -> None:
    async def wait() -> None:
        while not condition():  # noqa: ASYNC110 - conditions are about many things, not one event
            await asyncio.sleep(0.002)

    await asyncio.wait_for(wait(), TIMEOUT_S)


@asynccontextmanager
async def pair(
    server: Transport, client: Transport, *, expect: str | None = None
) -> AsyncIterator[tuple[Recorder, Recorder]]:
    """The near (connecting) and the far end of a link; both are gone afterwards."""
    near, far = Factory(), Factory()
    listener = await server.listen(HERE, far)
    await client.connect(listener.address, near, timeout_s=TIMEOUT_S, expect=expect)
    ends = (await near.first(), await far.first())
    try:
        yield ends
    finally:
        await listener.close()
        for end in ends:
            end.link.abort()
        for end in ends:
            await end.ended()


Maker = Callable[[Path], tuple[Transport, Transport]]


def plain(directory: Path) -> tuple[Transport, Transport]:
    transport = TcpTransport()
    return transport, transport


def tls(directory: Path) -> tuple[Transport, Transport]:
    authority = Authority(directory)
    return authority.transport("server"), authority.transport("client")


def memory(directory: Path) -> tuple[Transport, Transport]:
    network = MemoryNetwork()
    return MemoryTransport(network, identity="server"), MemoryTransport(network, identity="client")


def run(main: Coroutine[Any, Any, None], *, uvloop: bool = False) -> None:
    """Run to the end; anything told to the loop's exception handler is a failure."""
    told: list[dict[str, Any]] = []

    async def watched() -> None:
        asyncio.get_running_loop().set_exception_handler(lambda loop, context: told.append(context))
        await main
        await asyncio.sleep(0)

    if uvloop:
        import uvloop as fast

        fast.run(watched())
    else:
        asyncio.run(watched(), debug=False)  # In debug mode asyncio reports failed handshakes of peers.
    assert told == []
