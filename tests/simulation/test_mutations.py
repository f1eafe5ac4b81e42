"""The random walks can fail: each rule of the protocol that is taken out of the core is missed within seconds.

Method: one method of the core is replaced by one that lacks a single rule, and walks run until something is
found. A checker that finds nothing in a broken core would prove nothing about the real one. The seeds were
searched once; any number below ``RUNS`` more would do.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from qpidha import Batch, SequenceSet
from qpidha.core import copies, quarantine, replica, resync
from qpidha.core.backup import session as backup_session
from qpidha.core.backup.flip import Flip, Flipped
from qpidha.core.backup.follower import Follower
from qpidha.core.discards import Discards
from qpidha.core.histories import Histories
from qpidha.core.manager import Answer, Manager, Unknown
from qpidha.core.primary import planning
from qpidha.core.primary.completion import QueueGuard
from qpidha.core.primary.membership import Joining, Membership
from qpidha.core.primary.minimum import Minimum
from qpidha.core.primary.primary import Primary
from qpidha.core.queues import Queues
from qpidha.core.ready import CompareAndSet, HandOver, Ready, Request
from qpidha.core.replica import Replica
from qpidha.driver import Driver
from qpidha.errors import InvariantError, StoreFailed
from qpidha.journal import PutQueue
from qpidha.testing import Scenario, ScenarioError, Violation, Walk
from qpidha.types import Fate, Member, Record
from qpidha.wire.events import Frame

Mutation = Callable[[pytest.MonkeyPatch], None]
RUNS = 1000


def waits_for_the_attached_only(patch: pytest.MonkeyPatch) -> None:
    """P4, J1: completions do not wait for a member that is not connected."""
    complete = Primary._complete

    def without(self: Primary) -> None:
        attached = {s.node for s in self.sessions.values()}
        membership = self.membership
        kept = membership.members
        membership._become(frozenset(m for m in kept if m.node in attached), membership.joining)
        complete(self)
        membership._become(kept, membership.joining)

    patch.setattr(Primary, "_complete", without)


def ignores_the_joiner(patch: pytest.MonkeyPatch) -> None:
    """J2a: completions do not wait for the joiner."""
    become = Membership._become

    def without(self: Membership, members: frozenset[Member], joining: Joining | None) -> None:
        become(self, members, joining)
        self.required = frozenset(m for m in members if m.node != self.node)

    patch.setattr(Membership, "_become", without)


def forgets_the_joiner(patch: pytest.MonkeyPatch) -> None:
    """J2c: a joiner that disconnects is forgotten although its addition was sent."""

    def session_over(self: Membership, node: str, sid: int) -> None:
        if self.joining and self.joining.member.node == node:
            self._become(self.members, None)

    patch.setattr(Membership, "session_over", session_over)


def doubt_means_no(patch: pytest.MonkeyPatch) -> None:
    """M2: a compare-and-set without an answer counts as not done."""
    real = Manager.answer

    def answer(self: Manager, request: Request, answer: Answer, now: float) -> CompareAndSet | None:
        if isinstance(answer, Unknown) and request == self.in_flight:
            self.in_flight = None
            return None
        return real(self, request, answer, now)

    def recorded(self: Membership, members: frozenset[Member], *, settled: bool) -> None:
        self._become(members, None if settled else self.joining)

    patch.setattr(Manager, "answer", answer)
    patch.setattr(Membership, "recorded", recorded)
    real_resolved = Replica._resolved

    def resolved(self: Replica, lost: CompareAndSet | None, now: float) -> None:
        real_resolved(self, lost, now)
        if self.primary and self.manager.in_flight is None:
            membership = self.primary.membership
            membership._become(membership.members, None)

    patch.setattr(Replica, "_resolved", resolved)


def completes_with_too_few(patch: pytest.MonkeyPatch) -> None:
    """J4: operations are refused with too few members, but what is pending completes."""
    complete = Primary._complete

    def without(self: Primary) -> None:
        self.minimum.short, short = False, self.minimum.short
        complete(self)
        self.minimum.short = short

    patch.setattr(Primary, "_complete", without)


def counts_who_leaves(patch: pytest.MonkeyPatch) -> None:
    """J5: a member whose removal is in flight counts."""
    patch.setattr(Minimum, "sure", property(lambda self: self._membership.members))


def compares_ids_only(patch: pytest.MonkeyPatch) -> None:
    """C4, N1: ids without generations (scenario T01)."""
    patch.setattr(resync, "common_point", lambda a, next_a, b, next_b: min(next_a, next_b))


def hands_over_at_once(patch: pytest.MonkeyPatch) -> None:
    """W2: a discarded message is handed over before the generation is established."""
    handle = Follower.frame_from_primary

    def early(self: Follower, frame: Frame, now: float) -> None:
        handle(self, frame, now)
        self._discards.hand_over()

    patch.setattr(Follower, "frame_from_primary", early)


def sends_before_it_persists(patch: pytest.MonkeyPatch) -> None:
    """C6, O4: acknowledgements and answers leave before the changes that they confirm are on the disk."""
    persist = Driver._persist

    def early(self: Driver, ready: Ready) -> None:
        self._perform(Ready(send=ready.send, complete=ready.complete))
        persist(self, Ready(persist=ready.persist, request=ready.request, notify=ready.notify))

    patch.setattr(Driver, "_persist", early)


def anybody_may_be_promoted(patch: pytest.MonkeyPatch) -> None:
    """P1: a node that is not a member may be promoted."""

    def promotion(record: Record, me: Member, boot: UUID) -> Record:
        return replace(
            record,
            generation=record.generation + 1,
            primary=(me.node, boot),
            members=frozenset(m for m in record.members if m.node != me.node) | {me},
        )

    patch.setattr(replica, "check_promotable", lambda record, me, cluster, generation: None)
    patch.setattr(replica, "promotion", promotion)


def completes_with_a_move(patch: pytest.MonkeyPatch) -> None:
    """O3, O6: a moved message counts as consumed."""

    def moved(self: QueueGuard, ids: SequenceSet, target: QueueGuard) -> None:
        for entry, count in self._with(ids):
            entry.left -= count

    patch.setattr(QueueGuard, "moved", moved)


def calls_every_copy_an_undone_move(patch: pytest.MonkeyPatch) -> None:
    """W2: a message with an origin is an undone move, whatever became of the origin."""
    patch.setattr(quarantine, "fate_of_copy", lambda origin, history: Fate.UNDONE_MOVE)


def names_the_place_before(patch: pytest.MonkeyPatch) -> None:
    """O3, W2: the origin of a second move is where the first one had put the message."""
    real = Batch.join

    class Forgetful:
        """What a move joins, as if none of it had been moved before."""

        @staticmethod
        def join(batches: list[Batch]) -> Batch:
            return real(batches).without_origins()

    patch.setattr(copies, "Batch", Forgetful)


def judges_by_the_flip(patch: pytest.MonkeyPatch) -> None:
    """W2: the history of an origin is taken from the queues as they were before the flip."""

    class Early(Flip):
        def __init__(
            self, queues: Queues, local: Any, plan: Any, count: int, kept: Any, *others: Any
        ) -> None:
            kept.before = {id: (q.lineage, q.next) for id, q in queues.items()}
            super().__init__(queues, local, plan, count, kept, *others)

    def hand_over(self: Discards) -> None:
        quarantined = self._state.quarantined
        before = getattr(quarantined, "before", {})
        if messages := tuple(quarantined.due(Histories(before.get, None))):
            self._state.outbox.notify(HandOver(messages))

    patch.setattr(backup_session, "Flip", Early)
    patch.setattr(Discards, "hand_over", hand_over)


def forgets_what_was_staged(patch: pytest.MonkeyPatch) -> None:
    """C4: what was staged and then dequeued is not dropped by the plan."""
    drops = planning._drops

    def without(queue: object, ids: object, settings: object, *, staged: bool) -> object:
        return iter(()) if staged else drops(queue, ids, settings, staged=staged)  # type: ignore[arg-type]

    patch.setattr(planning, "_drops", without)


def counts_its_own_stall(patch: pytest.MonkeyPatch) -> None:
    """L4, T42: the time-out of an acknowledgement begins before the operation is durable here and has left.

    Beyond a limit of memory, messages count as durable before they are, too, and cannot be read again: `StoreFailed`.
    """
    persist = Driver._persist

    def early(self: Driver, ready: Ready) -> None:
        self.replica.performed(self._clock())
        persist(self, ready)

    patch.setattr(Driver, "_persist", early)


def keeps_its_own_lineage(patch: pytest.MonkeyPatch) -> None:
    """C4, N1: the flip's lineage does not reach the disk."""
    real = Flipped.__init__

    def init(self: Flipped, *arguments: object, **named: object) -> None:
        real(self, *arguments, **named)  # type: ignore[arg-type]

        class Dropping(list[object]):
            def append(self, change: object) -> None:
                if not isinstance(change, PutQueue) or len(change.lineage) < 2:
                    super().append(change)

        self.changes = Dropping()  # type: ignore[assignment]

    patch.setattr(Flipped, "__init__", init)


MUTATIONS: list[Mutation] = [
    waits_for_the_attached_only,
    ignores_the_joiner,
    forgets_the_joiner,
    completes_with_too_few,
    compares_ids_only,
    hands_over_at_once,
    sends_before_it_persists,
    anybody_may_be_promoted,
    completes_with_a_move,
    calls_every_copy_an_undone_move,
    names_the_place_before,
    judges_by_the_flip,
    forgets_what_was_staged,
    counts_its_own_stall,
    keeps_its_own_lineage,
]
"""What is broken."""


@pytest.mark.parametrize("mutation", MUTATIONS, ids=[m.__name__ for m in MUTATIONS])
def test_a_missing_rule_is_found(mutation: Mutation, monkeypatch: pytest.MonkeyPatch) -> None:
    mutation(monkeypatch)
    for seed in range(RUNS):
        try:
            Walk(seed, wire=False).run()
        except (Violation, InvariantError, StoreFailed, AssertionError) as found:
            print(f"walk {seed}: {found}")
            return
    pytest.fail(f"{mutation.__name__} was not found in {RUNS} walks")


@pytest.mark.parametrize(
    ("mutation", "scenario", "found"),
    [
        (doubt_means_no, "A02_addition_in_doubt", "v1"),
        (counts_who_leaves, "A21_removal_in_flight", "S8"),
    ],
)
def test_what_is_too_rare_for_a_few_walks_is_found_by_a_scenario(
    mutation: Mutation, scenario: str, found: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Too rare to be found in a few walks: the scenario contains exactly this history."""
    mutation(monkeypatch)
    file = Path(__file__).parent.parent / "scenarios" / f"{scenario}.txt"
    with pytest.raises(ScenarioError, match=found):
        Scenario().run(file.read_text(encoding="utf-8"))
