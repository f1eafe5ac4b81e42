"""The broker is told one thing after the other, only what is true by then, and has a limit for everything."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from itertools import pairwise
from typing import Any
from uuid import UUID

import pytest

from qpidha import Discarded, Settings, Stopped
from qpidha.core.ready import HandOver
from qpidha.node.notifier import CANCEL_S, OVER_S, RETRY_S, SHORTEST_S, BrokerNotifier
from qpidha.types import Fate
from tests.support.node_parts import Seat, run, turns, until

SETTINGS = Settings(promote_timeout_s=15.0, demote_timeout_s=10.0, discard_timeout_s=8.0, unfit_delay_s=30.0)
LOST = Discarded(queue=UUID(int=1), queue_name="q", generation=1, id=7, data=b"x", fate=Fate.REWOUND)


class Broker:
    """Notes what it is told; what a call does besides is in ``acts``."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, object]] = []
        self.running = 0
        self.overlapped = False
        self.acts: dict[str, Callable[[], Awaitable[object]]] = {}

    async def _call(self, what: str, argument: object) -> None:
        self.calls.append((what, argument))
        self.overlapped |= self.running > 0
        self.running += 1
        try:
            if what in self.acts:
                await self.acts[what]()
        finally:
            self.running -= 1

    async def on_promote(self, generation: int) -> None:
        await self._call("on_promote", generation)

    async def on_demote(self, generation: int) -> None:
        await self._call("on_demote", generation)

    async def on_discarded(self, messages: Sequence[Discarded]) -> None:
        await self._call("on_discarded", tuple(messages))


async def hangs() -> None:
    await asyncio.Event().wait()


async def raises() -> None:
    raise OSError("the port is taken")


class Held:
    """A call that goes on until the gate opens, and does not end when it is cancelled, if it clings."""

    def __init__(self, *, clings: bool = False) -> None:
        self.gate = asyncio.Event()
        self._clings = clings

    async def __call__(self) -> None:
        while True:
            try:
                await self.gate.wait()
            except asyncio.CancelledError:
                if not self._clings:
                    raise
            else:
                return


class Stage:
    """A notifier of node a, its broker, and what the core was told of discarded messages."""

    def __init__(self, settings: Settings = SETTINGS) -> None:
        self.seat = Seat(settings).enter()
        self.broker = Broker()
        self.unfit: list[str] = []
        self.taken: list[object] = []
        self.refused_at: list[float] = []
        self.notifier = BrokerNotifier(self.seat.runtime, self.broker, self.unfit.append)
        self.seat.core.handed_over = self.taken.append  # type: ignore[method-assign]
        self.seat.core.hand_over_failed = self.refused_at.append  # type: ignore[method-assign]
        self.notifier.start()

    @property
    def calls(self) -> list[tuple[str, object]]:
        return self.broker.calls

    @property
    def now(self) -> float:
        return self.seat.runtime.now()

    async def promoted(self, generation: int = 1) -> None:
        """The record makes this node primary."""
        self.seat.see(generation, "a", "a", "b")
        self.notifier.role(generation)
        await turns()

    async def demoted(self, generation: int = 2) -> None:
        """The record makes another node primary."""
        self.seat.see(generation, "b", "a", "b")
        self.notifier.role(0)
        await turns()


def play(main: Callable[[Stage], Coroutine[Any, Any, None]], settings: Settings = SETTINGS) -> None:
    async def work() -> None:
        stage = Stage(settings)
        await main(stage)
        assert not stage.seat.engine.errors

    run(work())


def cause(stage: Stage) -> dict[str, str]:
    return {trouble.cause: trouble.text for trouble in stage.seat.runtime.troubles.standing()}


# --- roles ---------------------------------------------------------------------------------------


def test_a_promotion_and_its_end_are_told_once_each() -> None:
    async def main(stage: Stage) -> None:
        assert (stage.notifier.phase, stage.notifier.since) == ("standby", stage.now)
        await stage.promoted()
        stage.notifier.role(1)
        await turns()
        assert stage.calls == [("on_promote", 1)]
        assert (stage.notifier.phase, stage.notifier.opened) == ("serving", 1)
        assert stage.seat.runtime.broker_generation == 1
        await stage.demoted()
        assert stage.calls == [("on_promote", 1), ("on_demote", 1)]
        assert (stage.notifier.phase, stage.seat.runtime.broker_generation) == ("standby", 0)

    play(main)


def test_the_node_serves_from_the_first_line_of_on_promote_on() -> None:
    async def main(stage: Stage) -> None:
        held = Held()
        stage.broker.acts["on_promote"] = held
        await stage.promoted()
        assert (stage.notifier.phase, stage.seat.runtime.broker_generation) == ("promoting", 1)
        assert stage.notifier.opened == 0
        held.gate.set()
        await turns()
        assert (stage.notifier.phase, stage.notifier.opened) == ("serving", 1)

    play(main)


def test_a_role_that_is_over_before_the_broker_is_free_is_left_out() -> None:
    async def main(stage: Stage) -> None:
        held = Held()
        stage.broker.acts["on_demote"] = held
        await stage.promoted(1)
        await stage.demoted(2)
        await stage.promoted(3)
        await stage.demoted(4)
        await stage.promoted(5)
        held.gate.set()
        await turns(10)
        assert stage.calls == [("on_promote", 1), ("on_demote", 1), ("on_promote", 5)]
        assert not stage.broker.overlapped

    play(main)


def test_two_promotions_of_one_node_have_an_on_demote_between_them() -> None:
    async def main(stage: Stage) -> None:
        await stage.promoted(1)
        stage.seat.see(2, "b", "a", "b")
        await stage.promoted(3)
        await turns(10)
        assert stage.calls == [("on_promote", 1), ("on_demote", 1), ("on_promote", 3)]

    play(main)


def test_a_generation_that_the_core_has_left_already_is_not_told() -> None:
    """The core is ahead of what was said of it: the end of that role follows."""

    async def main(stage: Stage) -> None:
        stage.seat.see(1, "b", "a", "b")
        stage.notifier.role(1)
        await turns()
        assert stage.calls == []

    play(main)


# --- a promotion that fails ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("act", "said"), [(raises, "on_promote failed: OSError: the port is taken"), (hangs, "had not returned")]
)
def test_the_place_goes_to_another_node_if_the_broker_does_not_open(
    act: Callable[[], Awaitable[None]], said: str
) -> None:
    async def main(stage: Stage) -> None:
        began = stage.now
        stage.broker.acts["on_promote"] = act
        await stage.promoted()
        await until(lambda: stage.unfit)
        assert stage.now - began <= SETTINGS.promote_timeout_s + CANCEL_S
        assert said in stage.unfit[0]
        assert stage.notifier.phase == "failed"
        assert stage.seat.runtime.broker_generation == 0, "nothing is published any more"
        assert said in (stage.notifier.error or "")
        assert said in cause(stage)["broker: on_promote"]

    play(main)


def test_a_primary_without_a_successor_demotes_its_broker_and_tries_again() -> None:
    async def main(stage: Stage) -> None:
        stage.broker.acts["on_promote"] = raises
        await stage.promoted()
        assert stage.calls == [("on_promote", 1)]
        await asyncio.sleep(RETRY_S)  # The delay is shorter, by chance; the next one is longer.
        assert stage.calls == [("on_promote", 1), ("on_demote", 1), ("on_promote", 1)]
        del stage.broker.acts["on_promote"]
        await until(lambda: stage.notifier.phase == "serving")
        assert stage.calls[3:] == [("on_demote", 1), ("on_promote", 1)]
        assert stage.notifier.error is None and cause(stage) == {}, "what works again is no trouble"
        assert len(stage.unfit) == 2

    play(main)


def test_attempts_become_rarer_up_to_the_delay_of_an_unfit_node() -> None:
    async def main(stage: Stage) -> None:
        times: list[float] = []

        async def fails() -> None:
            times.append(stage.now)
            raise OSError

        stage.broker.acts["on_promote"] = fails
        await stage.promoted()
        await asyncio.sleep(600.0)
        gaps = [later - earlier for earlier, later in pairwise(times)]
        assert max(gaps[:2]) < min(gaps[-2:])
        assert max(gaps) <= SETTINGS.unfit_delay_s + 1.0

    play(main)


def test_a_failure_that_the_node_was_not_primary_for_any_more_is_no_reason_to_give_the_place_away() -> None:
    async def main(stage: Stage) -> None:
        stage.broker.acts["on_promote"] = hangs
        await stage.promoted()
        began = stage.now
        await stage.demoted()
        await until(lambda: ("on_demote", 1) in stage.calls)
        assert stage.now - began <= OVER_S + 0.2, "it has nothing left to open for"
        assert stage.unfit == []

    play(main)


def test_the_limit_counts_from_the_promotion_not_from_the_call() -> None:
    async def main(stage: Stage) -> None:
        held = Held()
        stage.broker.acts |= {"on_discarded": held, "on_promote": hangs}
        stage.notifier.discarded(HandOver((LOST,)))
        await turns()
        promoted_at = stage.now
        await stage.promoted()
        await asyncio.sleep(6.0)
        assert [what for what, _ in stage.calls] == ["on_discarded"]
        held.gate.set()
        await until(lambda: stage.unfit)
        assert stage.now - promoted_at <= SETTINGS.promote_timeout_s + CANCEL_S

    play(main)


def test_a_call_that_is_late_already_has_its_first_steps() -> None:
    async def main(stage: Stage) -> None:
        held = Held()
        stage.broker.acts |= {"on_discarded": held}
        stage.notifier.discarded(HandOver((LOST,)))
        await turns()
        await stage.promoted()
        await asyncio.sleep(SETTINGS.discard_timeout_s + CANCEL_S)
        assert stage.calls[-1] == ("on_promote", 1) and stage.notifier.phase == "serving"

    play(main, Settings(promote_timeout_s=SHORTEST_S, discard_timeout_s=8.0))


# --- calls that go on ----------------------------------------------------------------------------


def test_a_call_that_does_not_end_when_it_is_cancelled_keeps_the_node_from_being_promoted() -> None:
    async def main(stage: Stage) -> None:
        clings = Held(clings=True)
        stage.broker.acts["on_promote"] = clings
        await stage.promoted()
        await asyncio.sleep(SETTINGS.promote_timeout_s + CANCEL_S + 0.1)
        assert stage.notifier.stuck == ["on_promote"]
        assert "goes on 1 s later" in stage.unfit[0]
        await asyncio.sleep(60.0)
        assert stage.calls == [("on_promote", 1), ("on_demote", 1)], (
            "not promoted again beside the first call"
        )
        del stage.broker.acts["on_promote"]
        clings.gate.set()
        await turns(10)
        assert stage.notifier.stuck == []
        assert stage.calls[2:] == [("on_promote", 1)]

    play(main)


def test_on_demote_that_hangs_counts_as_done() -> None:
    async def main(stage: Stage) -> None:
        stage.broker.acts["on_demote"] = hangs
        await stage.promoted(1)
        await stage.demoted(2)
        assert (stage.notifier.phase, stage.seat.runtime.broker_generation) == ("demoting", 0)
        await stage.promoted(3)
        await asyncio.sleep(SETTINGS.demote_timeout_s + CANCEL_S)
        assert stage.calls[-1] == ("on_promote", 3)
        assert "on_demote had not returned after 10.0 s" in cause(stage)["broker: on_demote"]
        del stage.broker.acts["on_demote"]
        await stage.demoted(4)
        assert cause(stage) == {}

    play(main)


# --- discarded messages --------------------------------------------------------------------------


def test_discarded_messages_leave_quarantine_once_the_broker_has_taken_them() -> None:
    async def main(stage: Stage) -> None:
        held = Held()
        stage.broker.acts["on_discarded"] = held
        stage.notifier.discarded(HandOver((LOST,)))
        await turns()
        assert (stage.notifier.phase, stage.taken) == ("discarding", [])
        pokes = stage.seat.engine.pokes
        held.gate.set()
        await turns()
        assert stage.calls == [("on_discarded", (LOST,))]
        assert (stage.taken, stage.refused_at) == ([(LOST,)], [])
        assert stage.seat.engine.pokes > pokes
        assert stage.notifier.phase == "standby"

    play(main)


@pytest.mark.parametrize("act", [raises, hangs])
def test_discarded_messages_that_the_broker_does_not_take_are_offered_again(
    act: Callable[[], Awaitable[None]],
) -> None:
    async def main(stage: Stage) -> None:
        stage.broker.acts["on_discarded"] = act
        stage.notifier.discarded(HandOver((LOST,)))
        await asyncio.sleep(SETTINGS.discard_timeout_s + CANCEL_S)
        assert (stage.taken, len(stage.refused_at)) == ([], 1)

    play(main)


def test_roles_are_told_before_discarded_messages_and_the_phase_comes_back() -> None:
    async def main(stage: Stage) -> None:
        stage.seat.see(1, "a", "a", "b")
        stage.notifier.discarded(HandOver((LOST,)))
        stage.notifier.role(1)
        await turns(8)
        assert [what for what, _ in stage.calls] == ["on_promote", "on_discarded"]
        assert stage.notifier.phase == "serving"

    play(main)


# --- how long ------------------------------------------------------------------------------------


def test_it_says_for_how_long_a_promotion_is_on_its_way() -> None:
    async def main(stage: Stage) -> None:
        held = Held()
        stage.broker.acts["on_promote"] = held
        assert stage.notifier.promoting_for_s is None
        await stage.promoted()
        await asyncio.sleep(3.0)
        assert stage.notifier.promoting_for_s == pytest.approx(3.0, rel=0.01)
        held.gate.set()
        await turns()
        assert stage.notifier.promoting_for_s is None

    play(main)


def test_a_primary_whose_broker_is_busy_with_something_else_for_too_long_is_overdue() -> None:
    async def main(stage: Stage) -> None:
        held = Held(clings=True)
        stage.broker.acts["on_demote"] = held
        await stage.promoted(1)
        assert stage.notifier.overdue_s is None
        await stage.demoted(2)
        assert stage.notifier.overdue_s is None
        await stage.promoted(3)
        await asyncio.sleep(SETTINGS.promote_timeout_s - 1.0)
        assert stage.notifier.overdue_s is None
        await asyncio.sleep(2.0)
        assert stage.notifier.overdue_s == pytest.approx(SETTINGS.promote_timeout_s + 1.0, rel=0.01)
        held.gate.set()

    play(main)


# --- the end -------------------------------------------------------------------------------------


def test_at_the_end_the_broker_is_demoted_and_discarded_messages_are_kept() -> None:
    async def main(stage: Stage) -> None:
        await stage.promoted()
        stage.notifier.discarded(HandOver((LOST,)))
        await stage.notifier.finish(stage.now + 5.0)
        assert stage.calls == [("on_promote", 1), ("on_demote", 1)]
        assert (stage.taken, stage.refused_at) == ([], []), "they are offered after the next start"

    play(main)


def test_the_end_waits_for_a_call_no_longer_than_its_limit() -> None:
    async def main(stage: Stage) -> None:
        stage.broker.acts |= {"on_promote": hangs, "on_demote": hangs}
        await stage.promoted()
        began = stage.now
        await stage.notifier.finish(began + 0.5)
        assert stage.now - began <= 0.5 + SHORTEST_S + 2 * CANCEL_S
        assert stage.calls == [("on_promote", 1), ("on_demote", 1)]
        assert stage.unfit == [], "a node that stops needs nobody to take its place on that account"

    play(main)


def test_a_notifier_that_never_began_ends_at_once() -> None:
    async def main() -> None:
        seat = Seat().enter()
        await BrokerNotifier(seat.runtime, Broker(), list[str]().append).finish(seat.runtime.now())

    run(main())


def test_the_broker_is_demoted_although_the_tasks_of_the_loop_were_cancelled() -> None:
    """As at the end of `asyncio.run`: the task that calls the broker is gone, and so is the call."""

    async def main(stage: Stage) -> None:
        stage.broker.acts["on_promote"] = clings = Held(clings=True)
        await stage.promoted()
        for task in asyncio.all_tasks() - {asyncio.current_task()}:
            task.cancel()
        await turns()
        assert not stage.seat.engine.errors, "to be cancelled is no bug"
        await stage.notifier.finish(stage.now + 5.0)
        assert stage.calls == [("on_promote", 1), ("on_demote", 1)]
        assert stage.notifier.stuck == ["on_promote"]
        clings.gate.set()

    play(main)


def test_a_bug_in_the_notifier_ends_the_node() -> None:
    async def main() -> None:
        stage = Stage()

        def bug(why: str) -> None:
            raise ZeroDivisionError(why)

        stage.notifier._unfit = bug
        stage.broker.acts["on_promote"] = raises
        await stage.promoted()
        assert [type(error) for error in stage.seat.engine.errors] == [ZeroDivisionError]

    run(main())


def test_on_stopped_is_the_last_call_if_the_broker_has_one() -> None:
    class Ending(Broker):
        async def on_stopped(self, stopped: Stopped) -> None:
            await self._call("on_stopped", stopped)

    async def main(stage: Stage) -> None:
        stopped = Stopped("it was asked to stop")
        await stage.notifier.finish(stage.now + 5.0)
        await stage.notifier.stopped(stopped, stage.now + 5.0)
        assert stage.calls == [], "this broker has no such method"
        ending = Ending()
        ending.acts["on_stopped"] = hangs
        notifier = BrokerNotifier(stage.seat.runtime, ending, stage.unfit.append)
        began = stage.now
        await notifier.stopped(stopped, began + 2.0)
        assert ending.calls == [("on_stopped", stopped)]
        assert stage.now - began <= 2.0 + CANCEL_S

    play(main)


def test_code_called_by_the_broker_s_method_is_known_to_be_inside_it() -> None:
    async def main(stage: Stage) -> None:
        seen: list[str | None] = []

        async def looks() -> None:
            seen.append(stage.notifier.inside)

        stage.broker.acts["on_promote"] = looks
        await stage.promoted()
        assert seen == ["on_promote"] and stage.notifier.inside is None

    play(main)
