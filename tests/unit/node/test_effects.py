"""What a node does for each effect of its core: frames, completions in their term, notices to the part concerned."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import pytest

from qpidha import Batch, Role, SequenceSet
from qpidha.core.births import ID_MAX, born
from qpidha.core.ready import (
    CloseLink,
    Doubtful,
    HandOver,
    Inserted,
    QueueAdded,
    QueueRemoved,
    ReadRecord,
    Removed,
    RoleChanged,
    Safe,
    Settled,
)
from qpidha.errors import InDoubt, StoreFailed
from qpidha.events import (
    ClusterManagerTrouble,
    CompareAndSetLost,
    RefusedByPrimary,
    RoleEntered,
)
from qpidha.node.effects import NodeEffects
from qpidha.node.keywatches import KeyWatches
from qpidha.node.listeners import Listeners
from qpidha.node.op import Op, Outcome
from qpidha.types import QueueId, QueueSpec
from qpidha.wire.events import Frame, Ping
from tests.support.node_parts import Seat, run

ONE, TWO = born(1, 1), born(1, 2)
A, AB = frozenset({"a"}), frozenset({"a", "b"})


class PeerThere:
    """A link that notes what is done with it."""

    def __init__(self) -> None:
        self.writes: list[list[Frame]] = []
        self.closed: list[str] = []

    def send(self, frames: Sequence[Frame]) -> None:
        self.writes.append(list(frames))

    def close(self, reason: str) -> None:
        self.closed.append(reason)


class Site:
    """The effects of node a. It stands for all other parts, and notes what they are told, in order."""

    def __init__(self) -> None:
        self.seat = Seat().enter()
        self.told: list[object] = []
        self.peers = {1: PeerThere(), 2: PeerThere()}
        part: Any = self
        self.effects = self.seat.effects = NodeEffects(
            self.seat.runtime,
            links=part,
            cluster=part,
            connector=part,
            prober=SimpleNamespace(look=lambda: None),  # type: ignore[arg-type]
            handles=self.seat.handles,
            listeners=Listeners(self.seat.runtime, part),
            watches=KeyWatches(self.seat.runtime),
            notifier=part,
            store_failed=self.told.append,
        )

    # The cluster, the connector, the notifier of the broker, and the broker's listener of queues.

    def request(self, request: object) -> None:
        self.told.append(request)

    def role_changed(self, role: Role) -> None:
        self.told.append(role)

    def look(self) -> None:
        self.told.append("look")

    def role(self, generation: int) -> None:
        self.told.append(generation)

    def discarded(self, notice: HandOver) -> None:
        self.told.append(notice)

    def on_queue(self, queue: QueueId, spec: QueueSpec) -> Any:
        self.told.append(f"on_queue {spec.name}")
        return self if spec.name == "one" else None

    def inserted(self, ids: SequenceSet, batch: Batch) -> None:
        self.told.append(("inserted", list(ids)))

    def removed(self, ids: SequenceSet) -> None:
        self.told.append(("removed", list(ids)))

    def deleted(self) -> None:
        self.told.append("deleted")

    def declare(self, queue: QueueId, name: str) -> None:
        made, _ = self.seat.core.declare(QueueSpec(name=name))
        assert made.int & ID_MAX == queue.int & ID_MAX, "in the order of their ids"
        self.seat.turn()

    def settled_op(self, cover: int = 1) -> Op:
        ledger = self.seat.runtime.settled
        return Op(ledger, cover, range(0), ledger.expect(cover, Outcome()))


# --- out -------------------------------------------------------------------------------------------


def test_frames_are_sent_in_one_write_for_each_link_and_in_order() -> None:
    async def main() -> None:
        site = Site()
        frames = [Frame(1, session, Ping()) for session in range(5)]
        links = [1, 2, 1, 99, 1]
        site.effects.send(list(zip(links, frames, strict=True)))
        assert site.peers[1].writes == [[frames[0], frames[2], frames[4]]]
        assert site.peers[2].writes == [[frames[1]]]

    run(main())


def test_requests_and_failures_go_to_whom_they_concern() -> None:
    async def main() -> None:
        site, error = Site(), StoreFailed("disk full")
        site.effects.request(ReadRecord())
        site.effects.store_failed(error)
        assert site.told == [ReadRecord(), error]

    run(main())


# --- completions -----------------------------------------------------------------------------------


def test_publishes_that_are_safe_complete_at_the_handle_of_their_queue() -> None:
    async def main() -> None:
        site = Site()
        site.seat.lead("b")
        site.declare(ONE, "one")
        queue = site.seat.handles.of(ONE)
        first = queue.enqueue(b"1")
        queue.flush()
        second = queue.enqueue(b"2")
        queue.flush()
        site.effects.complete(Safe(ONE, 1, 1, AB))
        assert (first.safe, second.safe) == (True, False)
        assert first.receipt().nodes == AB
        site.effects.complete(Safe(ONE, 2, 1, A, SequenceSet([2])))
        assert second.receipt().consumed

    run(main())


def test_a_queue_without_a_handle_has_nothing_that_waits() -> None:
    async def main() -> None:
        site = Site()
        site.seat.lead("b")
        site.declare(ONE, "one")
        site.effects.complete(Safe(ONE, 1, 1, AB))
        assert site.seat.handles.all_made() == []

    run(main())


def test_accepts_complete_by_position() -> None:
    async def main() -> None:
        site = Site()
        site.seat.lead("b")
        op = site.settled_op(3)
        site.effects.complete(Settled(2, 1, AB))
        assert not op.done
        site.effects.complete(Settled(3, 1, AB))
        assert op.receipt().nodes == AB

    run(main())


def test_what_is_pending_is_in_doubt_when_the_generation_ends() -> None:
    async def main() -> None:
        site = Site()
        site.seat.lead("b", generation=4)
        site.declare(ONE, "one")
        queue = site.seat.handles.require("one")
        published, accepted = queue.enqueue(b"1"), site.settled_op(9)
        queue.flush()
        assert site.seat.runtime.serving
        site.effects.complete(Doubtful(4))
        assert not site.seat.runtime.serving
        for op in (published, accepted):
            with pytest.raises(InDoubt, match="node 'a' is no longer primary of generation 4"):
                op.receipt()

    run(main())


# --- the role --------------------------------------------------------------------------------------


def test_a_role_is_told_to_the_embedder_the_connector_and_the_broker_in_this_order() -> None:
    async def main() -> None:
        site = Site()
        site.effects.notify(RoleChanged(Role.READY, 3))
        assert site.seat.told == [RoleEntered(Role.READY, 3)]
        assert site.told == [Role.READY, "look", 0]
        site.effects.notify(RoleChanged(Role.RECOVERING, 4))
        assert site.told[3:] == [Role.RECOVERING, "look", 4]

    run(main())


def test_a_new_generation_has_new_ledgers_and_new_handles() -> None:
    async def main() -> None:
        site = Site()
        runtime, handles = site.seat.runtime, site.seat.handles
        site.seat.lead("b")
        site.declare(ONE, "one")
        old, settled, immediate = handles.of(ONE), runtime.settled, runtime.immediate
        assert (settled.generation, immediate.generation, old.generation) == (1, 1, 1)
        site.seat.see(2, "b", "a", "b")
        site.seat.lead("b", generation=3)
        assert runtime.settled is not settled and runtime.immediate is not immediate
        assert (runtime.settled.generation, runtime.immediate.generation) == (3, 3)
        new = handles.of(ONE)
        assert new is not old and new.generation == 3

    run(main())


def test_a_role_that_changes_within_its_generation_keeps_what_is_pending() -> None:
    async def main() -> None:
        site = Site()
        site.seat.lead("b")
        site.declare(ONE, "one")
        handle, settled = site.seat.handles.of(ONE), site.seat.runtime.settled
        site.effects.notify(RoleChanged(Role.ACTIVE, 1))
        assert site.seat.handles.of(ONE) is handle and site.seat.runtime.settled is settled

    run(main())


@pytest.mark.parametrize("others", [(), ("b",)], ids=["alone", "with a member that has acknowledged nothing"])
def test_a_new_ledger_begins_where_the_completions_before_it_got_to(others: tuple[str, ...]) -> None:
    """Those of the same `Ready` were performed when the ledger of the earlier term was still in place."""

    async def main() -> None:
        site = Site()
        site.seat.lead(*others)
        site.declare(ONE, "one")
        primary, runtime = site.seat.core.primary, site.seat.runtime
        assert primary is not None
        runtime.serving_generation = 0
        site.effects.notify(RoleChanged(Role.RECOVERING, 1))
        assert runtime.settled.upto == primary.safe
        assert (primary.safe > 0, runtime.settled.nodes) == ((False, frozenset()) if others else (True, A))

    run(main())


def test_a_role_whose_generation_is_over_already_begins_with_nothing() -> None:
    """The core stepped down while this notice waited for its turn."""

    async def main() -> None:
        site = Site()
        site.effects.notify(RoleChanged(Role.RECOVERING, 7))
        assert (site.seat.runtime.settled.generation, site.seat.runtime.settled.upto) == (7, 0)
        assert not site.seat.runtime.serving

    run(main())


# --- queues ----------------------------------------------------------------------------------------


def test_a_queue_of_the_core_gets_a_handle_and_its_broker_is_asked_once() -> None:
    async def main() -> None:
        site = Site()
        site.seat.lead()
        site.told.clear()
        site.declare(ONE, "one")
        assert ONE in site.seat.handles and site.told == ["on_queue one"]
        site.effects.notify(QueueAdded(ONE, QueueSpec(name="one")))
        assert site.told == ["on_queue one"]

    run(main())


def test_a_queue_that_is_gone_again_is_not_added() -> None:
    async def main() -> None:
        site = Site()
        site.effects.notify(QueueAdded(ONE, QueueSpec(name="one")))
        assert ONE not in site.seat.handles and site.told == []

    run(main())


def test_changes_of_content_are_told_to_the_listener_until_the_queue_is_removed() -> None:
    async def main() -> None:
        site = Site()
        site.seat.lead()
        site.declare(ONE, "one")
        site.declare(TWO, "two")
        site.told.clear()
        for queue in (ONE, TWO):
            site.effects.notify(Inserted(queue, SequenceSet([1]), Batch.pack([b"1"])))
            site.effects.notify(Removed(queue, SequenceSet([1])))
        assert site.told == [("inserted", [1]), ("removed", [1])], "nothing of the one that is not followed"
        site.effects.queue_removed(ONE)
        assert len(site.told) == 2, "not before it is durable"
        site.effects.notify(QueueRemoved(ONE))
        assert ONE not in site.seat.handles
        site.effects.notify(Removed(ONE, SequenceSet([1])))
        assert site.told[2:] == ["deleted"]

    run(main())


def test_the_queues_of_the_store_are_loaded_step_by_step_with_their_content() -> None:
    async def main() -> None:
        other = Site()
        other.seat.lead()
        for queue, name in ((ONE, "one"), (TWO, "two")):
            other.declare(queue, name)
            for data in (b"1", b"2"):
                other.seat.core.enqueue(queue, Batch.pack([data]))
        site, queues = Site(), list(other.seat.core.queues.values())
        for queue in queues:
            site.seat.core.state.queues[queue.queue] = queue
        steps = site.effects.load_all(queues)
        next(steps)
        assert len(site.seat.handles) == 1, "more in later steps"
        assert len(list(steps)) == 3
        assert site.told == ["on_queue one", ("inserted", [1]), ("inserted", [2]), "on_queue two"]
        assert len(site.seat.handles) == 2

    run(main())


def test_the_collector_is_told_how_many_queues_there_are_whoever_keeps_them() -> None:
    async def main() -> None:
        site, counts = Site(), list[int]()
        site.seat.runtime.freezing = SimpleNamespace(grown=counts.append, enabled=True)  # type: ignore[assignment]
        site.seat.lead()
        site.declare(ONE, "one")
        site.declare(TWO, "two")
        site.effects.count_queues()
        assert counts == [3, 5, 5], "in the core, with the configuration, and with the embedder"
        site.seat.runtime.freezing.enabled = False
        site.effects.count_queues()
        assert len(counts) == 3, "with another policy they are not counted"

    run(main())


# --- other notices ---------------------------------------------------------------------------------


def test_discarded_messages_are_given_to_the_broker() -> None:
    async def main() -> None:
        site = Site()
        site.effects.notify(HandOver(()))
        assert site.told == [HandOver(())]

    run(main())


def test_a_link_is_closed_with_the_reason_and_one_that_is_gone_is_left_alone() -> None:
    async def main() -> None:
        site = Site()
        site.effects.notify(CloseLink(1, "superseded"))
        site.effects.notify(CloseLink(99, "superseded"))
        assert (site.peers[1].closed, site.peers[2].closed) == (["superseded"], [])

    run(main())


def test_an_event_of_the_core_is_told_and_logged(caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        site = Site()
        site.effects.notify(CompareAndSetLost(7))
        assert site.seat.told == [CompareAndSetLost(7)]

    caplog.set_level(logging.DEBUG, "qpidha")
    run(main())
    assert "compare-and-set lost" in caplog.text


def test_what_the_end_of_a_link_says_as_well_is_told_and_not_logged(caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        site = Site()
        site.effects.notify(RefusedByPrimary("not a member"))
        assert site.seat.told == [RefusedByPrimary("not a member")]

    caplog.set_level(logging.DEBUG, "qpidha")
    run(main())
    assert "not a member" not in caplog.text


def test_a_trouble_of_the_core_stands_until_it_is_cleared() -> None:
    async def main() -> None:
        site = Site()
        site.effects.notify(ClusterManagerTrouble("no quorum"))
        (standing,) = site.seat.runtime.troubles.standing()
        assert standing.text == "no quorum"

    run(main())
