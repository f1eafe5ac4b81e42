"""The machinery of the tests with real servers does what its names say."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import ssl
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from qpidha.engines.ports import take_ports
from tests.engines.certificates import Authority
from tests.engines.server import Server, ServerFailed
from tests.engines.wire import Wire

pytestmark = [pytest.mark.network, pytest.mark.processes]
ROOT = Path(__file__).resolve().parents[2]

ECHO = """
import socket, sys
server = socket.create_server(("127.0.0.1", int(sys.argv[1])))
print("serving", flush=True)
while True:
    peer, _ = server.accept()
    while data := peer.recv(100):
        peer.sendall(data)
"""
TIMEOUT_S = 20.0
QUIET_S = 0.2
"""How long nothing must arrive for it to count as held back."""


def echo(port: int, folder: Path) -> Server:
    async def ready() -> bool:
        _, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.close()
        return True

    return Server([sys.executable, "-c", ECHO, str(port)], log=folder / "log", ready=ready)


def alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"


def until_gone(pid: int) -> None:
    deadline = time.monotonic() + TIMEOUT_S
    while alive(pid):
        assert time.monotonic() < deadline, "the process lives on"
        time.sleep(0.01)


def test_a_server_starts_again_after_a_kill_and_after_a_stop(tmp_path: Path) -> None:
    async def main() -> None:
        server = echo(take_ports(1)[0], tmp_path)
        assert server.pid is None
        server.kill()
        await server.stop()
        for end in (server.kill, server.stop):
            await server.start()
            pid = server.pid
            assert pid is not None
            if (ended := end()) is not None:
                await ended
            until_gone(pid)
            assert server.pid is None
        assert server.tail().count("serving") == 2

    asyncio.run(main())


def test_a_paused_server_is_silent_and_goes_on(tmp_path: Path) -> None:
    async def main() -> None:
        port = take_ports(1)[0]
        server = echo(port, tmp_path)
        await server.start()
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        server.pause()
        writer.write(b"x")
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(reader.readexactly(1), QUIET_S)
        server.resume()
        assert await asyncio.wait_for(reader.readexactly(1), TIMEOUT_S) == b"x"
        server.pause()
        await server.stop()
        writer.close()

    asyncio.run(main())


def test_a_server_that_does_not_start_says_why(tmp_path: Path) -> None:
    async def never() -> bool:
        return False

    server = Server([sys.executable, "-c", "print('no disk')"], log=tmp_path / "log", ready=never)
    with pytest.raises(ServerFailed, match="no disk"):
        asyncio.run(server.start())


def test_servers_end_with_a_test_process_that_is_killed(tmp_path: Path) -> None:
    """Also a paused one: no clean-up of the test process runs."""
    code = f"""
import asyncio, sys
from pathlib import Path
from tests.engines.test_machinery import echo
from qpidha.engines.ports import take_ports
one, two = (echo(port, Path({str(tmp_path)!r})) for port in take_ports(2))
asyncio.run(one.start())
asyncio.run(two.start())
two.pause()
print(one.pid, two.pid, flush=True)
sys.stdin.read()
"""
    process = subprocess.Popen(
        [sys.executable, "-c", code], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    with process:
        assert process.stdout is not None
        pids = [int(pid) for pid in process.stdout.readline().split()]
        assert len(pids) == 2 and all(map(alive, pids))
        process.send_signal(signal.SIGKILL)
    for pid in pids:
        until_gone(pid)


# --- the wire ----------------------------------------------------------------------------------------


@contextlib.asynccontextmanager
async def wired() -> AsyncIterator[Wire]:
    """A wire to an echo server in this process."""
    opened: list[asyncio.StreamWriter] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        opened.append(writer)
        with contextlib.suppress(OSError):
            while data := await reader.read(100):
                writer.write(data)
        writer.close()

    ports = take_ports(2)
    server = await asyncio.start_server(serve, "127.0.0.1", ports[1])
    async with Wire(*ports) as wire:
        yield wire
    server.close()
    for writer in opened:
        writer.close()


async def held_back(reader: asyncio.StreamReader) -> bool:
    try:
        await asyncio.wait_for(reader.readexactly(1), QUIET_S)
    except asyncio.TimeoutError:
        return True
    return False


@pytest.mark.parametrize(("there", "back"), [(True, False), (False, True), (True, True)])
def test_a_silent_wire_holds_data_back_until_it_is_mended(there: bool, back: bool) -> None:
    async def main() -> None:
        async with wired() as wire:
            reader, writer = await asyncio.open_connection("127.0.0.1", wire.port)
            writer.write(b"1")
            assert await asyncio.wait_for(reader.readexactly(1), TIMEOUT_S) == b"1"
            wire.silence(there=there, back=back)
            writer.write(b"2")
            assert await held_back(reader)
            assert wire.sent == (1 if there else 2)
            await wire.mend()
            assert await asyncio.wait_for(reader.readexactly(1), TIMEOUT_S) == b"2"
            writer.close()

    asyncio.run(main())


def test_a_cut_resets_connections_and_a_refusing_wire_takes_no_new_ones() -> None:
    async def main() -> None:
        async with wired() as wire:
            for refuse in (False, True):
                reader, writer = await asyncio.open_connection("127.0.0.1", wire.port)
                writer.write(b"1")
                await reader.readexactly(1)
                if refuse:
                    await wire.refuse()
                else:
                    wire.cut()
                with pytest.raises(ConnectionResetError):
                    await asyncio.wait_for(reader.readexactly(1), TIMEOUT_S)
                writer.close()
            with pytest.raises(ConnectionRefusedError):
                await asyncio.open_connection("127.0.0.1", wire.port)
            await wire.mend()
            _, writer = await asyncio.open_connection("127.0.0.1", wire.port)
            writer.close()

    asyncio.run(main())


def test_a_wire_that_is_cut_after_some_bytes_delivers_those() -> None:
    async def main() -> None:
        async with wired() as wire:
            reader, writer = await asyncio.open_connection("127.0.0.1", wire.port)
            wire.cut_after(3)
            writer.write(b"abc")
            with pytest.raises(ConnectionResetError):
                while True:
                    assert await asyncio.wait_for(reader.readexactly(1), TIMEOUT_S)
            assert wire.sent == 3
            writer.close()

    asyncio.run(main())


def test_certificates_are_of_their_authority(tmp_path: Path) -> None:
    authority, other = Authority(tmp_path / "one"), Authority(tmp_path / "other")
    identity = authority.issue("server")
    assert os.stat(identity.key).st_mode & 0o777 == 0o600
    server = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=authority.ca)
    server.load_cert_chain(identity.certificate, identity.key)
    server.verify_mode = ssl.CERT_REQUIRED

    async def connect(context: ssl.SSLContext) -> bytes:
        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.write(b"hello")
            await writer.drain()
            writer.close()

        listening = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=server)
        port = listening.sockets[0].getsockname()[1]
        try:
            reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=context)
            try:
                return await asyncio.wait_for(reader.read(), TIMEOUT_S)
            finally:
                writer.close()
        finally:
            listening.close()

    mine = authority.issue("client", common_name="qpidha")
    assert asyncio.run(connect(authority.client_context(mine))) == b"hello"
    with pytest.raises(ssl.SSLCertVerificationError):
        asyncio.run(connect(other.client_context(other.issue("client"))))
    with contextlib.suppress(OSError):  # With TLS 1.3 a client learns of it when it reads.
        assert not asyncio.run(connect(authority.client_context()))
