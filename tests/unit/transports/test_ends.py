"""The end of a TLS connection that the peer closes without a goodbye, while there is something to read or to write.

Method: the peer is a blocking TLS socket, which can end its half of the TCP connection. Each loop has its own TLS. The
loops complain in the log of writes that they drop, so the log of asyncio must be empty.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import uvloop

from qpidha.testing.conformance.links import TIMEOUT_S, Factory, Recorder, until
from qpidha.transports import TcpTransport
from qpidha.transports.tls import client_context, server_context
from tests.support.transports import Authority

Run = Callable[[Coroutine[Any, Any, None]], None]
LOOPS: list[Run] = [asyncio.run, uvloop.run]


class Site:
    """A link, and the socket of its peer."""

    def __init__(self, near: Recorder, far: ssl.SSLSocket) -> None:
        self.near = near
        self.far = far

    def end(self) -> None:
        """End the peer's half of the TCP connection, without the goodbye of TLS."""
        socket.socket.shutdown(self.far, socket.SHUT_WR)


@asynccontextmanager
async def connected(tmp_path: Path, *, buffer_bytes: int = 1024, own: bool = False) -> AsyncIterator[Site]:
    """``own``: the application made the TLS context."""
    authority = Authority(tmp_path)
    server = server_context(authority.ca_file, *authority.issue("far"))
    transport = authority.transport("near")
    if own:
        transport = TcpTransport(
            ssl_context_client=_plain_context(
                client_context(authority.ca_file, *authority.issue("near")), authority
            )
        )
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def accept() -> ssl.SSLSocket:
            accepted, _ = listening.accept()
            return server.wrap_socket(accepted, server_side=True)

        loop = asyncio.get_running_loop()
        accepting = loop.run_in_executor(None, accept)
        factory = Factory(buffer_bytes=buffer_bytes)
        await transport.connect(listening.getsockname(), factory, timeout_s=TIMEOUT_S)
        with await accepting as far:
            yield Site(await factory.first(), far)


def _plain_context(like: ssl.SSLContext, authority: Authority) -> ssl.SSLContext:
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    made.check_hostname = False
    made.load_verify_locations(authority.ca_file)
    made.load_cert_chain(authority.directory / "near.pem", authority.directory / "near.key")
    return made


@pytest.mark.parametrize("run", LOOPS)
def test_what_is_written_when_the_last_bytes_arrive_is_dropped_in_silence(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, run: Run
) -> None:
    async def main() -> None:
        async with connected(tmp_path) as site:

            def answer() -> None:
                for _ in range(20):
                    site.near.link.write([b"answer"])

            site.near.reacts = answer  # type: ignore[method-assign]
            site.far.sendall(bytes(8 * 1024))
            site.end()
            assert await site.near.ended() is None

    run(main())
    assert [r.message for r in caplog.records if r.name == "asyncio"] == []


@pytest.mark.parametrize("run", LOOPS)
def test_a_link_that_is_aborted_when_the_last_bytes_arrive_ends_in_order(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, run: Run
) -> None:
    async def main() -> None:
        async with connected(tmp_path) as site:

            def give_up() -> None:
                if len(site.near.data) > 2 * 1024:
                    site.near.link.abort()

            site.near.reacts = give_up  # type: ignore[method-assign]
            site.far.sendall(bytes(8 * 1024))
            site.end()
            await site.near.ended()

    run(main())
    assert [r.message for r in caplog.records if r.name == "asyncio"] == []


@pytest.mark.parametrize("own", [False, True])
@pytest.mark.parametrize("run", LOOPS)
def test_a_peer_that_closes_while_bytes_wait_for_it_ends_the_link(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, run: Run, own: bool
) -> None:
    async def main() -> None:
        async with connected(tmp_path, own=own) as site:
            link = site.near.link
            while (
                not link.buffered
            ):  # The system takes no more. The link may still write: it is not told to pause yet.
                link.write([bytes(8 * 1024)])
                await asyncio.sleep(0)
            site.end()
            while not site.near.ends:
                link.write([b"more"])
                await asyncio.sleep(0.001)
            assert await site.near.ended() is None

    run(asyncio.wait_for(main(), TIMEOUT_S))
    assert [r.message for r in caplog.records if r.name == "asyncio"] == []


@pytest.mark.parametrize("run", LOOPS)
@pytest.mark.parametrize("tls", [False, True])
def test_writes_to_a_connection_that_broke_in_this_turn_are_dropped_in_silence(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, run: Run, tls: bool
) -> None:
    async def main() -> None:
        async with connected(tmp_path) if tls else in_plain_text() as site:
            site.far.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\0\0\0\0\0\0\0")
            socket.socket.close(site.far)  # A reset, which the loop does not see before the next turn.
            for _ in range(50):
                site.near.link.write([b"more"])
            await site.near.ended()

    run(main())
    assert [r.message for r in caplog.records if r.name == "asyncio"] == []


@asynccontextmanager
async def in_plain_text() -> AsyncIterator[Any]:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        factory = Factory()
        await TcpTransport().connect(listening.getsockname(), factory, timeout_s=TIMEOUT_S)
        far, _ = listening.accept()
        with far:
            yield Site(await factory.first(), far)  # type: ignore[arg-type]


@pytest.mark.parametrize("run", LOOPS)
def test_all_bytes_arrive_that_many_writes_of_one_turn_handed_over(tmp_path: Path, run: Run) -> None:
    async def main() -> None:
        async with connected(tmp_path) as site:
            for number in range(100):
                site.near.link.write([b"%d," % number, bytes(20_000)])
            expected = b"".join(b"%d," % number + bytes(20_000) for number in range(100))

            def read() -> bytes:
                found = b""
                while len(found) < len(expected):
                    found += site.far.recv(1 << 16)
                return found

            assert await asyncio.get_running_loop().run_in_executor(None, read) == expected
            await until(lambda: site.near.link.buffered == 0)
            site.near.link.abort()
            await site.near.ended()

    run(main())
