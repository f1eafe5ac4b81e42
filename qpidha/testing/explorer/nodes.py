"""Steps of single nodes, each computed once by the real core and then looked up.

A node's next state and its effects depend on its state and on one input, on nothing else. So every state of a
node has a number, and steps are kept by (number, input); the core runs only when a pair is new. A state of the
cluster is then a tuple of numbers, and millions of them need only thousands of replicas.

A state is kept as a pickle, for the core changes its objects in place. Whether it is new is decided by its
canonical form (`qpidha.testing.explorer.keys`).
"""

from __future__ import annotations

import pickle
from collections.abc import Hashable, Iterable, Iterator
from hashlib import blake2b
from io import BytesIO
from typing import Any, NamedTuple, TypeAlias
from uuid import UUID

from qpidha.core.legality import FollowerState
from qpidha.core.ready import CloseLink
from qpidha.journal import StoreStatus
from qpidha.settings import Settings
from qpidha.testing.explorer.changes import CHANGES
from qpidha.testing.explorer.keys import canonical
from qpidha.testing.explorer.node_invariants import check_node
from qpidha.testing.explorer.objects import marks_on, object_on, own_on
from qpidha.testing.explorer.running_node import INPUTS, Effect, RunningNode, Snapshot
from qpidha.testing.explorer.tables import Table
from qpidha.testing.invariants.facts import facts_of
from qpidha.testing.sim.content import Content, Facts
from qpidha.types import (
    Generation,
    Member,
    MessageId,
    NodeId,
    Position,
    QueueId,
    QueueSpec,
    Record,
    Versioned,
)
from qpidha.wire.batch import Batch

Input: TypeAlias = tuple[Hashable, ...]
"""An input of a node: ("received", link, bytes), ("committed",), ("crash", whether its commit is kept) …"""
Identity: TypeAlias = tuple[int, Generation, MessageId, int]
"""(queue by index, generation, id, message by index)."""


class Step(NamedTuple):
    """The outcome of an input: the number of the next state, and effects in the order of the driver."""

    node: int
    effects: tuple[Effect, ...]


class NodeView(NamedTuple):
    """The part of a node's state that the cluster around it depends on. Sets of messages are bits."""

    up: bool
    boots: int
    committing: bool
    known: int
    """The version of the newest record that it saw; 0: none."""
    linked: bool
    """It has a link to a primary, or is opening one."""
    named: int
    """The index of the primary in that record; -1: none."""
    primary: Generation
    """The generation in which it acts as primary; 0: it does not."""
    position: Position
    owed: bool
    """Whether a member of this primary has not acknowledged everything."""
    following: tuple[Generation, Position] | None
    """Generation and position of a backup that follows its primary."""
    memory: int
    """Messages in memory: what it would deliver."""
    held: tuple[tuple[int, MessageId, int], ...]
    """(queue, id, message) in memory."""
    content: int
    """A number for the content in memory: equal numbers, equal content."""
    disk: int
    """Messages on disk."""
    identities: frozenset[Identity]
    """Identities on disk."""
    stored: int
    """Queues on disk, as bits."""
    has: int
    """Queues in memory, as bits."""
    marks: int
    """Objects on disk that mark commits, as bits."""
    object: int
    """The number of the last put that is on disk; -1: none."""
    own: int
    """The number of the last put of this node's own object that is on disk; -1: none."""
    pending_links: frozenset[int]
    """Links, open or not, that effects still to be performed are for: their numbers are not free."""


ALL_INPUTS = INPUTS | CHANGES
SHARED: Table[Any] = Table(None)
"""Immutable values: a pickle holds their numbers, so that they are neither written nor built again."""


def shared(number: int) -> object:
    """Return the shared value with this number."""
    return SHARED.values[number]


def share(value: object) -> tuple[Any, ...]:
    """Tell pickle to write the number of this value, in place of the value."""
    return shared, (SHARED.number(value),)


class Pickler(pickle.Pickler):
    """Writes pickles that only this process can read."""

    dispatch_table = dict.fromkeys(
        (UUID, Batch, Member, QueueSpec, Record, Settings, StoreStatus, Versioned), share
    )


class Nodes:
    """Every state that any node was in, by number, and every step that was computed."""

    def __init__(self, names: tuple[NodeId, ...], queues: list[QueueId], settings: Settings) -> None:
        self.names = names
        self.queues = queues
        self.settings = settings
        self.views: list[NodeView] = []
        self.steps: dict[tuple[int, Input], Step | None] = {}
        self._pickles: list[bytes] = []
        self._numbers: dict[bytes, int] = {}
        self._contents: dict[str, int] = {}

    def new(self, name: NodeId) -> int:
        """Return the number of the state of a node that never ran, with an empty disk."""
        epoch = UUID(int=100 + self.names.index(name))
        return self._number(Snapshot(name, Content(StoreStatus(node=name, epoch=epoch))))

    def boot(self, node: int, boots: int) -> UUID:
        """Return the boot id of the n-th process of a node; ``node`` is its index."""
        return UUID(int=1000 * (1 + node) + boots)

    def step(self, node: int, given: Input) -> Step | None:
        """Return the outcome of an input; None if it has no meaning for a node in this state.

        Args:
            node: The number of the node's state.
            given: The input.

        Raises:
            Violation: An invariant of a single node does not hold, see `check_node`.
        """
        try:
            return self.steps[node, given]
        except KeyError:
            made = self.steps[node, given] = self._compute(node, given)
            return made

    def _compute(self, node: int, given: Input) -> Step | None:
        snapshot: Snapshot = pickle.loads(self._pickles[node])  # noqa: S301 - written below
        before = snapshot.content.status.generation
        running = RunningNode(snapshot)
        if not self._apply(running, *given):
            return None
        snapshot.content.audit.clear()
        check_node(snapshot.name, snapshot.content, before, snapshot.replica, idle=snapshot.under_way is None)
        snapshot.content.dropped = {}
        declared = [queue for what, queue, _ in running.effects if what == "declared"]
        self.queues += [queue for queue in declared if queue not in self.queues]
        return Step(self._number(snapshot), tuple(running.effects))

    def _apply(self, running: RunningNode, what: Hashable, *how: Hashable) -> bool:
        snapshot = running.snapshot
        if what == "crash":
            running.crash(keep=bool(how[0]))
            return True
        if what == "start":
            assert how[0] is None or isinstance(how[0], Versioned)
            boot = self.boot(self.names.index(snapshot.name), snapshot.boots + 1)
            return running.start(how[0], boot, self.settings)
        if snapshot.replica is None:
            return False
        running.wake(snapshot.replica)
        if not ALL_INPUTS[str(what)](running, *how):
            return False
        running.run()
        return True

    def _number(self, snapshot: Snapshot) -> int:
        key = blake2b(canonical(snapshot), digest_size=16).digest()
        number = self._numbers.get(key)
        if number is None:
            number = self._numbers[key] = len(self._pickles)
            kept = BytesIO()
            Pickler(kept, pickle.HIGHEST_PROTOCOL).dump(snapshot)
            self._pickles.append(kept.getvalue())
            self.views.append(self._view(snapshot))
        return number

    # --- the view of a node --------------------------------------------------------------------------

    def _view(self, snapshot: Snapshot) -> NodeView:
        replica = snapshot.replica
        disk = self._identities(snapshot.content.facts())
        view = NodeView(
            up=False, boots=snapshot.boots, committing=snapshot.under_way is not None, known=0, linked=False,
            named=-1, primary=0, position=0, owed=False, following=None, memory=0, held=(), content=-1,
            disk=mask(disk), identities=frozenset(disk), pending_links=frozenset(),
            stored=self._bits(snapshot.content.queues), has=0,
            marks=marks_on(snapshot.content), object=object_on(snapshot.content), own=own_on(snapshot.content),
        )  # fmt: skip
        if replica is None:
            return view
        facts = facts_of(replica)
        memory = self._identities(facts)
        record, primary, session = replica.record, replica.primary, replica.follower.session
        follows = session is not None and session.state is FollowerState.FOLLOWING
        return view._replace(
            up=True,
            known=replica.manager.known.version if replica.manager.known else 0,
            linked=replica.follower.link is not None,
            named=self.names.index(record.primary[0]) if record and record.primary else -1,
            primary=primary.generation if primary else 0,
            position=primary.position if primary else 0,
            owed=primary is not None and primary.safe < primary.position,
            following=(session.generation, session.position) if session and follows else None,
            memory=mask(memory),
            has=self._bits(replica.queues),
            held=tuple((queue, id, message) for queue, _, id, message in memory),
            pending_links=frozenset(pending_links(snapshot)),
            content=self._contents.setdefault(repr(sorted(facts.items())), len(self._contents)),
        )

    def _bits(self, queues: Iterable[QueueId]) -> int:
        return sum(1 << self.queues.index(queue) for queue in queues if queue in self.queues)

    def _identities(self, facts: Facts) -> list[Identity]:
        return [
            (self.queues.index(queue), generation, id, int(message.value[1:]))
            for queue, (_, _, held) in facts.items()
            if queue in self.queues
            for generation, id, message in held
        ]


def pending_links(snapshot: Snapshot) -> Iterator[int]:
    """Yield the links in effects that wait for the disk."""
    assert snapshot.replica is not None
    for ready in (snapshot.under_way, snapshot.replica.out._ready):
        if ready is not None:
            yield from (link for link, _ in ready.send)
            yield from (notice.link for notice in ready.notify if isinstance(notice, CloseLink))


def mask(identities: list[Identity]) -> int:
    """Return the messages of these identities as bits."""
    bits = 0
    for identity in identities:
        bits |= 1 << identity[3]
    return bits
