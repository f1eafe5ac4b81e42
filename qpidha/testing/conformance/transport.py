"""The rules of `qpidha.interfaces.Transport` and `Link`: what a node relies on when it talks to another one."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Any

from qpidha.errors import LinkClosed
from qpidha.interfaces import Link, LinkHandler
from qpidha.testing.conformance.check import Check, Rules, Runner
from qpidha.testing.conformance.links import HERE, TIMEOUT_S, Factory, Recorder
from qpidha.testing.conformance.transportbench import MakeTransports, TransportBench, noise
from qpidha.types import Address

MIB = 1024 * 1024
BIG = 3 * MIB

RULES = Rules[TransportBench]("Transport")


def transport_checks(
    make: MakeTransports,
    *,
    address: Address = HERE,
    runner: Runner = asyncio.run,
    without: Iterable[str] = (),
) -> list[Check[TransportBench]]:
    """Return one check for each rule of `Transport`, `Listener`, `Link` and the calls of a `LinkHandler`.

    Args:
        make: The transports of two nodes.
        address: Where to listen; port 0 asks for one that is free.
        runner: Runs the check, in the event loop that is meant: `asyncio.run`, ``uvloop.run``.
        without: Names of checks to leave out.
    """
    return RULES.checks(
        lambda **trial: TransportBench(make, address, **trial), runner=runner, without=without
    )


# --- bytes -----------------------------------------------------------------------------------------


@RULES
async def bytes_arrive_in_order_in_both_directions(bench: TransportBench) -> None:
    """Every byte that was written arrives once, in order, in both directions at the same time."""
    async with bench.pair() as (near, far):
        chunks: list[Any] = [noise(10), bytearray(noise(50_000)), memoryview(noise(BIG)), b"", b"d"]
        for n in range(3):
            near.link.write(chunks)
            far.link.write([b"answer %d" % n])
        bench.did("write 3 MiB three times, and answers")
        await bench.arrives(far, b"".join(bytes(c) for c in chunks) * 3)
        await bench.arrives(near, b"answer 0answer 1answer 2")


@RULES
async def small_writes_keep_their_order(bench: TransportBench) -> None:
    """Many small writes, in one turn of the loop and in several, arrive in the order of the writes."""
    async with bench.pair() as (near, far):
        for turn in range(20):
            for i in range(100):
                near.link.write([b"%d." % turn, (100 * turn + i).to_bytes(2, "big")])
            await asyncio.sleep(0)
        bench.did("2000 small writes in 20 turns")
        expected = b"".join(b"%d." % (i // 100) + i.to_bytes(2, "big") for i in range(2000))
        await bench.arrives(far, expected)
        await bench.until(
            lambda: near.link.buffered == 0, "nothing buffered once it arrived", lambda: near.link.buffered
        )


@RULES
async def the_view_of_the_handler_is_respected(bench: TransportBench) -> None:
    """No more bytes are put into the view of get_buffer than fit, and received is called for each."""
    async with bench.pair(buffer_bytes=7) as (near, far):
        data = noise(20_000)
        near.link.write([data])
        await bench.arrives(far, data)
        bench.true(max(far.deliveries) <= 7, "at most 7 bytes at once", max(far.deliveries))


@RULES
async def links_do_not_mix(bench: TransportBench) -> None:
    """Each link is a separate stream: bytes of one never arrive on another."""
    near, far = Factory(), Factory()
    listener = await bench.server.listen(bench.address, far)
    for _ in range(3):
        await bench.client.connect(listener.address, near, timeout_s=TIMEOUT_S)
    await bench.until(lambda: len(far.made) == 3, "3 links accepted", lambda: len(far.made))
    for part in range(5):
        for n, end in enumerate(near.made):
            end.link.write([bytes([n]), noise(100_000, 10 * n + part)])
    bench.did("write 500 kB on each of three links")
    expected = {
        n: b"".join(bytes([n]) + noise(100_000, 10 * n + part) for part in range(5)) for n in range(3)
    }
    await bench.until(lambda: all(end.data for end in far.made), "bytes on each", lambda: "none on one")
    for end in far.made:
        await bench.arrives(end, expected.get(end.data[0], b""))
    await listener.close()
    for end in near.made:
        end.link.close()
    for end in near.made + far.made:
        bench.same("the end of a link that was closed", None, await bench.ends(end))


# --- the life of a link ----------------------------------------------------------------------------


@RULES
async def the_factory_runs_before_any_byte_and_may_write(bench: TransportBench) -> None:
    """The factory is called once for each link, before any byte is delivered, and may write."""

    class Greeter(Factory):
        def __call__(self, link: Link) -> Recorder:
            link.write([b"hello"])
            return super().__call__(link)

    near, far = Greeter(), Greeter()
    listener = await bench.server.listen(bench.address, far)
    link = await bench.client.connect(listener.address, near, timeout_s=TIMEOUT_S)
    bench.true(near.made[0].link is link, "the link that the factory got", link)
    await bench.until(lambda: bool(far.made), "a link accepted", lambda: "none")
    await bench.arrives(far.made[0], b"hello")
    await bench.arrives(near.made[0], b"hello")
    link.close()
    bench.same("ends", (None, None), (await bench.ends(near.made[0]), await bench.ends(far.made[0])))
    bench.same("links made", (1, 1), (len(near.made), len(far.made)))
    await listener.close()


@RULES
async def close_sends_everything_first_and_ends_both_in_order(bench: TransportBench) -> None:
    """Close sends what is buffered, then ends both ends with None; what is written later is not sent."""
    for closer in (0, 1):
        async with bench.pair() as ends:
            one, other = ends[closer], ends[1 - closer]
            data = noise(BIG)
            one.link.write([data])
            one.link.close()
            one.link.close()
            one.link.write([b"too late"])
            bench.did("write 3 MiB; close twice; write")
            bench.same("the end that closed", None, await bench.ends(one))
            bench.same("the other end", None, await bench.ends(other))
            await bench.arrives(other, data)


@RULES
async def abort_ends_later_with_an_error_and_forgets(bench: TransportBench) -> None:
    """Abort closes at once, forgets what is buffered, and tells closed in a later turn, with LinkClosed."""
    async with bench.pair() as (near, far):
        near.link.write([b"x"])
        near.link.abort()
        near.link.abort()
        near.link.write([b"y"])
        bench.did("write; abort twice; write")
        bench.same("closed from within abort", [], near.ends)
        bench.same("buffered", 0, near.link.buffered)
        error = await bench.ends(near)
        bench.true(isinstance(error, LinkClosed), "LinkClosed", repr(error))
        await bench.ends(far)
        far.link.write([b"nobody listens"])
        far.link.close()
        far.link.abort()
        bench.same("buffered after closed", 0, far.link.buffered)


@RULES
async def an_error_of_the_handler_ends_its_link_only(bench: TransportBench) -> None:
    """An exception from received, get_buffer or drained closes that link with it, and harms no other link."""
    async with bench.pair() as (other, other_far):
        for where in ("received", "get_buffer", "drained"):
            async with bench.pair() as (near, far):
                error = ValueError(f"from {where}")

                def fail(*_: object, error: ValueError = error) -> Any:
                    raise error

                setattr(near, where, fail)
                bench.did(f"{where} raises")
                if where == "drained":
                    near.link.write([bytes(16 * MIB)])
                else:
                    far.link.write([noise(100_000)])
                seen = await bench.ends(near)
                bench.true(seen is error, f"closed with {error!r}", repr(seen))
                if where != "drained":
                    await bench.ends(far)
        other.link.write([b"unharmed"])
        await bench.arrives(other_far, b"unharmed")


@RULES
async def a_handler_may_abort_from_within_received(bench: TransportBench) -> None:
    """Received may abort its link: closed follows in a later turn, and no call of the handler before it."""
    async with bench.pair() as (near, far):
        near.reacts = near.link.abort  # type: ignore[method-assign]
        far.link.write([noise(200_000)])
        error = await bench.ends(near)
        bench.true(isinstance(error, LinkClosed), "LinkClosed", repr(error))
        bench.same("deliveries", 1, len(near.deliveries))
        await bench.ends(far)


@RULES
async def drained_comes_once_the_peer_has_caught_up(bench: TransportBench) -> None:
    """Write never blocks, buffered is honest, and drained is called when much waited and little is left."""
    async with bench.pair() as (near, far):
        near.link.write([memoryview(bytes(MIB))] * 64)  # More than any socket buffer takes.
        bench.did("write 64 MiB")
        bench.true(near.link.buffered > MIB, "most of 64 MiB buffered", near.link.buffered)
        await bench.until(lambda: near.drains > 0, "drained", lambda: f"{near.link.buffered} buffered")
        bench.true(near.link.buffered <= MIB, "little buffered in drained", near.link.buffered)
        total = 64 * MIB
        await bench.until(lambda: sum(far.deliveries) >= total, f"{total}", lambda: sum(far.deliveries))
        bench.same("bytes", total, sum(far.deliveries))


@RULES
async def an_error_in_closed_is_told_to_the_loop(bench: TransportBench) -> None:
    """An exception from closed goes to the event loop's exception handler."""
    async with bench.pair() as (near, _far):
        remember = near.closed

        def fail(error: Exception | None) -> None:
            remember(error)
            raise ValueError("too late to matter")

        near.closed = fail  # type: ignore[method-assign]
        near.link.abort()
        await bench.ends(near)
    bench.reported_only("too late to matter")


# --- opening and listening -------------------------------------------------------------------------


@RULES
async def nobody_answers(bench: TransportBench) -> None:
    """Connect raises LinkClosed if no transport listens there, and the factory is not called."""
    factory = Factory()
    listener = await bench.server.listen(bench.address, factory)
    await listener.close()
    await asyncio.sleep(0.05)
    with bench.raises(LinkClosed, "connect after the listener was closed"):
        await bench.client.connect(listener.address, factory, timeout_s=1)
    bench.same("handlers made", 0, len(factory.made))


@RULES
async def only_a_machine_without_a_listener_refuses(bench: TransportBench) -> None:
    """Refuses, where a transport has it, is true exactly where nothing listens, and leaves no link behind."""
    refuses = getattr(bench.client, "refuses", None)
    if refuses is None:
        bench.did("the transport does not ask machines")
        return
    far = Factory()
    listener = await bench.server.listen(bench.address, far)
    bench.same(
        "refused while there is a listener", False, await refuses(listener.address, timeout_s=TIMEOUT_S)
    )
    for end in far.made:
        await bench.ends(end)
    await listener.close()
    await asyncio.sleep(0.05)
    bench.same("refused after it was closed", True, await refuses(listener.address, timeout_s=TIMEOUT_S))


@RULES
async def closing_the_listener_leaves_links_alone(bench: TransportBench) -> None:
    """Close of a listener ends soon, also with links open, and these go on."""
    near, far = Factory(), Factory()
    listener = await bench.server.listen(bench.address, far)
    await bench.client.connect(listener.address, near, timeout_s=TIMEOUT_S)
    await bench.until(lambda: bool(far.made), "a link accepted", lambda: "none")
    bench.did("close the listener")
    await asyncio.wait_for(listener.close(), TIMEOUT_S)
    near.made[0].link.write([b"still here"])
    await bench.arrives(far.made[0], b"still here")
    near.made[0].link.close()
    bench.same("ends", (None, None), (await bench.ends(far.made[0]), await bench.ends(near.made[0])))


@RULES
async def an_address_in_use_is_an_os_error(bench: TransportBench) -> None:
    """Listen raises OSError if the address cannot be bound."""
    listener = await bench.server.listen(bench.address, Factory())
    with bench.raises(OSError, "listen at the same address"):
        await bench.server.listen(listener.address, Factory())
    await listener.close()


@RULES
async def a_factory_that_fails_in_connect_raises_there(bench: TransportBench) -> None:
    """An exception of the factory comes out of connect, and the peer's end is closed."""
    far = Factory()
    listener = await bench.server.listen(bench.address, far)

    def refuse(link: Link) -> LinkHandler:
        raise ValueError("no handler today")

    with bench.raises(ValueError, "connect with a factory that raises"):
        await bench.client.connect(listener.address, refuse, timeout_s=TIMEOUT_S)
    await asyncio.sleep(0.02)
    for made in far.made:
        await bench.ends(made)
    await listener.close()


@RULES
async def a_factory_that_fails_in_listen_closes_the_link_and_tells_the_loop(bench: TransportBench) -> None:
    """An exception of the listener's factory closes that link, and goes to the loop's exception handler."""

    def refuse(link: Link) -> LinkHandler:
        raise ValueError("no handler today")

    near = Factory()
    listener = await bench.server.listen(bench.address, refuse)
    await bench.client.connect(listener.address, near, timeout_s=TIMEOUT_S)
    await bench.until(lambda: bool(near.made), "a link", lambda: "none")
    await bench.ends(near.made[0])
    await listener.close()
    bench.reported_only("no handler today")
