"""All links of one node: numbered for the core, and each end of one told to the core, then to the owner or the log."""

from __future__ import annotations

import errno
import os
import socket
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest

from qpidha.core.refusals import OTHER_ADDRESS
from qpidha.errors import AddressUnavailable, LinkClosed
from qpidha.events import LinkClosed as LinkClosedEvent
from qpidha.events import LinkFromPeerFailed, NodeEvent, ProbeFailed
from qpidha.interfaces import Link, LinkFactory, LinkHandler
from qpidha.node.links import Links
from qpidha.node.peer import Peer
from qpidha.settings import Settings
from qpidha.types import Address
from qpidha.wire import codec
from qpidha.wire.events import Frame, Hello, Refused
from tests.support.node_parts import CLUSTER, Seat, Wire, info, run

HERE = ("127.0.0.1", 7000)


class Listening:
    """What the transport gives for a bound address."""

    def __init__(self, address: Address) -> None:
        self.address = address
        self.closed = False

    async def close(self) -> None:
        self.closed = True


class Network:
    """A transport whose links are made by the test."""

    def __init__(self) -> None:
        self.accept: LinkFactory | None = None
        self.listening: Listening | None = None
        self.asked: list[tuple[Address, float, str | None]] = []
        self.error: Exception | None = None
        self.dead: set[Address] = set()
        self.wire = Wire("10.0.0.2:5671")
        self.handler: LinkHandler | None = None

    async def listen(self, address: Address, on_link: LinkFactory) -> Listening:
        self.accept, self.listening = on_link, Listening(("127.0.0.1", 7001))
        return self.listening

    async def connect(
        self, address: Address, on_link: LinkFactory, *, timeout_s: float, expect: str | None = None
    ) -> Link:
        self.asked.append((address, timeout_s, expect))
        if self.error is not None:
            raise self.error
        if address in self.dead:
            raise LinkClosed("connection refused")
        self.handler = on_link(self.wire)
        return self.wire


class Owner:
    """Who asked for a link."""

    def __init__(self) -> None:
        self.opens = 0
        self.ends: list[tuple[str | None, str]] = []

    def opened(self) -> None:
        self.opens += 1

    def ended(self, peer: Peer, why: str) -> None:
        self.ends.append((peer.to, why))


class Site:
    """The links of node a."""

    def __init__(self, settings: Settings | None = None, transport: Any = None) -> None:
        self.seat = Seat(settings).enter()
        self.network = transport or Network()
        self.lost = 0
        self.links = Links(self.seat.runtime, self.network, self._lost)
        self.owner = Owner()

    def _lost(self) -> None:
        self.lost += 1

    async def accepted(self, wire: Wire | None = None) -> Peer:
        """A peer has connected."""
        if self.network.accept is None:
            await self.links.listen([HERE])
        made = self.network.accept(wire or Wire("10.0.0.9:4711"))
        assert isinstance(made, Peer)
        return made

    async def welcomed(self) -> Peer:
        """Node a is primary, and its backup b has a link to it."""
        self.seat.lead("b")
        peer = await self.accepted()
        hear(peer, hello("b"))
        peer.welcomed = True
        return peer

    async def connected(self) -> Peer:
        """A backup has connected to primary b."""
        await self.links.connect("b", info("b"), self.owner)
        assert isinstance(self.network.handler, Peer)
        return self.network.handler

    @property
    def events(self) -> list[NodeEvent]:
        """What was told of links."""
        kinds = (LinkClosedEvent, LinkFromPeerFailed)
        return [event for event in self.seat.told if isinstance(event, kinds)]


def hello(node: str) -> bytes:
    said = Hello(
        version_min=1, version_max=1, cluster=CLUSTER, node=node, boot=Seat().runtime.boot, wanted="a"
    )
    return b"".join(codec.encode(Frame(0, 0, said)))


def hear(peer: Peer, data: bytes) -> None:
    room = peer.get_buffer(len(data))
    room[: len(data)] = data
    peer.received(len(data))


def test_it_says_where_other_nodes_connect_once_it_listens() -> None:
    async def main() -> None:
        site = Site()
        assert site.links.addresses == ()
        assert await site.links.listen([HERE]) == (("127.0.0.1", 7001),) == site.links.addresses

    run(main())


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (OSError(errno.EADDRINUSE, "error while attempting to bind"), os.strerror(errno.EADDRINUSE)),
        (socket.gaierror(socket.EAI_NONAME, "Name or service not known"), "Name or service not known"),
        (OSError("memory: taken"), "memory: taken"),
    ],
)
def test_an_address_that_is_taken_is_the_callers_error(error: OSError, reason: str) -> None:
    class Taken(Network):
        async def listen(self, address: Address, on_link: LinkFactory) -> Listening:
            raise error

    async def main() -> None:
        site = Site(transport=Taken())
        with pytest.raises(AddressUnavailable) as found:
            await site.links.listen([HERE])
        assert str(found.value).startswith(f"node 'a' cannot listen on 127.0.0.1:7000: {reason}; ")
        assert found.value.errno == error.errno
        assert site.links.addresses == ()
        await site.links.close()

    run(main())


def test_each_link_has_a_number_that_is_never_used_again() -> None:
    async def main() -> None:
        site = Site()
        first, second = await site.accepted(), await site.accepted()
        first.closed(None)
        third = await site.accepted()
        assert [peer.number for peer in (first, second, third)] == [1, 2, 3]
        assert list(site.links.peers) == [2, 3]

    run(main())


def test_the_core_is_told_who_the_peer_proved_to_be() -> None:
    async def main() -> None:
        site = Site()
        peer = await site.accepted(Wire("10.0.0.9:1", frozenset({"b"})))
        assert site.seat.core.state.identities == {peer.number: frozenset({"b"})}
        peer.closed(None)
        assert site.seat.core.state.identities == {}

    run(main())


def test_beyond_the_limit_of_links_without_a_handshake_more_are_closed() -> None:
    async def main() -> None:
        site, wires = Site(Settings(links_unauthenticated_max=2)), [Wire() for _ in range(4)]
        peers = [await site.accepted(wire) for wire in wires[:3]]
        assert [wire.closed for wire in wires[:3]] == [False, False, True]
        assert peers[2].why == "too many links before their handshake"
        for peer in peers[1:]:
            peer.closed(None)
        peers[0].welcomed = True
        await site.accepted(wires[3])
        assert not wires[3].closed, "one that is welcomed does not count"

    run(main())


def test_one_link_too_many_is_closed_although_the_core_never_knew_it() -> None:
    async def main() -> None:
        site = Site(Settings(links_unauthenticated_max=1))
        await site.accepted()
        refused = await site.accepted(Wire("10.0.0.9:1", frozenset({"b"})))
        assert site.seat.core.state.identities == {}
        refused.closed(None)
        assert site.events == [LinkFromPeerFailed("10.0.0.9", "too many links before their handshake")]

    run(main())


def test_a_link_to_the_primary_is_asked_for_as_what_it_published() -> None:
    async def main() -> None:
        site = Site()
        site.seat.see(3, "b", "a", "b")
        peer = await site.connected()
        assert site.network.asked == [(info("b").peer, site.seat.runtime.settings.heartbeat_timeout_s, "b")]
        assert (peer.to, site.owner.opens, site.seat.engine.pokes) == ("b", 1, 1)
        assert site.seat.core.follower.link == peer.number, "the core begins its handshake"

    run(main())


def test_the_address_that_answered_is_tried_first_the_next_time() -> None:
    async def main() -> None:
        site = Site()
        first, second = ("10.0.0.1", 1), ("10.1.0.1", 1)
        both = replace(info("b"), peer=first, more=(second,))
        site.network.dead.add(first)
        await site.links.connect("b", both, site.owner)
        assert [at for at, *_ in site.network.asked] == [first, second]
        await site.links.connect("b", both, site.owner)
        assert [at for at, *_ in site.network.asked] == [first, second, second]
        site.network.dead = {second}
        await site.links.connect("b", both, site.owner)
        assert [at for at, *_ in site.network.asked][3:] == [second, first]

    run(main())


def test_a_primary_that_cannot_be_reached_is_the_owners_matter() -> None:
    async def main() -> None:
        site = Site()
        site.network.error = LinkClosed("connection refused")
        with pytest.raises(LinkClosed, match="connection refused"):
            await site.connected()
        assert (site.owner.opens, site.links.peers, site.lost) == (0, {}, 0)

    run(main())


def test_the_owner_is_told_why_its_link_ended_and_the_log_is_not() -> None:
    async def main() -> None:
        site = Site()
        site.seat.see(3, "b", "a", "b")
        (await site.connected()).closed(LinkClosed("10.0.0.2:5671: connection reset"))
        assert site.owner.ends == [("b", "connection reset")], "the address is left out"
        assert site.seat.core.follower.link is None
        assert (site.links.peers, site.links._owners, site.lost, site.events) == ({}, {}, 1, [])

    run(main())


def test_why_this_node_closed_a_link_counts_more_than_how_it_ended() -> None:
    async def main() -> None:
        site = Site()
        site.seat.see(3, "b", "a", "b")
        peer = await site.connected()
        peer.close("another primary is recorded")
        peer.closed(LinkClosed("10.0.0.2:5671: connection reset"))
        assert site.owner.ends == [("b", "another primary is recorded")]

    run(main())


def test_an_end_without_a_reason_is_described_to_the_owner() -> None:
    async def main() -> None:
        site = Site()
        site.seat.see(3, "b", "a", "b")
        (await site.connected()).closed(None)
        ((to, why),) = site.owner.ends
        assert to == "b" and "without a word" in why

    run(main())


def test_the_core_knows_that_a_link_is_gone_before_others_are_told() -> None:
    async def main() -> None:
        site = Site()
        seen: list[object] = []
        links = Links(site.seat.runtime, site.network, lambda: seen.append(site.seat.core.follower.link))
        site.seat.see(3, "b", "a", "b")
        await links.connect("b", info("b"), site.owner)
        assert isinstance(site.network.handler, Peer)
        site.network.handler.closed(None)
        assert seen == [None]

    run(main())


def test_a_port_scan_is_not_worth_a_line() -> None:
    async def main() -> None:
        site = Site()
        (await site.accepted()).closed(None)
        assert (site.events, site.lost) == ([], 1)

    run(main())


def test_a_peer_that_says_something_and_leaves_before_its_handshake_is_reported() -> None:
    async def main() -> None:
        site = Site()
        peer = await site.accepted()
        hear(peer, hello("b")[:5])
        peer.closed(None)
        assert site.events == [LinkFromPeerFailed("10.0.0.9", "before its handshake closed by the other end")]

    run(main())


def test_a_peer_that_uses_another_address_is_not_worth_a_line() -> None:
    async def main() -> None:
        site = Site()
        peer = await site.accepted(Wire("10.0.0.9:1", frozenset({"b"})))
        hear(peer, b"".join(codec.encode(Frame(0, 0, Refused(code=OTHER_ADDRESS, reason="another address")))))
        assert isinstance(peer.link, Wire)
        assert peer.link.closed and peer.link.written == b""
        peer.closed(None)
        assert (site.events, site.lost) == ([], 1)

    run(main())


def test_a_peer_that_refuses_this_node_before_its_hello_is_reported() -> None:
    async def main() -> None:
        site = Site()
        site.seat.lead("b")
        peer = await site.accepted(Wire("10.0.0.9:1", frozenset({"b"})))
        hear(peer, b"".join(codec.encode(Frame(0, 0, Refused(code=16, reason="not now")))))
        peer.closed(None)
        assert len(site.events) == 1

    run(main())


def test_a_peer_with_a_certificate_that_leaves_without_a_word_is_reported() -> None:
    async def main() -> None:
        site = Site()
        (await site.accepted(Wire("10.0.0.9:1", frozenset({"b"})))).closed(None)
        (event,) = site.events
        assert isinstance(event, LinkFromPeerFailed)
        assert "it may refuse this node's certificate" in event.reason

    run(main())


def test_an_error_on_a_link_that_a_peer_opened_is_reported_under_its_name() -> None:
    async def main() -> None:
        site = Site()
        site.seat.lead("b")
        peer = await site.accepted()
        hear(peer, hello("b"))
        peer.closed(LinkClosed("10.0.0.9:4711: connection reset"))
        assert site.events == [LinkFromPeerFailed("node 'b'", "connection reset")]

    run(main())


def test_a_backup_that_leaves_in_good_order_is_an_event_and_no_trouble() -> None:
    async def main() -> None:
        site = Site()
        peer = await site.welcomed()
        peer.closed(None)
        assert site.events == [LinkClosedEvent("node 'b'", "closed by the other end")]
        assert site.seat.runtime.troubles.standing() == []

    run(main())


def test_links_that_end_because_this_node_is_not_primary_any_more_are_no_trouble() -> None:
    """The backups go to the next primary. A trouble would stand until it fades, and `qpidha status` would fail."""

    async def main() -> None:
        site = Site()
        peer = await site.welcomed()
        site.seat.core.primary = None
        peer.why = "generation 2 has another primary"
        peer.closed(None)
        assert site.events == [LinkClosedEvent("node 'b'", "generation 2 has another primary")]
        assert site.seat.runtime.troubles.standing() == []

    run(main())


def test_a_node_that_stops_reports_no_link() -> None:
    async def main() -> None:
        site = Site()
        peer = await site.accepted()
        hear(peer, hello("b")[:5])
        site.seat.core.stop()
        peer.closed(LinkClosed("connection reset"))
        assert site.events == [] and site.lost == 1

    run(main())


def test_closing_ends_the_listener_and_every_link() -> None:
    async def main() -> None:
        site, wires = Site(), [Wire(), Wire()]
        await site.links.close()
        for wire in wires:
            await site.accepted(wire)
        await site.links.close()
        await site.links.close()
        assert site.network.listening.closed and [wire.closed for wire in wires] == [True, True]

    run(main())


# --- troubles of backups --------------------------------------------------------------------------


def with_session(site: Site, peer_number: int, *, flipped: bool) -> None:
    primary = SimpleNamespace(sessions={0: SimpleNamespace(link=peer_number, flipped=flipped)})
    site.seat.core.primary = primary  # type: ignore[assignment]


def test_the_trouble_of_a_backup_is_over_once_it_has_caught_up() -> None:
    async def main() -> None:
        site = Site()
        site.seat.lead("b")
        failed = await site.accepted()
        hear(failed, hello("b"))
        failed.closed(LinkClosed("connection reset"))
        peer = await site.accepted()
        hear(peer, hello("b"))
        for flipped, standing in ((False, 1), (True, 0)):
            with_session(site, peer.number, flipped=flipped)
            site.links.clear_settled()
            assert len(site.seat.runtime.troubles.standing()) == standing
            assert peer.settled is flipped
        site.links.clear_settled()

    run(main())


def test_a_session_whose_link_is_gone_settles_nothing() -> None:
    async def main() -> None:
        site = Site()
        site.links.clear_settled()
        with_session(site, 99, flipped=True)
        site.links.clear_settled()

    run(main())


# --- what a transport may offer ------------------------------------------------------------------


def test_a_transport_whose_probe_has_a_bug_leaves_it_open_whether_a_node_has_ended() -> None:
    class Broken(Network):
        async def refuses(self, address: Address, *, timeout_s: float) -> bool:
            raise KeyError("what")

    async def main() -> None:
        site = Site(transport=Broken())
        assert not await site.links.refused(info("b"))
        assert not await site.links.refused(info("b"))
        [told] = [event for event in site.seat.told if isinstance(event, ProbeFailed)]
        assert told.subject in told.line and "KeyError: 'what'" in told.detail

    run(main())


def test_a_plain_transport_has_no_certificates_and_reports_nothing() -> None:
    async def main() -> None:
        links = Site().links
        links.tick_transport()
        assert (links.credentials, links.certificate_days_left) == (None, None)

    run(main())


def test_a_transport_with_certificates_is_given_the_troubles_and_the_time() -> None:
    class Tls(Network):
        credentials = "certificate 1"
        certificate_days_left = 12.5
        ticks = 0
        troubles: object = None

        def tell_to(self, troubles: object) -> None:
            self.troubles = troubles

        def tick(self) -> None:
            self.ticks += 1

    async def main() -> None:
        transport = Tls()
        site = Site(transport=transport)
        await site.links.listen([HERE])
        assert transport.troubles is site.seat.runtime.troubles
        site.links.tick_transport()
        assert transport.ticks == 1
        assert (site.links.credentials, site.links.certificate_days_left) == ("certificate 1", 12.5)

    run(main())
