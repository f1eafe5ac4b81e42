"""The one link of a backup: to whom it is opened and when, what is tried again at once, what is reported meanwhile."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from itertools import pairwise
from types import SimpleNamespace

import pytest

from qpidha import Role
from qpidha.errors import CallerError, LinkClosed
from qpidha.events import NoLinkToPrimary
from qpidha.node.connect import Connector
from qpidha.node.links import LinkOwner
from qpidha.types import NodeId, NodeInfo
from qpidha.wire.info import encode_info
from tests.support.node_parts import Seat, info, run, turns

LONG_S = 3600.0
"""So long that the delay between two attempts has reached its maximum."""


class Attempts:
    """Links that notes each attempt, and answers as the test wants."""

    def __init__(self, seat: Seat) -> None:
        self._seat = seat
        self.credentials: object = None
        self.error: Exception | None = LinkClosed("connection refused")
        self.made: list[tuple[float, NodeId, NodeInfo]] = []
        self.gate = asyncio.Event()
        self.gate.set()
        self.again = asyncio.Event()

    async def connect(self, primary: NodeId, info: NodeInfo, owner: LinkOwner) -> None:
        self.made.append((self._seat.runtime.now(), primary, info))
        self.again.set()
        await self.gate.wait()
        if self.error is not None:
            raise self.error
        owner.opened()
        self._seat.core.link_opened(len(self.made), to=primary)

    @property
    def pauses(self) -> list[float]:
        """Seconds between each attempt and the next one."""
        times = [at for at, _, _ in self.made]
        return [after - before for before, after in pairwise(times)]


class Site:
    """The connector of node a, with links that nobody answers at first."""

    def __init__(self) -> None:
        self.seat = Seat().enter()
        self.links = Attempts(self.seat)
        self.polls = 0
        self.connector = self.made(SimpleNamespace(poll_soon=self._poll_soon))

    def made(self, records: object) -> Connector:
        return Connector(
            self.seat.runtime,
            links=self.links,  # type: ignore[arg-type]
            engine=self.seat.engine,  # type: ignore[arg-type]
            records=records,  # type: ignore[arg-type]
        )

    def _poll_soon(self) -> None:
        self.polls += 1

    def follows(self, generation: int, primary: NodeId = "b") -> None:
        """The record names this primary, and it is live."""
        self.seat.see(generation, primary, "a", primary)
        self.connector.wake()

    def lose(self, why: str = "connection reset") -> None:
        """The link that was opened last ends."""
        number = len(self.links.made)
        self.seat.core.link_closed(number)
        self.connector.ended(SimpleNamespace(to=self.links.made[-1][1]), why)  # type: ignore[arg-type]

    async def following(self, generation: int = 3) -> None:
        """The link is open, and serves."""
        self.links.error = None
        self.follows(generation)
        await turns()
        assert self.seat.core.follower.link is not None
        self.connector.role_changed(Role.READY)

    @property
    def reasons(self) -> list[str]:
        """Why there is no link, each time that it was told."""
        return [event.reason for event in self.seat.told if isinstance(event, NoLinkToPrimary)]

    @property
    def in_trouble(self) -> bool:
        return bool(self.seat.runtime.troubles.standing())


def play(main: Callable[[Site], Awaitable[None]]) -> None:
    """Run with a connector at work."""

    async def work() -> None:
        site = Site()
        running = asyncio.ensure_future(site.connector.run())
        await turns()
        await main(site)
        assert not running.done()
        running.cancel()
        await asyncio.wait({running})
        assert running.cancelled()

    run(work())


# --- to whom ---------------------------------------------------------------------------------------


def test_without_a_record_there_is_nothing_to_connect_to() -> None:
    async def main(site: Site) -> None:
        site.connector.wake()
        await turns()
        assert site.links.made == [] and not site.in_trouble

    play(main)


def test_a_backup_connects_to_the_primary_that_the_record_names() -> None:
    async def main(site: Site) -> None:
        site.links.error = None
        site.follows(3)
        await turns()
        ((_, primary, published),) = site.links.made
        assert (primary, published) == ("b", info("b"))

    play(main)


def test_while_there_is_a_link_no_other_one_is_opened() -> None:
    async def main(site: Site) -> None:
        await site.following()
        for _ in range(3):
            site.connector.wake()
            await asyncio.sleep(LONG_S)
        assert len(site.links.made) == 1

    play(main)


def test_a_primary_connects_to_nobody() -> None:
    async def main(site: Site) -> None:
        site.seat.lead("b", generation=3)
        site.connector.wake()
        await turns()
        assert site.links.made == []

    play(main)


def test_a_record_without_a_primary_is_no_trouble() -> None:
    async def main(site: Site) -> None:
        site.follows(3)
        await turns()
        assert site.in_trouble
        site.seat.see(4, None, "a", "b")
        site.connector.wake()
        await turns()
        made = len(site.links.made)
        await asyncio.sleep(LONG_S)
        assert not site.in_trouble and len(site.links.made) == made

    play(main)


def test_an_earlier_process_of_this_node_is_not_connected_to() -> None:
    """The record still names this node as primary, with the boot of before its restart."""

    async def main(site: Site) -> None:
        site.seat.core.record_seen(None, site.seat.runtime.now())
        boot, site.seat.runtime.boot = site.seat.runtime.boot, info("a").boot
        site.follows(3, "a")
        site.seat.runtime.boot = boot
        await turns()
        assert site.links.made == [] and not site.in_trouble

    play(main)


def test_a_node_that_has_stopped_connects_to_nobody() -> None:
    async def main(site: Site) -> None:
        site.seat.core.stop()
        site.follows(3)
        await turns()
        assert site.links.made == []

    play(main)


def test_while_the_disk_hangs_nothing_is_tried() -> None:
    async def main(site: Site) -> None:
        site.seat.engine.disk_hangs = True
        site.follows(3)
        await turns()
        assert site.links.made == []
        site.seat.engine.disk_hangs = False
        site.connector.wake()
        await turns()
        assert len(site.links.made) == 1

    play(main)


# --- when ------------------------------------------------------------------------------------------


def test_the_delay_between_attempts_grows_to_its_maximum_and_not_beyond() -> None:
    async def main(site: Site) -> None:
        settings = site.seat.runtime.settings
        site.follows(3)
        await asyncio.sleep(LONG_S)
        pauses = site.links.pauses
        assert pauses[0] <= settings.reconnect_interval_s
        # Up to a half of each delay is left out by chance.
        late = pauses[20:]
        assert late and all(
            settings.reconnect_interval_max_s / 2 <= pause <= settings.reconnect_interval_max_s + 0.001
            for pause in late
        )

    play(main)


def test_being_woken_does_not_shorten_the_delay() -> None:
    async def main(site: Site) -> None:
        site.follows(3)
        await asyncio.sleep(LONG_S)
        made = len(site.links.made)
        for _ in range(5):
            site.connector.wake()
            await turns()
        assert len(site.links.made) == made

    play(main)


async def tries_at_once(site: Site, change: Callable[[], None]) -> None:
    """However long the delay was: after this change the next attempt needs no time."""
    site.follows(3)
    await asyncio.sleep(LONG_S)
    made, now = len(site.links.made), site.seat.runtime.now()
    change()
    site.connector.wake()
    await turns()
    assert len(site.links.made) > made
    assert site.seat.runtime.now() == pytest.approx(now, abs=0.001)
    pauses = site.links.pauses
    await asyncio.sleep(LONG_S)
    assert site.links.pauses[len(pauses)] <= site.seat.runtime.settings.reconnect_interval_s, "it begins anew"


def test_another_primary_is_tried_at_once() -> None:
    async def main(site: Site) -> None:
        await tries_at_once(site, lambda: site.follows(4, "c"))
        assert site.links.made[-1][1] == "c"

    play(main)


def test_the_same_primary_in_another_generation_is_tried_at_once() -> None:
    async def main(site: Site) -> None:
        await tries_at_once(site, lambda: site.follows(4))

    play(main)


def test_another_address_of_the_primary_is_tried_at_once() -> None:
    async def main(site: Site) -> None:
        moved = NodeInfo(peer=("10.0.0.7", 1), client=None, boot=info("b").boot, score=0)
        await tries_at_once(site, lambda: site.seat.runtime.live.seen({"b": encode_info(moved)}))
        assert site.links.made[-1][2] == moved

    play(main)


def test_an_attempt_at_a_primary_that_was_replaced_is_given_up() -> None:
    async def main(site: Site) -> None:
        site.links.gate.clear()
        site.follows(3, "b")
        await turns()
        site.connector.wake()
        await turns()
        assert [primary for _, primary, _ in site.links.made] == ["b"], "nothing has changed"
        site.follows(4, "c")
        await turns(20)
        assert [primary for _, primary, _ in site.links.made] == ["b", "c"]
        assert not site.reasons, "it did not fail"

    play(main)


def test_an_attempt_at_an_address_that_was_left_is_given_up() -> None:
    async def main(site: Site) -> None:
        site.links.gate.clear()
        site.follows(3)
        await turns()
        moved = NodeInfo(peer=("10.0.0.7", 1), client=None, boot=info("b").boot, score=0)
        site.seat.runtime.live.seen({"b": encode_info(moved)})
        site.connector.wake()
        await turns(20)
        assert [at for _, _, at in site.links.made] == [info("b"), moved]

    play(main)


def test_a_node_that_becomes_primary_gives_its_attempt_up() -> None:
    async def main(site: Site) -> None:
        site.links.gate.clear()
        site.follows(3)
        await turns()
        site.seat.lead()
        site.connector.wake()
        site.links.gate.set()
        await turns()
        assert not site.in_trouble

    play(main)


def test_with_other_certificates_the_same_is_tried_at_once() -> None:
    async def main(site: Site) -> None:
        await tries_at_once(site, lambda: setattr(site.links, "credentials", "new"))

    play(main)


@pytest.mark.parametrize("followed_s", [0.0, LONG_S])
def test_a_link_that_served_for_long_is_opened_again_at_once_and_a_short_one_is_not(
    followed_s: float,
) -> None:
    """What works for a moment only must not be tried as fast as possible for ever."""

    async def main(site: Site) -> None:
        first_s = site.seat.runtime.settings.reconnect_interval_s
        await site.following()
        for _ in range(20):
            await asyncio.sleep(followed_s)
            site.links.again.clear()
            site.lose()
            await site.links.again.wait()
            await turns()
            site.connector.role_changed(Role.READY)
        rests = [pause - followed_s for pause in site.links.pauses]
        assert (rests[-1] > 10 * first_s) == (followed_s == 0.0)

    play(main)


# --- what is reported ------------------------------------------------------------------------------


def test_failing_attempts_stand_as_one_trouble_until_the_link_serves() -> None:
    async def main(site: Site) -> None:
        site.follows(3)
        await asyncio.sleep(LONG_S)
        assert site.in_trouble and site.reasons == ["connection refused"]
        await site.following(4)
        assert not site.in_trouble

    play(main)


def test_what_the_transport_does_not_accept_is_a_failed_attempt_too() -> None:
    async def main(site: Site) -> None:
        site.links.error = CallerError("port must be from 1 to 65535, not 0")
        site.follows(3)
        await turns()
        assert site.reasons == ["port must be from 1 to 65535, not 0"]

    play(main)


def test_becoming_primary_ends_the_trouble() -> None:
    async def main(site: Site) -> None:
        site.follows(3)
        await turns()
        for role, standing in ((Role.JOINING, True), (Role.RECOVERING, False)):
            site.connector.role_changed(role)
            assert site.in_trouble is standing

    play(main)


def test_a_primary_without_a_session_is_reported_once_and_tried_when_it_has_one() -> None:
    async def main(site: Site) -> None:
        site.seat.see(3, "b", "a", "b")
        site.seat.runtime.live.seen({})
        polls = site.polls
        for _ in range(3):
            site.connector.wake()
            await turns()
        (reason,) = site.reasons
        assert "no session in the record store" in reason
        assert (site.links.made, site.polls) == ([], polls + 1)
        site.follows(3)
        await turns()
        assert len(site.links.made) == 1

    play(main)


def test_before_the_live_nodes_are_known_no_primary_is_called_absent() -> None:
    async def main(site: Site) -> None:
        site.seat.see(3, "b", "a", "b")
        site.seat.runtime.live.seen({})
        site.seat.runtime.live.known = False
        site.connector.wake()
        await turns()
        assert site.links.made == [] and not site.in_trouble

    play(main)


def test_the_end_of_a_link_is_reported_and_the_record_is_read_soon() -> None:
    async def main(site: Site) -> None:
        await site.following()
        site.lose("it was closed for a reason")
        assert site.reasons == ["it was closed for a reason"] and site.polls == 1

    play(main)


def test_a_link_that_was_left_for_another_primary_is_no_trouble() -> None:
    async def main(site: Site) -> None:
        await site.following()
        site.seat.see(4, "c", "a", "c")
        site.lose("another primary is recorded")
        assert site.reasons == []

    play(main)


def test_the_end_of_an_old_link_is_no_trouble_while_there_is_another_one() -> None:
    async def main(site: Site) -> None:
        await site.following()
        site.connector.ended(SimpleNamespace(to="b"), "superseded")  # type: ignore[arg-type]
        assert site.reasons == []

    play(main)


@pytest.mark.parametrize("end", [lambda seat: seat.core.stop(), lambda seat: seat.lead("b", generation=4)])
def test_a_node_that_is_stopped_or_primary_misses_no_link(end: Callable[[Seat], object]) -> None:
    async def main(site: Site) -> None:
        await site.following()
        end(site.seat)
        site.connector.ended(SimpleNamespace(to="b"), "not a backup")  # type: ignore[arg-type]
        assert site.reasons == []

    play(main)


def test_a_record_store_that_does_not_poll_is_not_asked_to() -> None:
    async def main() -> None:
        Site().made(object()).look()

    run(main())


# --- its end ---------------------------------------------------------------------------------------


def test_it_can_be_cancelled_while_it_connects() -> None:
    async def main(site: Site) -> None:
        site.links.gate.clear()
        site.follows(3)
        await turns()
        assert len(site.links.made) == 1

    play(main)


def test_it_can_be_cancelled_during_the_delay() -> None:
    async def main(site: Site) -> None:
        site.follows(3)
        await asyncio.sleep(LONG_S)

    play(main)


def test_a_bug_in_a_transport_ends_it_and_is_not_tried_again() -> None:
    """`Cluster` watches this task, and ends the node."""

    async def main() -> None:
        site = Site()
        site.links.error = KeyError("bug")
        site.follows(3)
        with pytest.raises(KeyError):
            await site.connector.run()

    run(main())
