"""Every transport keeps the contract of `qpidha.interfaces.Link`: in memory, plain and TLS, on both loops.

Method: the same statements for each of them, over real sockets where there are any.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest
from transport_cases import HERE, TIMEOUT_S, Factory, Maker, memory, pair, plain, run, tls, until

from qpidha.errors import LinkClosed
from qpidha.interfaces import Link, LinkHandler, Transport

BIG = 3 * 1024 * 1024
Run = Callable[[Coroutine[Any, Any, None]], None]
Pair = tuple[Transport, Transport]

CASES = [
    pytest.param((memory, False), id="memory"),
    pytest.param((plain, False), id="tcp"),
    pytest.param((tls, False), id="tls"),
    pytest.param((plain, True), id="tcp-uvloop"),
    pytest.param((tls, True), id="tls-uvloop"),
]


@pytest.fixture(params=CASES)
def case(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[Transport, Transport, Run]:
    maker: Maker
    maker, fast = request.param
    if fast:
        pytest.importorskip("uvloop")
    server, client = maker(tmp_path)
    return server, client, lambda main: run(main, uvloop=fast)


def test_bytes_arrive_in_order_in_both_directions(case: tuple[Transport, Transport, Run]) -> None:
    server, client, execute = case

    async def main() -> None:
        async with pair(server, client) as (near, far):
            chunks: list[Any] = [b"a" * 10, bytearray(b"b" * 50_000), memoryview(b"c" * BIG), b"", b"d"]
            for _ in range(3):
                near.link.write(chunks)
                far.link.write([b"answer"])
            expected = b"".join(bytes(c) for c in chunks) * 3
            assert await far.has(len(expected)) == expected
            assert await near.has(18) == b"answer" * 3

    execute(main())


def test_many_small_writes_of_one_turn_arrive_joined(case: tuple[Transport, Transport, Run]) -> None:
    server, client, execute = case

    async def main() -> None:
        async with pair(server, client) as (near, far):
            for i in range(1000):
                near.link.write([i.to_bytes(2, "big")])
            assert near.link.buffered == 2000
            assert await far.has(2000) == b"".join(i.to_bytes(2, "big") for i in range(1000))
            assert len(far.deliveries) < 10
            assert near.link.buffered == 0

    execute(main())


def test_the_factory_runs_before_any_byte_and_may_write(case: tuple[Transport, Transport, Run]) -> None:
    server, client, execute = case

    async def main() -> None:
        class Greeter(Factory):
            def __call__(self, link: Link) -> Any:
                link.write([b"hello"])
                return super().__call__(link)

        near, far = Greeter(), Greeter()
        listener = await server.listen(HERE, far)
        link = await client.connect(listener.address, near, timeout_s=TIMEOUT_S)
        assert near.made[0].link is link
        assert await (await far.first()).has(5) == b"hello"
        assert await near.made[0].has(5) == b"hello"
        link.close()
        assert await near.made[0].ended() is None
        assert await far.made[0].ended() is None
        await listener.close()

    execute(main())


@pytest.mark.parametrize("closer", ["near", "far"])
def test_close_sends_everything_first_and_ends_both_in_order(
    case: tuple[Transport, Transport, Run], closer: str
) -> None:
    server, client, execute = case

    async def main() -> None:
        async with pair(server, client) as (near, far):
            one, other = (near, far) if closer == "near" else (far, near)
            one.link.write([b"x" * BIG])
            one.link.close()
            one.link.close()
            one.link.write([b"too late"])
            assert await one.ended() is None
            assert await other.ended() is None
            assert bytes(other.data) == b"x" * BIG

    execute(main())


def test_abort_ends_later_with_an_error_and_forgets(case: tuple[Transport, Transport, Run]) -> None:
    server, client, execute = case

    async def main() -> None:
        async with pair(server, client) as (near, far):
            near.link.write([b"x"])
            near.link.abort()
            near.link.abort()
            near.link.write([b"y"])
            assert near.ends == []  # Not from within the call.
            assert near.link.buffered == 0
            assert isinstance(await near.ended(), LinkClosed)
            await far.ended()
            far.link.write([b"nobody listens"])
            far.link.close()
            far.link.abort()
            assert far.link.buffered == 0

    execute(main())


def test_an_error_of_the_handler_ends_its_link_only(case: tuple[Transport, Transport, Run]) -> None:
    server, client, execute = case

    async def main() -> None:
        async with pair(server, client) as (near, far):
            near.fail_with = ValueError("not a frame")
            far.link.write([b"z" * 100_000])
            assert await near.ended() is near.fail_with
            await far.ended()

    execute(main())


def test_an_error_in_get_buffer_ends_the_link(case: tuple[Transport, Transport, Run]) -> None:
    server, client, execute = case

    async def main() -> None:
        async with pair(server, client) as (near, far):
            error = RuntimeError("no room")

            def refuse(size_hint: int) -> memoryview:
                raise error

            near.get_buffer = refuse  # type: ignore[method-assign]
            far.link.write([b"z"])
            assert await near.ended() is error

    execute(main())


def test_a_handler_may_abort_or_close_from_within_received(case: tuple[Transport, Transport, Run]) -> None:
    server, client, execute = case

    async def main() -> None:
        async with pair(server, client) as (near, far):
            near.received = lambda nbytes: near.link.abort()  # type: ignore[method-assign]
            far.link.write([b"z" * 200_000])
            assert isinstance(await near.ended(), LinkClosed)
            await far.ended()

    execute(main())


def test_drained_comes_once_the_peer_has_caught_up(case: tuple[Transport, Transport, Run]) -> None:
    server, client, execute = case

    async def main() -> None:
        async with pair(server, client) as (near, far):
            total = 64 * 1024 * 1024  # More than any socket buffer takes.
            near.link.write([memoryview(bytes(1024 * 1024))] * 64)
            assert near.link.buffered > 1024 * 1024
            await until(lambda: near.drains > 0)
            assert near.link.buffered <= 256 * 1024
            await until(lambda: sum(far.deliveries) == total)

    execute(main())


def test_an_error_in_drained_ends_the_link(case: tuple[Transport, Transport, Run]) -> None:
    server, client, execute = case

    async def main() -> None:
        async with pair(server, client) as (near, _far):
            error = RuntimeError("drained failed")

            def fail() -> None:
                raise error

            near.drained = fail  # type: ignore[method-assign]
            near.link.write([bytes(16 * 1024 * 1024)])
            assert await near.ended() is error

    execute(main())


def test_nobody_answers(case: tuple[Transport, Transport, Run]) -> None:
    server, client, execute = case

    async def main() -> None:
        factory = Factory()
        listener = await server.listen(HERE, factory)
        await listener.close()
        await asyncio.sleep(0.05)
        with pytest.raises(LinkClosed, match="cannot connect to"):
            await client.connect(listener.address, factory, timeout_s=1)
        assert factory.made == []

    execute(main())


def test_closing_the_listener_leaves_links_alone(case: tuple[Transport, Transport, Run]) -> None:
    server, client, execute = case

    async def main() -> None:
        near, far = Factory(), Factory()
        listener = await server.listen(HERE, far)
        await client.connect(listener.address, near, timeout_s=TIMEOUT_S)
        await far.first()
        await asyncio.wait_for(listener.close(), 1)
        near.made[0].link.write([b"still here"])
        assert await far.made[0].has(10) == b"still here"
        near.made[0].link.close()
        assert await far.made[0].ended() is None
        assert await near.made[0].ended() is None

    execute(main())


def test_an_address_in_use_is_an_os_error(case: tuple[Transport, Transport, Run]) -> None:
    server, _client, execute = case

    async def main() -> None:
        listener = await server.listen(HERE, Factory())
        with pytest.raises(OSError, match="in use"):
            await server.listen(listener.address, Factory())
        await listener.close()

    execute(main())


def test_a_factory_that_fails_in_connect_raises_there(case: tuple[Transport, Transport, Run]) -> None:
    server, client, execute = case

    async def main() -> None:
        far = Factory()
        listener = await server.listen(HERE, far)

        def refuse(link: Link) -> LinkHandler:
            raise ValueError("no handler today")

        with pytest.raises(ValueError, match="no handler today"):
            await client.connect(listener.address, refuse, timeout_s=TIMEOUT_S)
        await asyncio.sleep(0.02)
        for made in far.made:
            await made.ended()
        await listener.close()

    execute(main())


def test_a_factory_that_fails_in_listen_closes_the_link_and_tells_the_loop(
    case: tuple[Transport, Transport, Run],
) -> None:
    server, client, execute = case
    told: list[dict[str, Any]] = []

    async def main() -> None:
        asyncio.get_running_loop().set_exception_handler(lambda loop, context: told.append(context))

        def refuse(link: Link) -> LinkHandler:
            raise ValueError("no handler today")

        near = Factory()
        listener = await server.listen(HERE, refuse)
        await client.connect(listener.address, near, timeout_s=TIMEOUT_S)
        await (await near.first()).ended()
        await listener.close()

    execute(main())
    assert [str(context["exception"]) for context in told] == ["no handler today"]


def test_an_error_in_closed_is_told_to_the_loop(case: tuple[Transport, Transport, Run]) -> None:
    server, client, execute = case
    told: list[dict[str, Any]] = []

    async def main() -> None:
        asyncio.get_running_loop().set_exception_handler(lambda loop, context: told.append(context))
        async with pair(server, client) as (near, _far):
            remember = near.closed

            def fail(error: Exception | None) -> None:
                remember(error)
                raise ValueError("too late to matter")

            near.closed = fail  # type: ignore[method-assign]
            near.link.abort()
            await near.ended()

    execute(main())
    assert [str(context["exception"]) for context in told] == ["too late to matter"]
