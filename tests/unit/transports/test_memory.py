"""The controls of the network in memory work as documented."""

from __future__ import annotations

import pytest

from qpidha.errors import LinkClosed
from qpidha.testing.conformance.links import HERE, Factory, pair, until
from qpidha.transports import MemoryNetwork, MemoryTransport
from tests.support.transports import run


@pytest.mark.parametrize("limit", [1, 2, 7, None])
def test_deliveries_are_limited_in_size(limit: int | None) -> None:
    async def main() -> None:
        network = MemoryNetwork(delivery_bytes_max=limit)
        async with pair(MemoryTransport(network), MemoryTransport(network)) as (near, far):
            near.link.write([b"abc", b"defgh", b"ij"])
            assert await far.has(10) == b"abcdefghij"
            assert max(far.deliveries) == (limit or 10)

    run(main())


def test_a_paused_reader_makes_buffered_grow() -> None:
    async def main() -> None:
        network = MemoryNetwork()
        server = MemoryTransport(network)
        async with pair(server, MemoryTransport(network)) as (near, far):
            network.pause(server.addresses[0])
            near.link.write([bytes(1_000_000)])
            far.link.write([b"the other direction flows"])
            await near.has(25)
            assert near.link.buffered == 1_000_000
            assert near.drains == 0
            network.resume(server.addresses[0])
            await far.has(1_000_000)
            await until(lambda: near.drains == 1)
            assert near.link.buffered == 0

    run(main())


def test_cut_breaks_the_links_of_one_address_in_both_directions() -> None:
    async def main() -> None:
        network = MemoryNetwork()
        transports = [MemoryTransport(network) for _ in range(3)]
        factories = [Factory() for _ in transports]
        a, b, c = [(await t.listen(HERE, f)).address for t, f in zip(transports, factories, strict=True)]
        outgoing, incoming, others = Factory(), Factory(), Factory()
        await transports[0].connect(b, outgoing, timeout_s=1)
        await transports[2].connect(a, incoming, timeout_s=1)
        await transports[1].connect(c, others, timeout_s=1)
        network.cut(a)
        for cut in (outgoing.made[0], incoming.made[0], factories[0].made[0], factories[1].made[0]):
            assert isinstance(await cut.ended(), LinkClosed)
        assert others.made[0].ends == []
        assert len(network.links) == 2
        others.made[0].link.close()
        await others.made[0].ended()
        assert network.links == []

    run(main())


def test_a_blocked_address_is_unreachable_in_both_directions() -> None:
    async def main() -> None:
        network = MemoryNetwork()
        server, client = MemoryTransport(network), MemoryTransport(network)
        address = (await server.listen(HERE, Factory())).address
        other = (await client.listen(HERE, Factory())).address
        network.block(address)
        with pytest.raises(LinkClosed):
            await client.connect(address, Factory(), timeout_s=1)
        with pytest.raises(LinkClosed):
            await server.connect(other, Factory(), timeout_s=1)
        network.unblock(address)
        near = Factory()
        link = await client.connect(address, near, timeout_s=1)
        link.abort()
        await near.made[0].ended()

    run(main())


def test_identities_are_checked_like_certificates() -> None:
    async def main() -> None:
        network = MemoryNetwork()
        server, client = MemoryTransport(network, identity="b"), MemoryTransport(network, identity="a")
        async with pair(server, client, expect="b") as (near, far):
            assert near.link.peer.identity == {"b"}
            assert far.link.peer.identity == {"a"}
            assert near.link.peer.local
        address = (await server.listen(HERE, Factory())).address
        with pytest.raises(LinkClosed, match="expected node 'c'"):
            await client.connect(address, Factory(), timeout_s=1, expect="c")

    run(main())
