"""When a node is a candidate for primary, and what it gives up so that another node can take over."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from qpidha import Settings
from qpidha.errors import HandOverRefused, LocalProtocolError, PromotionRefused
from qpidha.events import BrokerUnfit
from qpidha.node.place import Place
from qpidha.wire.info import encode_info as encoded
from tests.support.node_parts import Seat, info, run

SETTINGS = Settings(
    commit_timeout_s=10.0, unfit_delay_s=60.0, hand_over_timeout_s=5.0, heartbeat_timeout_s=1.5
)
HUNG_S = SETTINGS.commit_timeout_s + 1.0
ASKED = "it was asked to hand over"


class Notifier:
    """What the broker does."""

    def __init__(self) -> None:
        self.stuck: list[str] = []
        self.overdue_s: float | None = None


class Presence:
    """What others see of this node."""

    def __init__(self) -> None:
        self.stands: bool | None = None
        self.session = True
        self.closings = 0

    def stand(self, stands: bool) -> None:
        self.stands = stands

    def leave(self) -> None:
        self.session = False
        self.closings += 1

    def come_back(self) -> None:
        self.session = True


class Stage:
    """The place of node a, which is a backup of b, and what is around it."""

    def __init__(self, *, promotes_itself: bool = True) -> None:
        self.seat = Seat(SETTINGS).enter()
        self.engine = self.seat.engine
        self.core = self.seat.core
        self.notifier, self.presence = Notifier(), Presence()
        self.place = Place(
            self.seat.runtime,
            engine=self.engine,  # type: ignore[arg-type]
            notifier=self.notifier,  # type: ignore[arg-type]
            presence=self.presence,  # type: ignore[arg-type]
            promotes_itself=promotes_itself,
        )

    @property
    def now(self) -> float:
        return self.seat.runtime.now()

    @property
    def steps_down(self) -> bool:
        return self.core.primary is not None and self.core.demotion_wanted

    def tick(self) -> None:
        self.place.tick(self.now)

    def causes(self) -> list[str]:
        return [trouble.cause for trouble in self.seat.runtime.troubles.standing()]


def play(main: Callable[[Stage], Coroutine[Any, Any, None] | None], *, promotes_itself: bool = True) -> None:
    async def work() -> None:
        done = main(Stage(promotes_itself=promotes_itself))
        if done is not None:
            await done

    run(work())


# --- successors ----------------------------------------------------------------------------------


def test_successors_are_the_other_live_members_that_stand() -> None:
    def main(stage: Stage) -> None:
        assert stage.place.successors == [], "no record is known yet"
        stage.seat.see(1, "a", "a", "d", "b", "c", "e", live=["f"])
        live = {node: encoded(info(node)) for node in "abdf"} | {"c": encoded(info("c", score=None))}
        stage.seat.runtime.live.seen(live)
        assert stage.place.successors == ["b", "d"], "c does not stand, e is not live, f is no member"

    play(main)


# --- handing over --------------------------------------------------------------------------------


def test_a_node_that_was_asked_to_hand_over_stands_aside_until_another_primary_is_recorded() -> None:
    def main(stage: Stage) -> None:
        stage.seat.lead("b")
        pokes = stage.engine.pokes
        stage.place.hand_over()
        assert stage.steps_down and stage.engine.pokes > pokes
        assert (stage.place.why_not, stage.place.stands, stage.presence.stands) == (ASKED, False, False)
        stage.tick()
        assert stage.place.why_not == ASKED, "its end is still to be recorded"
        stage.seat.see(1, None, "a", "b")
        stage.tick()
        assert stage.place.why_not == ASKED, "the place is empty"
        stage.seat.see(2, "b", "a", "b")
        stage.tick()
        assert stage.place.stands and stage.presence.stands

    play(main)


def test_a_place_that_no_other_node_takes_may_be_taken_again_after_a_while() -> None:
    async def main(stage: Stage) -> None:
        stage.seat.lead("b")
        stage.place.hand_over()
        stage.seat.see(1, None, "a", "b")
        stage.tick()
        await asyncio.sleep(SETTINGS.hand_over_timeout_s - 0.1)
        stage.tick()
        assert not stage.place.stands
        await asyncio.sleep(0.2)
        stage.tick()
        assert stage.place.stands

    play(main)


def test_a_node_without_a_successor_stays_a_candidate_although_it_was_asked_to_hand_over() -> None:
    def main(stage: Stage) -> None:
        stage.seat.lead("b")
        stage.place.hand_over()
        stage.seat.runtime.live.seen({})
        assert stage.place.stands

    play(main)


def test_only_a_primary_can_hand_over() -> None:
    def main(stage: Stage) -> None:
        stage.seat.see(1, "b", "a", "b")
        with pytest.raises(LocalProtocolError):
            stage.place.hand_over()
        assert stage.place.stands

    play(main)


def test_a_hand_over_waits_for_a_successor() -> None:
    async def main(stage: Stage) -> None:
        stage.seat.lead(generation=1)
        stage.seat.see(1, "a", "a", live=["b"])
        waiting = asyncio.ensure_future(stage.place.await_successor(60.0))
        await asyncio.sleep(10.0)
        assert not waiting.done()
        stage.seat.see(1, "a", "a", "b")
        await waiting

    play(main)


def test_a_hand_over_that_would_change_nothing_is_refused() -> None:
    async def main(stage: Stage) -> None:
        stage.seat.lead()
        with pytest.raises(HandOverRefused, match="no other node is live"):
            await stage.place.await_successor(60.0)
        stage.seat.see(1, "a", "a", live=["b"])
        began = stage.now
        with pytest.raises(HandOverRefused, match="has become an eligible member within 3 s"):
            await stage.place.await_successor(3.0)
        assert stage.now - began == pytest.approx(3.0, abs=0.1)

    play(main)


def test_a_node_that_is_not_a_candidate_hands_over_without_a_wait() -> None:
    async def main(stage: Stage) -> None:
        stage.seat.lead()
        await stage.place.await_successor(60.0)

    play(main, promotes_itself=False)


def test_the_wait_for_a_successor_ends_with_the_role() -> None:
    async def main(stage: Stage) -> None:
        stage.seat.lead()
        stage.seat.see(1, "a", "a", live=["b"])
        waiting = asyncio.ensure_future(stage.place.await_successor(60.0))
        await asyncio.sleep(1.0)
        stage.seat.see(2, "b", "a", live=["b"])
        await waiting

    play(main)


def test_the_wait_for_a_successor_can_be_cancelled() -> None:
    async def main(stage: Stage) -> None:
        stage.seat.lead()
        stage.seat.see(1, "a", "a", live=["b"])
        waiting = asyncio.ensure_future(stage.place.await_successor(60.0))
        await asyncio.sleep(1.0)
        waiting.cancel()
        await asyncio.wait({waiting})
        assert waiting.cancelled() and not stage.steps_down

    play(main)


# --- a broker that cannot serve ------------------------------------------------------------------


def test_a_primary_whose_broker_does_not_open_leaves_the_place_to_others() -> None:
    async def main(stage: Stage) -> None:
        stage.seat.lead("b")
        stage.place.unfit("the port is taken")
        assert stage.steps_down and stage.presence.stands is False
        assert stage.seat.told[-1] == BrokerUnfit("the port is taken")
        stage.seat.see(2, "b", "a", "b")
        assert stage.place.why_not == "the port is taken"
        await asyncio.sleep(SETTINGS.unfit_delay_s + 0.1)
        stage.tick()
        assert stage.place.stands and stage.presence.stands

    play(main)


def test_a_lone_primary_steps_down_as_soon_as_there_is_another_member() -> None:
    async def main(stage: Stage) -> None:
        stage.seat.lead()
        stage.place.unfit("the port is taken")
        stage.tick()
        assert stage.core.primary and not stage.steps_down and stage.place.stands
        stage.seat.see(1, "a", "a", "b")
        stage.tick()
        assert stage.steps_down

    play(main)


def test_a_broker_that_has_not_opened_in_time_counts_as_unfit_once() -> None:
    async def main(stage: Stage) -> None:
        stage.seat.lead("b")
        stage.notifier.overdue_s = 16.04
        stage.tick()
        stage.tick()
        told = [event for event in stage.seat.told if isinstance(event, BrokerUnfit)]
        assert told == [BrokerUnfit("the broker has not opened 16.0 s after the promotion")]
        assert stage.steps_down

    play(main)


def test_a_node_is_no_candidate_while_a_cancelled_call_still_runs() -> None:
    def main(stage: Stage) -> None:
        stage.seat.see(1, "b", "a", "b")
        stage.notifier.stuck = ["on_demote"]
        stage.tick()
        assert stage.place.why_not == "the broker's on_demote goes on, although it was cancelled"
        assert stage.presence.stands is False

    play(main)


# --- what cannot do its work ---------------------------------------------------------------------


def test_a_primary_whose_disk_hangs_gives_up_session_and_record() -> None:
    def main(stage: Stage) -> None:
        stage.seat.lead("b")
        stage.engine.busy_s = SETTINGS.commit_timeout_s
        stage.tick()
        assert stage.place.given_up == "" and stage.presence.session
        stage.engine.busy_s = HUNG_S
        stage.tick()
        assert "its disk does not answer" in stage.place.given_up
        assert stage.place.why_not == stage.place.given_up
        assert not stage.presence.session
        assert stage.steps_down and stage.engine.bypasses == 1, "the hand-over needs no disk"
        assert stage.causes() == ["place given up"]
        stage.engine.busy_s = None
        stage.tick()
        assert stage.place.given_up == "" and stage.presence.session and stage.causes() == []

    play(main)


def test_a_backup_whose_disk_hangs_gives_up_its_session() -> None:
    def main(stage: Stage) -> None:
        stage.seat.see(1, "b", "a", "b")
        stage.engine.busy_s = HUNG_S
        stage.tick()
        assert not stage.presence.session and stage.engine.bypasses == 0
        with pytest.raises(PromotionRefused, match="has given its place up: its disk does not answer"):
            stage.place.claim()

    play(main)


def test_a_backup_whose_disk_is_slow_does_not_stand_and_keeps_its_session() -> None:
    def main(stage: Stage) -> None:
        stage.seat.see(1, "b", "a", "b")
        stage.engine.busy_s, stage.engine.disk_hangs = 2.0, True
        stage.tick()
        assert stage.place.why_not == "its disk has not answered for a while"
        assert stage.presence.session

    play(main)


def test_a_primary_that_is_the_only_member_waits_for_its_disk() -> None:
    def main(stage: Stage) -> None:
        stage.seat.lead()
        stage.engine.busy_s, stage.engine.disk_hangs = HUNG_S, True
        stage.tick()
        assert stage.presence.session and not stage.steps_down and stage.place.stands

    play(main)


def test_only_a_long_pause_restarts_the_time_limit_of_the_disk() -> None:
    async def main(stage: Stage) -> None:
        stage.seat.see(1, "b", "a", "b")
        stage.engine.busy_s = HUNG_S
        stage.place.paused(SETTINGS.commit_timeout_s)
        stage.tick()
        assert stage.presence.session
        await asyncio.sleep(SETTINGS.commit_timeout_s + 0.1)
        stage.place.paused(SETTINGS.commit_timeout_s / 2)
        stage.tick()
        assert not stage.presence.session

    play(main)


def test_a_broker_may_give_the_place_of_its_primary_away_until_the_role_ends() -> None:
    def main(stage: Stage) -> None:
        stage.seat.lead("b")
        stage.place.give_up("no route to the clients")
        stage.place.give_up("no route to the clients")
        assert stage.place.given_up == "no route to the clients"
        assert stage.steps_down and not stage.presence.session
        stage.seat.see(2, "b", "a", "b")
        stage.tick()
        assert stage.place.given_up == "" and stage.presence.session

    play(main)


def test_a_request_of_a_backups_broker_to_give_the_place_away_is_forgotten() -> None:
    def main(stage: Stage) -> None:
        stage.seat.see(1, "b", "a", "b")
        stage.place.give_up("no route to the clients")
        assert stage.place.stands and stage.presence.session

    play(main)


def test_a_lone_primary_gives_its_place_away_as_soon_as_there_is_another_member() -> None:
    def main(stage: Stage) -> None:
        stage.seat.lead()
        stage.place.give_up("no route to the clients")
        assert stage.presence.session and not stage.steps_down
        stage.seat.see(1, "a", "a", "b")
        stage.tick()
        assert stage.steps_down and not stage.presence.session

    play(main)


# --- an operator, and the end --------------------------------------------------------------------


def test_an_operators_claim_clears_requests_and_failures() -> None:
    def main(stage: Stage) -> None:
        stage.seat.lead("b")
        stage.place.hand_over()
        stage.place.unfit("the port is taken")
        stage.seat.see(1, None, "a", "b")
        assert not stage.place.stands
        stage.place.claim()
        assert stage.place.stands and stage.presence.stands

    play(main)


def test_a_stopping_node_makes_no_more_decisions() -> None:
    def main(stage: Stage) -> None:
        stage.seat.lead("b")
        stage.engine.busy_s = HUNG_S
        stage.seat.runtime.stop_reason = "it was asked to stop"
        stage.tick()
        assert stage.presence.session and not stage.steps_down

    play(main)
