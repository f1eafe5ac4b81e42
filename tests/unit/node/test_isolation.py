"""When a primary that hears of nobody leaves its role, and how it comes back."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from types import SimpleNamespace

from qpidha import Settings
from qpidha.core.manager import Lost, Read
from qpidha.core.ready import CompareAndSet, ReadRecord
from qpidha.node.isolation import Isolation
from tests.support.node_parts import JumpingLoop, Seat, run

SETTINGS = Settings(session_ttl_s=2.0)


class Stage:
    """Node a leads b and c, which have no links to it. Time goes on in steps of a heartbeat."""

    def __init__(self) -> None:
        self.seat = Seat(SETTINGS).enter()
        self.core = self.seat.core
        self.place = SimpleNamespace(stands=True)
        self.isolation = Isolation(self.seat.runtime, self.place)  # type: ignore[arg-type]
        self.answers = False
        """The manager answers reads, with the record that is known."""

    def tick(self, seconds: float) -> None:
        for _ in range(round(4 * seconds)):
            loop = asyncio.get_running_loop()
            assert isinstance(loop, JumpingLoop)
            loop._jumps.now += 0.25
            self.isolation.tick(self.now)
            self.seat.turn()
            if self.answers:
                self.answer()

    def answer(self) -> None:
        """The manager answers what it was asked."""
        known = self.core.manager.known
        for request in self.seat.requests:
            found = Read(known) if isinstance(request, ReadRecord) else Lost(known)
            self.core.answered(request, found, self.now)
        self.seat.requests.clear()
        self.seat.turn()

    @property
    def now(self) -> float:
        return self.seat.runtime.now()

    @property
    def leads(self) -> bool:
        return self.core.primary is not None


def play(main: Callable[[Stage], None]) -> None:
    async def work() -> None:
        main(Stage())

    run(work())


def test_a_primary_that_hears_of_nobody_steps_down_when_its_session_has_ended() -> None:
    def main(stage: Stage) -> None:
        stage.seat.lead("b", "c")
        stage.tick(2.0)
        assert stage.leads
        stage.tick(0.5)
        assert not stage.leads

    play(main)


def test_a_primary_to_which_the_manager_answers_stays() -> None:
    def main(stage: Stage) -> None:
        stage.seat.lead("b", "c")
        stage.answers = True
        stage.tick(10.0)
        assert stage.leads

    play(main)


def test_a_primary_with_a_link_to_one_member_stays() -> None:
    def main(stage: Stage) -> None:
        stage.seat.lead("b", "c")
        assert stage.core.primary is not None
        stage.core.primary.sessions[7] = SimpleNamespace(node="c")  # type: ignore[assignment]
        for _ in range(40):
            stage.isolation.tick(stage.now)
            assert not stage.core.manager.waits
        assert stage.leads

    play(main)


def test_a_primary_without_other_members_stays() -> None:
    def main(stage: Stage) -> None:
        stage.seat.lead()
        stage.tick(10.0)
        assert stage.leads

    play(main)


def test_after_a_pause_of_the_process_the_time_begins_again() -> None:
    def main(stage: Stage) -> None:
        stage.seat.lead("b", "c")
        stage.tick(2.0)
        stage.isolation.paused()
        stage.tick(2.0)
        assert stage.leads

    play(main)


def test_it_is_promoted_again_when_the_manager_answers_and_still_names_it() -> None:
    def main(stage: Stage) -> None:
        stage.seat.lead("b", "c")
        generation = stage.core.generation
        stage.tick(3.0)
        assert not stage.leads
        stage.answer()
        stage.tick(0.25)
        (request,) = stage.seat.requests
        assert isinstance(request, CompareAndSet)
        assert request.new.generation == generation + 1
        assert request.new.primary == (stage.core.node, stage.core.boot)

    play(main)


def test_it_waits_while_its_place_is_given_up() -> None:
    def main(stage: Stage) -> None:
        stage.seat.lead("b", "c")
        stage.tick(3.0)
        stage.place.stands = False
        stage.answer()
        stage.tick(1.0)
        assert stage.seat.requests == []
        stage.place.stands = True
        stage.tick(0.25)
        assert len(stage.seat.requests) == 1

    play(main)


def test_it_follows_when_another_node_leads() -> None:
    def main(stage: Stage) -> None:
        stage.seat.lead("b", "c")
        stage.tick(3.0)
        stage.seat.see(stage.core.generation + 1, "b", "a", "b", "c")
        stage.answers = True
        stage.tick(3.0)
        assert not stage.leads and stage.seat.requests == []

    play(main)


def test_it_waits_for_an_operator_if_it_is_no_member_any_more() -> None:
    def main(stage: Stage) -> None:
        stage.seat.lead("b", "c")
        stage.tick(3.0)
        known = stage.core.manager.known
        assert known is not None
        without = [m.node for m in known.record.members if m.node != "a"]
        stage.seat.see(stage.core.generation, "a", *without)
        stage.answer()
        stage.tick(1.0)
        assert stage.seat.requests == []

    play(main)
