"""Changes of the role on request: each waits until it is done, has a limit, and says why it was refused."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from types import SimpleNamespace
from typing import Any

import pytest

from qpidha.core.ready import CompareAndSet
from qpidha.errors import (
    ClusterError,
    HandOverRefused,
    LocalProtocolError,
    NodeStopped,
    PromotionRefused,
    WaitTimeout,
)
from qpidha.node.roles import Roles
from tests.support.node_parts import Seat, run


class Stage:
    """The roles of node a. Requests to its other parts are recorded, and done at once."""

    def __init__(self) -> None:
        self.seat = Seat().enter()
        self.asked: list[object] = []
        self.notifier = SimpleNamespace(inside=None, phase="standby", error=None, opened=0)
        self.refused: BaseException | None = None
        parts = SimpleNamespace(
            runtime=self.seat.runtime,
            notifier=self.notifier,
            cluster=SimpleNamespace(refresh=self._refresh),
            place=SimpleNamespace(
                claim=lambda: self._ask("claim"),
                give_up=lambda why: self._ask("give up", why),
                await_successor=self._await_successor,
                hand_over=self._hand_over,
            ),
        )
        self.roles = Roles(parts)  # type: ignore[arg-type]

    def _ask(self, *what: object) -> None:
        self.asked += what
        if self.refused is not None:
            raise self.refused

    async def _refresh(self, timeout_s: float) -> None:
        self._ask("refresh", timeout_s)

    async def _await_successor(self, timeout_s: float) -> None:
        self._ask("successor", timeout_s)

    def _hand_over(self) -> None:
        self._ask("hand over")
        self.seat.core.demote()

    async def asking(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """This request is under way."""
        task = asyncio.ensure_future(work)
        await asyncio.sleep(0.1)
        self.seat.turn()
        return task


def play(main: Callable[[Stage], Coroutine[Any, Any, None]]) -> None:
    async def work() -> None:
        await main(Stage())

    run(work())


# --- promote -------------------------------------------------------------------------------------


def test_a_promotion_returns_once_the_node_serves() -> None:
    async def main(stage: Stage) -> None:
        stage.seat.see(1, None, "a", "b")
        promoting = await stage.asking(stage.roles.promote(timeout_s=10.0))
        assert stage.asked == ["refresh", 10.0, "claim"]
        (request,) = stage.seat.requests
        assert isinstance(request, CompareAndSet) and request.new.primary == ("a", stage.seat.runtime.boot)
        assert stage.seat.engine.pokes
        stage.seat.see(2, "a", "a", "b")
        await asyncio.sleep(1.0)
        assert not promoting.done(), "the broker is still to be told"
        stage.seat.runtime.broker_generation = 2
        await promoting

    play(main)


def test_a_promotion_whose_broker_failed_raises_the_error_of_the_broker() -> None:
    async def main(stage: Stage) -> None:
        stage.seat.see(1, None, "a", "b")
        promoting = await stage.asking(stage.roles.promote())
        stage.seat.see(2, "a", "a", "b")
        stage.notifier.phase, stage.notifier.error = "failed", "on_promote failed: OSError"
        with pytest.raises(ClusterError, match="its broker did not open: on_promote failed: OSError"):
            await promoting

    play(main)


def test_a_failure_of_an_earlier_generation_does_not_count() -> None:
    async def main(stage: Stage) -> None:
        stage.seat.see(1, None, "a", "b")
        stage.notifier.phase = "failed"
        promoting = await stage.asking(stage.roles.promote())
        assert not promoting.done()
        stage.notifier.phase = "promoting"
        stage.seat.lead("b", generation=2)
        await promoting

    play(main)


def test_a_promotion_that_is_not_decided_in_time_says_so() -> None:
    async def main(stage: Stage) -> None:
        stage.seat.see(1, None, "a", "b")
        with pytest.raises(ClusterError, match="no promotion within 3 s"):
            await stage.roles.promote(timeout_s=3)

    play(main)


@pytest.mark.parametrize("error", [ClusterError("no answer"), PromotionRefused("given up")])
def test_a_promotion_that_a_part_refuses_is_not_requested(error: Exception) -> None:
    async def main(stage: Stage) -> None:
        stage.seat.see(1, None, "a", "b")
        stage.refused = error
        with pytest.raises(type(error)):
            await stage.roles.promote()
        stage.seat.turn()
        assert stage.seat.requests == []

    play(main)


def test_a_node_that_is_no_member_is_not_promoted() -> None:
    async def main(stage: Stage) -> None:
        stage.seat.see(1, None, "b")
        with pytest.raises(PromotionRefused):
            await stage.roles.promote()

    play(main)


def test_a_promotion_inside_a_method_of_the_broker_is_refused_at_once() -> None:
    async def main(stage: Stage) -> None:
        stage.notifier.inside = "on_demote"
        with pytest.raises(LocalProtocolError, match="promote inside the broker's on_demote"):
            await stage.roles.promote()
        assert stage.asked == []

    play(main)


def test_a_node_that_stops_meanwhile_is_not_waited_for() -> None:
    async def main(stage: Stage) -> None:
        stage.seat.see(1, None, "a", "b")
        promoting = await stage.asking(stage.roles.promote())
        stage.seat.runtime.stop_reason = "the disk is full"
        stage.seat.core.stop()
        with pytest.raises(ClusterError, match="stopped during the promotion: the disk is full"):
            await promoting

    play(main)


def test_a_promotion_whose_caller_is_cancelled_may_still_be_decided() -> None:
    async def main(stage: Stage) -> None:
        stage.seat.see(1, None, "a", "b")
        promoting = await stage.asking(stage.roles.promote())
        promoting.cancel()
        await asyncio.wait({promoting})
        stage.seat.see(2, "a", "a", "b")
        assert promoting.cancelled() and stage.seat.is_primary

    play(main)


# --- demote --------------------------------------------------------------------------------------


def test_a_hand_over_returns_once_this_node_is_not_primary_of_that_term() -> None:
    async def main(stage: Stage) -> None:
        stage.seat.lead("b")
        demoting = await stage.asking(stage.roles.demote(timeout_s=10.0))
        assert stage.asked == ["successor", 10.0, "hand over"]
        assert not demoting.done() and stage.seat.is_primary
        stage.seat.see(2, "b", "a", "b")
        stage.seat.lead("b", generation=3)
        await demoting

    play(main)


def test_a_hand_over_that_is_refused_changes_nothing() -> None:
    async def main(stage: Stage) -> None:
        stage.seat.lead("b")
        stage.refused = HandOverRefused("no other node is live")
        with pytest.raises(HandOverRefused):
            await stage.roles.demote()
        assert not stage.seat.core.demotion_wanted

    play(main)


def test_only_a_primary_is_demoted() -> None:
    async def main(stage: Stage) -> None:
        stage.seat.see(1, "b", "a", "b")
        with pytest.raises(LocalProtocolError, match="demote while"):
            await stage.roles.demote()

    play(main)


def test_a_hand_over_leaves_the_cluster_manager_its_time_to_answer() -> None:
    """This is so even if the whole time limit passed before there was a successor."""

    async def main(stage: Stage) -> None:
        stage.seat.lead("b")
        began = stage.seat.runtime.now()
        with pytest.raises(ClusterError, match="no hand-over within"):
            await stage.roles.demote(timeout_s=0.0)
        assert stage.seat.runtime.now() - began >= stage.seat.runtime.settings.record_timeout_s
        assert stage.seat.is_primary

    play(main)


# --- the rest ------------------------------------------------------------------------------------


def test_the_place_is_given_away_at_once() -> None:
    async def main(stage: Stage) -> None:
        stage.roles.give_place_away("no route to the clients")
        assert stage.asked == ["give up", "no route to the clients"]

    play(main)


@pytest.mark.parametrize(
    ("reason", "said"), [(None, "has not started"), ("it was asked to stop", "is stopped")]
)
def test_a_node_that_does_not_run_changes_no_role(reason: str | None, said: str) -> None:
    async def main(stage: Stage) -> None:
        stage.seat.runtime.running, stage.seat.runtime.stop_reason = False, reason
        with pytest.raises(LocalProtocolError, match=f"promote on a node that {said}"):
            await stage.roles.promote()
        with pytest.raises(LocalProtocolError, match=f"demote on a node that {said}"):
            await stage.roles.demote()
        with pytest.raises(LocalProtocolError, match=f"give_place_away on a node that {said}"):
            stage.roles.give_place_away("why")
        assert stage.asked == []

    play(main)


def test_a_node_is_open_once_on_promote_has_returned_in_this_term() -> None:
    async def main(stage: Stage) -> None:
        stage.notifier.opened = 1
        assert not stage.roles.is_open()
        stage.seat.lead(generation=2)
        assert not stage.roles.is_open(), "it returned in an earlier term"
        stage.notifier.opened = 2
        assert stage.roles.is_open()

    play(main)


def test_a_node_is_in_sync_while_the_record_lists_it() -> None:
    async def main(stage: Stage) -> None:
        assert not stage.roles.is_in_sync()
        stage.seat.see(1, "b", "a", "b")
        assert stage.roles.is_in_sync()
        stage.seat.see(1, "b", "b")
        assert not stage.roles.is_in_sync()

    play(main)


def test_a_wait_ends_when_the_state_is_reached_the_time_is_over_or_the_node_stops() -> None:
    async def main(stage: Stage) -> None:
        roles, waits = stage.roles, stage.seat.runtime.waits
        waiting = await stage.asking(roles.wait("in sync", roles.is_in_sync, None))
        stage.seat.see(1, "b", "a", "b")
        waits.look()
        await waiting
        with pytest.raises(WaitTimeout, match=r"node 'a' was not serving within 2\.0 s"):
            await roles.wait("serving", roles.is_open, 2.0)
        waiting = await stage.asking(roles.wait("serving", roles.is_open, 60.0))
        stage.seat.runtime.stop_reason = "the disk is full"
        waits.look()
        with pytest.raises(NodeStopped, match="node 'a' is stopped: the disk is full"):
            await waiting
        with pytest.raises(NodeStopped):
            await roles.wait("in sync", roles.is_in_sync, None)

    play(main)
