"""Every transport (memory, plain TCP, TLS) keeps every rule of `Transport` and `Link`, on asyncio and on uvloop."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
import uvloop

from qpidha.testing import conformance
from qpidha.testing.conformance import Check
from qpidha.testing.conformance.links import pair
from qpidha.testing.conformance.transport import MakeTransports
from tests.support.transports import memory, plain, run, tls


@pytest.mark.parametrize("check", conformance.transport_checks(memory), ids=str)
def test_memory(check: Check) -> None:
    check()


@pytest.mark.parametrize("check", conformance.transport_checks(plain), ids=str)
def test_tcp(check: Check) -> None:
    check()


@pytest.mark.parametrize("check", conformance.transport_checks(tls), ids=str)
def test_tls(check: Check) -> None:
    check()


@pytest.mark.parametrize("check", conformance.transport_checks(plain, runner=uvloop.run), ids=str)
def test_tcp_on_uvloop(check: Check) -> None:
    check()


@pytest.mark.parametrize("check", conformance.transport_checks(tls, runner=uvloop.run), ids=str)
def test_tls_on_uvloop(check: Check) -> None:
    check()


@pytest.mark.parametrize("fast", [False, True])
@pytest.mark.parametrize("make", [memory, plain, tls])
def test_small_chunks_of_one_write_arrive_joined(make: MakeTransports, fast: bool, tmp_path: Path) -> None:
    """Not a rule of the interface, but the speed of these transports depends on it."""

    async def main() -> None:
        async with pair(*make(tmp_path)) as (near, far):
            numbers = [i.to_bytes(2, "big") for i in range(1000)]
            near.link.write(numbers)
            assert await far.has(2000) == b"".join(numbers)
            assert len(far.deliveries) < 10

    (uvloop.run if fast else run)(main())


def test_a_connection_without_a_listener_is_an_error(tmp_path: Path) -> None:
    from qpidha.errors import LinkClosed
    from qpidha.testing.conformance.links import HERE, Factory

    async def main() -> None:
        for make in (memory, plain):
            server, client = make(tmp_path)
            listener = await server.listen(HERE, Factory())
            with pytest.raises(OSError, match="in use"):
                await server.listen(listener.address, Factory())
            await listener.close()
            with pytest.raises(LinkClosed, match="cannot connect to"):
                await client.connect(listener.address, Factory(), timeout_s=1)

    asyncio.run(main())
