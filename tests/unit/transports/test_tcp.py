"""Plain TCP stays on the machine, and the link survives peers that vanish, half-close or never read."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import socket
import sys
from typing import Any

import pytest

from qpidha.errors import LinkClosed, SettingsError
from qpidha.testing.conformance.links import HERE, TIMEOUT_S, Factory, pair, until
from qpidha.transports import TcpTransport, stream
from qpidha.transports.sockets import as_link_closed, is_loopback
from qpidha.transports.stream import PIECE_BYTES, SMALL_BYTES, TcpLink
from qpidha.types import Address
from tests.support.transports import run


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.9.10", "::1", "::ffff:127.0.0.1", "::1%lo"])
def test_loopback_addresses(host: str) -> None:
    assert is_loopback(host)


@pytest.mark.parametrize(
    "host", ["", "0.0.0.0", "::", "10.0.0.1", "::ffff:10.0.0.1", "localhost", "127.0.0.1.test", "::2"]
)
def test_other_addresses(host: str) -> None:
    assert not is_loopback(host)


@pytest.mark.parametrize("host", ["", "0.0.0.0", "::", "192.0.2.1"])
def test_plain_text_beyond_loopback_needs_consent(host: str) -> None:
    async def main() -> None:
        with pytest.raises(SettingsError, match="not a loopback address"):
            await TcpTransport().listen((host, 0), Factory())
        with pytest.raises(SettingsError, match="not a loopback address"):
            await TcpTransport().connect((host, 9), Factory(), timeout_s=1)

    run(main())


def test_a_name_that_also_means_another_machine_is_not_loopback(monkeypatch: pytest.MonkeyPatch) -> None:
    async def main() -> None:
        answers = ["127.0.0.1", "192.0.2.1"]

        async def lookup(host: str, port: int, **_: Any) -> list[Any]:
            return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (each, port)) for each in answers]

        monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", lookup)
        with pytest.raises(SettingsError):
            await TcpTransport().connect(("node-b", 9), Factory(), timeout_s=1)

    run(main())


def test_localhost_is_loopback_and_consent_opens_the_rest() -> None:
    async def main() -> None:
        for transport, host in ((TcpTransport(), "localhost"), (TcpTransport(insecure=True), "0.0.0.0")):
            near, far = Factory(), Factory()
            listener = await transport.listen((host, 0), far)
            assert listener.address[1] != 0
            link = await transport.connect(("127.0.0.1", listener.address[1]), near, timeout_s=TIMEOUT_S)
            await far.first()
            link.close()
            await near.made[0].ended()
            await far.made[0].ended()
            await listener.close()

    run(main())


@pytest.mark.parametrize("address", [("no such host.invalid", 1), ("127.0.0.1", 70_000), ("a" * 300, 1)])
def test_connecting_to_an_invalid_address_is_a_closed_link(address: Address) -> None:
    async def main() -> None:
        with pytest.raises(LinkClosed, match="cannot connect to"):
            await TcpTransport(insecure=True).connect(address, Factory(), timeout_s=5)
        with pytest.raises(LinkClosed, match="cannot connect to"):
            await TcpTransport().connect(address, Factory(), timeout_s=5)

    run(main())


def test_the_peer_is_described() -> None:
    async def main() -> None:
        async with pair(TcpTransport(), TcpTransport()) as (near, _far):
            assert near.link.peer.identity is None
            assert near.link.peer.local
            sock = near.link._transport.get_extra_info("socket")  # type: ignore[attr-defined]
            assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
            assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)

    run(main())


async def raw_server() -> tuple[socket.socket, Address]:
    listening = socket.create_server(("127.0.0.1", 0))
    listening.setblocking(False)
    return listening, listening.getsockname()


def test_a_half_closed_connection_is_a_closed_link() -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        listening, address = await raw_server()
        near = Factory()
        await TcpTransport().connect(address, near, timeout_s=TIMEOUT_S)
        peer, _ = await loop.sock_accept(listening)
        peer.sendall(b"last words")
        peer.shutdown(socket.SHUT_WR)
        assert await near.made[0].ended() is None
        assert bytes(near.made[0].data) == b"last words"
        peer.close()
        listening.close()

    run(main())


def test_a_reset_is_a_closed_link_with_its_cause() -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        listening, address = await raw_server()
        near = Factory()
        await TcpTransport().connect(address, near, timeout_s=TIMEOUT_S)
        peer, _ = await loop.sock_accept(listening)
        peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\0\0\0\0\0\0\0")
        peer.close()
        error = await near.made[0].ended()
        assert isinstance(error, LinkClosed)
        assert isinstance(error.__cause__, OSError)
        listening.close()

    run(main())


def test_a_peer_that_never_reads_only_fills_our_buffer_and_can_be_dropped() -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        listening, address = await raw_server()
        near = Factory()
        link = await TcpTransport().connect(address, near, timeout_s=TIMEOUT_S)
        peer, _ = await loop.sock_accept(listening)
        chunk = bytes(1024 * 1024)
        for _ in range(32):
            link.write([chunk])
            await asyncio.sleep(0)
        assert link.buffered > 20 * len(chunk)
        assert near.made[0].drains == 0
        assert link._transport.get_write_buffer_size() <= 2 * PIECE_BYTES  # type: ignore[attr-defined]
        link.abort()
        assert link.buffered == 0
        assert isinstance(await near.made[0].ended(), LinkClosed)
        peer.close()
        listening.close()

    run(main())


def test_buffered_counts_the_bytes_in_the_asyncio_transport() -> None:
    """A few bytes wait in the asyncio transport and none in the link: the peer has not read them, and they count."""

    async def main() -> None:
        loop = asyncio.get_running_loop()
        listening, address = await raw_server()
        near = Factory()
        link = await TcpTransport().connect(address, near, timeout_s=TIMEOUT_S)
        peer, _ = await loop.sock_accept(listening)
        below: Any = link._transport  # type: ignore[attr-defined]
        chunk, written = bytes(4096), 0
        while not below.get_write_buffer_size():
            assert link.buffered == 0, "the kernel has accepted every byte"
            link.write([chunk])
            written += len(chunk)
            await asyncio.sleep(0)
        assert link._pending_bytes == 0  # type: ignore[attr-defined]
        assert 0 < link.buffered == below.get_write_buffer_size() <= len(chunk)
        while written:
            written -= len(await loop.sock_recv(peer, 1 << 20))
        await until(lambda: link.buffered == 0)
        link.abort()
        await near.made[0].ended()
        peer.close()
        listening.close()

    run(main())


def test_close_gives_up_on_a_peer_that_never_reads(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream, "CLOSE_TIMEOUT_S", 0.05)

    async def main() -> None:
        loop = asyncio.get_running_loop()
        listening, address = await raw_server()
        near = Factory()
        link = await TcpTransport().connect(address, near, timeout_s=TIMEOUT_S)
        peer, _ = await loop.sock_accept(listening)
        link.write([bytes(32 * 1024 * 1024)])
        link.close()
        error = await near.made[0].ended()
        assert isinstance(error, LinkClosed)
        assert "did not read" in str(error)
        peer.close()
        listening.close()

    run(main())


def test_close_sends_the_buffered_bytes_to_a_peer_that_reads_later(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The data exceed the buffers of the kernel and asyncio: the link still holds the rest when it is closed."""
    monkeypatch.setattr(stream, "CLOSE_TIMEOUT_S", 60)
    size = 32 * 1024 * 1024

    async def main() -> None:
        loop = asyncio.get_running_loop()
        listening, address = await raw_server()
        near = Factory()
        link = await TcpTransport().connect(address, near, timeout_s=TIMEOUT_S)
        peer, _ = await loop.sock_accept(listening)
        link.write([bytes(size)])
        link.close()
        await asyncio.sleep(0)  # The turn in which the link closes.
        assert link.buffered > PIECE_BYTES
        received = 0
        while chunk := await loop.sock_recv(peer, 1024 * 1024):
            received += len(chunk)
        assert received == size
        assert await near.made[0].ended() is None
        peer.close()
        listening.close()

    run(main())


def test_a_connect_without_an_answer_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    async def main() -> None:
        never = asyncio.Event()

        async def connect(*_: Any, **__: Any) -> None:
            await never.wait()

        monkeypatch.setattr(asyncio.get_running_loop(), "create_connection", connect)
        with pytest.raises(LinkClosed, match=r"no answer in 0\.05 s"):
            await TcpTransport().connect(("127.0.0.1", 9), Factory(), timeout_s=0.05)

    run(main())


def test_a_cancelled_connect_leaves_no_link() -> None:
    async def main() -> None:
        far, near = Factory(), Factory()
        listener = await TcpTransport().listen(HERE, far)
        for turns in range(6):
            attempt = asyncio.ensure_future(
                TcpTransport().connect(listener.address, near, timeout_s=TIMEOUT_S)
            )
            for _ in range(turns):
                await asyncio.sleep(0)
            attempt.cancel()
            try:
                link = await attempt
            except asyncio.CancelledError:
                continue
            link.abort()
        await asyncio.sleep(0.05)
        for made in near.made + far.made:
            await made.ended()
        await listener.close()

    run(main())


class FakeTransport(asyncio.Transport):
    """Remembers its writes."""

    def __init__(self) -> None:
        super().__init__({"peername": ("127.0.0.1", 1)})
        self.written: list[Any] = []

    def write(self, data: Any) -> None:
        self.written.append(data)

    def get_write_buffer_size(self) -> int:
        return 0

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        assert high is not None

    def is_closing(self) -> bool:
        return False

    def close(self) -> None:
        pass


def test_large_chunks_are_not_copied_and_small_ones_are_joined() -> None:
    async def main() -> None:
        link = TcpLink(asyncio.get_running_loop(), Factory(), lambda peer: None)
        transport = FakeTransport()
        link.connection_made(transport)
        large = bytes(SMALL_BYTES)
        link.write([b"a", b"b", large, b"c", b"d"])
        assert [bytes(each) for each in transport.written] == [b"ab", large, b"cd"]
        assert transport.written[1].obj is large
        link.connection_lost(None)

    run(main())


def test_a_full_piece_is_sent_at_once_and_cut_to_size() -> None:
    async def main() -> None:
        link = TcpLink(asyncio.get_running_loop(), Factory(), lambda peer: None)
        transport = FakeTransport()
        link.connection_made(transport)
        huge = bytes(range(256)) * (PIECE_BYTES // 100)
        link.write([b"head", huge])
        assert max(len(each) for each in transport.written) <= PIECE_BYTES
        assert b"".join(transport.written) == b"head" + huge
        link.pause_writing()
        transport.written.clear()
        link.write([huge])
        assert transport.written == []
        assert link.buffered == len(huge)
        link.resume_writing()
        assert transport.written == []  # Not within the call: the transport may be calling us.
        await asyncio.sleep(0)
        assert b"".join(transport.written) == huge
        link.connection_lost(None)

    run(main())


def test_vectored_writes_are_used_only_if_the_loop_supports_them() -> None:
    async def main() -> None:
        async with pair(TcpTransport(), TcpTransport()) as (near, _far):
            expected = sys.version_info >= (3, 13, 2) or (3, 12, 9) <= sys.version_info < (3, 13)
            assert near.link._vectored == expected  # type: ignore[attr-defined]

    run(main())


@pytest.mark.parametrize("turns", range(6))
def test_a_closing_listener_leaves_no_peer_waiting(turns: int) -> None:
    """The listener closes before, during or after an accept: the peer gets a link or its connection is closed."""

    async def main() -> None:
        loop = asyncio.get_running_loop()
        far = Factory()
        listener = await TcpTransport().listen(("127.0.0.1", 0), far)
        with socket.create_connection(listener.address, timeout=TIMEOUT_S) as peer:
            peer.setblocking(False)
            for _ in range(turns):
                await asyncio.sleep(0)
            await listener.close()
            if listener.accepted:
                await asyncio.sleep(0)
            for made in far.made:
                made.link.close()
            with contextlib.suppress(ConnectionResetError):
                assert await asyncio.wait_for(loop.sock_recv(peer, 1), TIMEOUT_S) == b""
        gc.collect()  # An unclosed socket causes a warning here, and warnings are errors.

    run(main())


def test_errors_are_mapped_to_link_closed() -> None:
    assert as_link_closed(None, "x") is None
    closed = LinkClosed("already")
    assert as_link_closed(closed, "x") is closed
    mapped = as_link_closed(ConnectionResetError(), "127.0.0.1:1")
    assert str(mapped) == "127.0.0.1:1: ConnectionResetError"


def test_many_links_in_sequence_are_all_closed() -> None:
    async def main() -> None:
        far = Factory()
        listener = await TcpTransport().listen(HERE, far)
        for i in range(200):
            near = Factory()
            link = await TcpTransport().connect(listener.address, near, timeout_s=TIMEOUT_S)
            link.write([b"x"])
            link.abort() if i % 2 else link.close()
        await until(lambda: len(far.made) == 200 and all(made.ends for made in far.made))
        await listener.close()

    run(main())
