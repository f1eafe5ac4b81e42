"""Walks that commit, update, put objects, delete queues and declare them again: the checks notice what they are for."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from types import SimpleNamespace
from typing import Any, get_args

import pytest

from qpidha.core.backup.applying import Applier
from qpidha.core.births import OWN_OBJECTS
from qpidha.core.configuration import object_key
from qpidha.core.copies import copied
from qpidha.core.histories import Histories
from qpidha.core.lineage import generation_of
from qpidha.core.local import LocalQueues
from qpidha.core.primary import clients, draft
from qpidha.core.primary.completion import QueueGuard
from qpidha.core.primary.draft import Drafting
from qpidha.core.primary.localwork import LocalWork
from qpidha.core.primary.replacements import Replacements
from qpidha.core.primary.session import BackupSession
from qpidha.core.queue import ReplicatedQueue
from qpidha.core.replica import Replica
from qpidha.core.state import NodeState
from qpidha.core.steps import Forget, Register, Step, UseSequence
from qpidha.journal import DropQueue
from qpidha.seq import SequenceSet
from qpidha.testing import Scenario, Walk
from qpidha.testing.invariants.configuration import objects_of
from qpidha.testing.invariants.violation import Violation
from qpidha.testing.sim.content import Message
from qpidha.testing.sim.places import SimContent
from qpidha.testing.sim.producing import KNOWN
from qpidha.testing.walks.changes import REFUSED, STEPS, WEIGHTS
from qpidha.testing.walks.levels import DRAWN
from qpidha.testing.walks.producers import WEIGHTS as PRODUCER_WEIGHTS
from qpidha.testing.walks.profile import CHANGES
from qpidha.types import MESSAGE_ID_MAX, Level, level_of
from qpidha.wire.batch import Batch
from qpidha.wire.events import Copy, Drop

RUNS = 60
PART = 20
PRODUCERS = {Register, Forget, UseSequence}
"""Steps that these commits do not have."""
Mutation = Callable[[pytest.MonkeyPatch], None]


def run(seed: int) -> Walk:
    walk = Walk(seed, profile=CHANGES)
    try:
        walk.run()
    except Exception as error:
        raise AssertionError(f"python -m qpidha.testing --profile changes {seed}") from error
    return walk


SAVED = {
    1796071056: "an accept of what was gone, as the last step of all, waited for an operation in the simulator",
    1796090145: "a checker judged a fate by a history in which the queue was deleted since",
    1796092911: "a checker took a removal that was stored for a later one that was not",
}
"""Seeds that once failed, and why."""


@pytest.mark.parametrize("seed", SAVED)
def test_seeds_that_once_found_something(seed: int) -> None:
    run(seed)


@pytest.mark.parametrize("first", range(0, RUNS, PART))
def test_random_walks_with_changes(first: int) -> None:
    walks = [run(seed) for seed in range(first, first + PART)]
    drawn = {name for walk in walks for name in walk.plan}
    assert WEIGHTS.keys() | PRODUCER_WEIGHTS.keys() <= drawn
    assert sum(len(walk.world.checker.acked) for walk in walks) > 10 * PART
    commits = [walk.world.checker.commits for walk in walks]
    assert sum(len(c.owed) for c in commits) > PART, "commits are answered"
    made = Counter(type(step) for c in commits for commit in c.history for step in commit.steps)
    assert all(made[kind] > PART // 2 for kind in set(get_args(Step)) - PRODUCERS), made
    assert sum(len(c.gone) for c in commits) > PART, "deletions are answered"
    assert sum(len(c.queues) for c in commits) > PART, "declarations are answered"
    assert any(walk.world.checker.copies for walk in walks), "messages are published to several queues"
    counted = Counter[str]()
    for walk in walks:
        counted.update(walk.world.counts)
    assert all(counted[f"commit with {kind}"] for kind in STEPS), counted
    assert counted[REFUSED]
    assert all(counted[what] for what in DRAWN if what != "step local"), counted
    assert counted["own entries"] and counted["own both"], counted
    assert counted[KNOWN] > PART, "producers repeat what was stored"


def test_what_a_commit_moved_to_a_queue_that_it_deleted_may_come_back_later() -> None:
    """A failover undid that commit: S4 says nothing of messages that were moved."""
    run(500456)


KEY = object_key("exchange", "y")
KEEP = "cluster P B1\nput P exchange x 1\nkeep P exchange y v1\nwait 0.2\n"


@pytest.mark.parametrize(
    ("spoil", "rule"),
    [
        (lambda own, theirs: own.pop(OWN_OBJECTS), "LV-a: P stored"),
        (lambda own, theirs: own[OWN_OBJECTS].held.clear(), "LV-a: P stored"),
        (lambda own, theirs: own[OWN_OBJECTS].held.update({1: Message(b"v2", KEY, None)}), "LV-b: P has"),
        (
            lambda own, theirs: theirs.held.update({9: Message(b"v1", KEY, None)}),
            "LV-b: P has .* in what is replicated",
        ),
    ],
    ids=["no-queue", "no-object", "another-value", "replicated"],
)
def test_an_own_object_that_is_lost_changed_or_elsewhere_is_noticed(
    spoil: Callable[[dict[Any, Any], Any], object], rule: str
) -> None:
    scenario = Scenario()
    scenario.run(KEEP)
    checker, node = scenario.world.checker, scenario.world.nodes["P"]
    checker.local.check_disk(node)
    configuration = objects_of(node.disk.content)
    spoil(node.disk.content.local, configuration)
    with pytest.raises(Violation, match=rule):
        checker.local.check_disk(node)


def test_two_primaries_may_take_one_message_out_of_what_is_replicated() -> None:
    """The deposed one has a copy of its own: no fault. A node that took nothing has none (seed 40001565)."""
    scenario = Scenario()
    scenario.run("cluster P B1\nqueue q\nwait 0.2\n")
    local, (p, b) = scenario.world.checker.local, (scenario.world.nodes[name] for name in ("P", "B1"))
    for node in (p, b):
        held = {1: Message(b"v1", b"", None)}
        node.disk.content.local[OWN_OBJECTS] = SimpleNamespace(held=held, keyed=False)  # type: ignore[assignment]
    local.stored(p, ["v1"], crossed=True)
    with pytest.raises(Violation, match="LV-b: B1 has"):
        local.check_disk(b)
    local.stored(b, ["v1"], crossed=True)
    local.check_disk(p)
    local.check_disk(b)


def test_other_profiles_draw_none_of_them() -> None:
    assert not {*WEIGHTS, "local"} & Walk(0).weights.keys()


# --- planted bugs --------------------------------------------------------------------------------


def applies_half_of_a_commit(patch: pytest.MonkeyPatch) -> None:
    """TX1: the primary makes the first parts of a commit, and sends all of them."""
    apply = clients.apply

    def half(actions: list[Any], *arguments: Any, committed: bool) -> None:
        apply(actions[:-1] if committed and len(actions) > 3 else actions, *arguments, committed=committed)

    patch.setattr(clients, "apply", half)


def leaves_out_what_is_gone(patch: pytest.MonkeyPatch) -> None:
    """TX9: a commit does without the messages that are not held any more."""
    patch.setattr(Drafting, "_held", lambda self, draft, ids, gone_ignored=False: ids & draft.left)


def keeps_the_object_of_a_deleted_queue(patch: pytest.MonkeyPatch) -> None:
    """Q2: the deletion of a queue leaves its object."""
    patch.setattr(Drafting, "_erase", lambda self, draft, key: None)


def keeps_a_deleted_queue_on_backups(patch: pytest.MonkeyPatch) -> None:
    """Q2: a backup applies the deletion of the object only."""
    real = Applier._apply

    def without(self: Applier, part: Any) -> None:
        if not isinstance(part, Drop):
            real(self, part)

    patch.setattr(Applier, "_apply", without)


def quarantines_deleted_queues(patch: pytest.MonkeyPatch) -> None:
    """Q4: what a backup holds of a queue that was deleted is handed over."""
    patch.setattr(Histories, "deleted", lambda self, queue, birth=None: False)


def erases_rewound_queues(patch: pytest.MonkeyPatch) -> None:
    """Q4, R-c: a queue whose declaration was rewound is erased as if it had been deleted."""
    patch.setattr(Histories, "deleted", lambda self, queue, birth=None: True)


def updates_lose_their_place(patch: pytest.MonkeyPatch) -> None:
    """U1: an updated message goes to the end of its queue."""
    real = copied
    patch.setattr(draft, "copied", lambda *args, in_place, **kwargs: real(*args, in_place=False, **kwargs))


def updates_begin_a_new_message(patch: pytest.MonkeyPatch) -> None:
    """U4: the origin of a message that is replaced is the one before, not the first."""

    def without(source: ReplicatedQueue, ids: SequenceSet, **kwargs: Any) -> Batch:
        batch = copied(source, ids, **kwargs)
        count = range(len(batch))
        props, order = [batch.props(i) for i in count], [batch.order(i) for i in count]
        origins = [(source.queue.bytes, generation_of(source.lineage, id), id) for id in ids]
        return Batch.pack(list(batch), props, order, origins)

    patch.setattr(draft, "copied", without)


def settles_commits_as_the_queue_says(patch: pytest.MonkeyPatch) -> None:
    """TX6, TX7: an accept in a commit is settled immediately if the queue is."""
    real = QueueGuard.dequeued

    def plain(self: QueueGuard, ids: SequenceSet, position: int, *, committed: bool = False) -> None:
        real(self, ids, position)

    patch.setattr(QueueGuard, "dequeued", plain)


def leaves_one_copy_out(patch: pytest.MonkeyPatch) -> None:
    """U6, TX1: a backup does not apply the last copy of a message that was published to several queues."""
    real = Applier._apply

    def without(self: Applier, part: Any) -> None:
        if not isinstance(part, Copy) or part.replacement:
            real(self, part)

    patch.setattr(Applier, "_apply", without)


def plans_forget_withdrawals(patch: pytest.MonkeyPatch) -> None:
    """Q9: a queue that was deleted during the catch-up stays in the plan."""

    def nothing(self: BackupSession, queue: Any) -> Iterable[Any]:
        return ()

    patch.setattr(BackupSession, "_withdraw", nothing)


def answers_reads_at_once(patch: pytest.MonkeyPatch) -> None:
    """Q7: a barrier waits for what is pending, and for nothing that members acknowledge from then on."""
    patch.setattr(Replica, "confirm", lambda self: self._serving().position)


def ignores_accepts_of_replaced_ids(patch: pytest.MonkeyPatch) -> None:
    """U2, S3: an accept by an id that was replaced is confirmed, and accepts nothing."""
    patch.setattr(Replacements, "accepted", lambda self, queue, ids: ids)


def confirms_accepts_of_what_was_moved(patch: pytest.MonkeyPatch) -> None:
    """U2, S3: an accept of a message that lives on in another queue is confirmed."""
    patch.setattr(Replacements, "_gone", lambda self, queue, missing: SequenceSet())


def commits_without_what_was_replaced(patch: pytest.MonkeyPatch) -> None:
    """U2, TX9: a commit by an id that was replaced is done, and leaves the message in its queue."""
    patch.setattr(Drafting, "_held", lambda self, draft, ids, gone_ignored=False: ids & draft.left)


def holds_by_id(patch: pytest.MonkeyPatch) -> None:
    """U2: queues remember what consumers have by the ids that they gave out."""
    patch.setattr(SimContent, "places", lambda self, ids: ids)


def reads_by_id(patch: pytest.MonkeyPatch) -> None:
    """U1, U2, S4: an updated message is read at its new id, whoever has it."""

    def plain(self: ReplicatedQueue, place: int, count: int) -> Any:
        places, self.places = self.places, None
        try:
            return list(self._plain(place, MESSAGE_ID_MAX))
        finally:
            self.places = places

    patch.setattr(ReplicatedQueue, "_in_order", plain)


def moves_by_id(patch: pytest.MonkeyPatch) -> None:
    """U1, S4: updated messages are moved in the order of their ids."""
    patch.setattr(draft, "in_order", lambda places, ids: [ids] if ids else [])


def answers_before_the_declaration(patch: pytest.MonkeyPatch) -> None:
    """LV5: what is stored in a queue whose declaration is pending is answered from this disk alone."""
    patch.setattr(LocalWork, "_cover", lambda self, queue: 0)


def sends_what_is_not_replicated(patch: pytest.MonkeyPatch) -> None:
    """LV1, LV2: local queues that are loaded with the store count as replicated."""
    begin = NodeState.__init__

    def all_replicated(self: NodeState, **options: Any) -> None:
        begin(self, **options)
        for queue in list(self.local):
            self.queues[queue.queue] = self.local.drop(queue.queue)

    patch.setattr(NodeState, "__init__", all_replicated)


def drops_own_queues_at_a_flip(patch: pytest.MonkeyPatch) -> None:
    """LV4: a flip drops the queues that have no object."""
    follow = LocalQueues.follow

    def judging(self: LocalQueues, *arguments: Any) -> Iterator[Any]:
        yield from follow(self, *arguments)
        for queue in [q.queue for q in self if level_of(q.queue) is Level.NONE]:
            self.drop(queue)
            yield DropQueue(queue), None

    patch.setattr(LocalQueues, "follow", judging)


MUTATIONS: list[Mutation] = [
    answers_reads_at_once,
    ignores_accepts_of_replaced_ids,
    confirms_accepts_of_what_was_moved,
    commits_without_what_was_replaced,
    holds_by_id,
    reads_by_id,
    moves_by_id,
    answers_before_the_declaration,
    sends_what_is_not_replicated,
    drops_own_queues_at_a_flip,
    applies_half_of_a_commit,
    leaves_out_what_is_gone,
    keeps_the_object_of_a_deleted_queue,
    keeps_a_deleted_queue_on_backups,
    quarantines_deleted_queues,
    erases_rewound_queues,
    updates_lose_their_place,
    updates_begin_a_new_message,
    settles_commits_as_the_queue_says,
    leaves_one_copy_out,
    plans_forget_withdrawals,
]


FIRST: dict[Mutation, int] = {settles_commits_as_the_queue_says: 380}
"""The first walk for what few walks notice; of the others it is walk 0."""


@pytest.mark.parametrize("mutation", MUTATIONS)
def test_walks_notice_a_core_without_a_rule(mutation: Mutation, monkeypatch: pytest.MonkeyPatch) -> None:
    mutation(monkeypatch)
    first = FIRST.get(mutation, 0)
    for seed in range(first, first + 200):
        try:
            Walk(seed, profile=CHANGES).run()
        except Exception:
            return
    pytest.fail(f"{mutation.__name__} was not noticed in 200 walks from {first} on")
