"""Steps of single nodes, each made once by the real core and remembered.

A node's next state, and what it does to the world, depend on its state and on the one thing that happens
to it, on nothing else. So every state of a node has a number, and a step is a pair (number, input) that is
looked up; the core runs only when a pair is new. The cluster around it is then a tuple of numbers, and its
millions of states cost no replica.

A state is kept as a pickle, for the core changes its objects in place. Whether it is new is decided by its
canonical form (`qpidha.testing.explorer.keys`).
"""

from __future__ import annotations

import pickle
from collections.abc import Hashable, Iterator
from hashlib import blake2b
from io import BytesIO
from typing import Any, NamedTuple, TypeAlias
from uuid import UUID

from qpidha.core.legality import FollowerState
from qpidha.core.ready import CloseLink
from qpidha.journal import StoreStatus
from qpidha.settings import Settings
from qpidha.testing.explorer.keys import canonical
from qpidha.testing.explorer.life import INPUTS, Effect, Life, Snapshot
from qpidha.testing.explorer.node_invariants import check_node
from qpidha.testing.explorer.tables import Table
from qpidha.testing.invariants.facts import facts_of
from qpidha.testing.sim.disk import Content, Facts
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

Given: TypeAlias = tuple[Hashable, ...]
"""What happens to a node: ("received", link, bytes), ("committed",), ("crash", kept?) …"""
Identity: TypeAlias = tuple[int, Generation, MessageId, int]
"""(queue by index, generation, id, message by index)."""


class Step(NamedTuple):
    """What came of an input."""

    node: int
    effects: tuple[Effect, ...]


class Look(NamedTuple):
    """A node's state, as far as the cluster around it must know. Messages are bits."""

    up: bool
    boots: int
    committing: bool
    known: int
    """The version of the newest record it saw."""
    linked: bool
    """It has a link to a primary, or is opening one."""
    named: int
    """The primary of that record, by index; -1: nobody."""
    primary: Generation
    """What it acts as primary in; 0: it does not."""
    position: Position
    owed: bool
    """Some member has not acknowledged everything."""
    following: tuple[Generation, Position] | None
    """As a backup that has flipped."""
    memory: int
    """What it would deliver."""
    held: tuple[tuple[int, MessageId, int], ...]
    """(queue, id, message) in memory."""
    content: int
    """Equal numbers, equal content in memory."""
    disk: int
    identities: frozenset[Identity]
    """Everything on its disk."""
    speaks_of: frozenset[int]
    """Links that effects it has still to perform are for, open or not: their numbers are not free."""


SHARED: Table[Any] = Table(None)
"""Values that never change: pickles have their numbers only, so that they are neither written nor made again."""


def shared(number: int) -> object:
    """Return the shared value with this number."""
    return SHARED.values[number]


def share(value: object) -> tuple[Any, ...]:
    """Tell pickle to write the number of this value, in place of the value."""
    return shared, (SHARED.number(value),)


class Pickler(pickle.Pickler):
    """For pickles that this process reads."""

    dispatch_table = dict.fromkeys(
        (UUID, Batch, Member, QueueSpec, Record, Settings, StoreStatus, Versioned), share
    )


class Nodes:
    """Every state that any node was in, by number, and every step that was ever made."""

    def __init__(self, names: tuple[NodeId, ...], queues: tuple[QueueId, ...], settings: Settings) -> None:
        self.names = names
        self.queues = queues
        self.settings = settings
        self.looks: list[Look] = []
        self.steps: dict[tuple[int, Given], Step | None] = {}
        self._pickles: list[bytes] = []
        self._numbers: dict[bytes, int] = {}
        self._contents: dict[str, int] = {}

    def new(self, name: NodeId) -> int:
        """A node that never ran, on an empty disk."""
        epoch = UUID(int=100 + self.names.index(name))
        return self._number(Snapshot(name, Content(StoreStatus(node=name, epoch=epoch))))

    def boot(self, node: int, boots: int) -> UUID:
        """The boot id of the n-th process of a node by index."""
        return UUID(int=1000 * (1 + node) + boots)

    def step(self, node: int, given: Given) -> Step | None:
        """What comes of it; None if it means nothing to a node in this state."""
        try:
            return self.steps[node, given]
        except KeyError:
            made = self.steps[node, given] = self._make(node, given)
            return made

    def _make(self, node: int, given: Given) -> Step | None:
        snapshot: Snapshot = pickle.loads(self._pickles[node])  # noqa: S301 - made below
        before = snapshot.content.status.generation
        life = Life(snapshot)
        if not self._happens(life, *given):
            return None
        snapshot.content.audit.clear()
        check_node(snapshot.name, snapshot.content, before, snapshot.replica, idle=snapshot.under_way is None)
        return Step(self._number(snapshot), tuple(life.effects))

    def _happens(self, life: Life, what: Hashable, *how: Hashable) -> bool:
        snapshot = life.snapshot
        if what == "crash":
            life.crash(keep=bool(how[0]))
            return True
        if what == "start":
            assert how[0] is None or isinstance(how[0], Versioned)
            boot = self.boot(self.names.index(snapshot.name), snapshot.boots + 1)
            return life.start(how[0], boot, self.settings)
        if snapshot.replica is None:
            return False
        life.wake(snapshot.replica)
        if not INPUTS[str(what)](life, *how):
            return False
        life.run()
        return True

    def _number(self, snapshot: Snapshot) -> int:
        key = blake2b(canonical(snapshot), digest_size=16).digest()
        number = self._numbers.get(key)
        if number is None:
            number = self._numbers[key] = len(self._pickles)
            kept = BytesIO()
            Pickler(kept, pickle.HIGHEST_PROTOCOL).dump(snapshot)
            self._pickles.append(kept.getvalue())
            self.looks.append(self._look(snapshot))
        return number

    # --- looking at a node ---------------------------------------------------------------------------

    def _look(self, snapshot: Snapshot) -> Look:
        replica = snapshot.replica
        disk = self._identities(snapshot.content.facts())
        look = Look(
            up=False, boots=snapshot.boots, committing=snapshot.under_way is not None, known=0, linked=False,
            named=-1, primary=0, position=0, owed=False, following=None, memory=0, held=(), content=-1,
            disk=mask(disk), identities=frozenset(disk), speaks_of=frozenset(),
        )  # fmt: skip
        if replica is None:
            return look
        facts = facts_of(replica)
        memory = self._identities(facts)
        record, primary, session = replica.record, replica.primary, replica.follower.session
        follows = session is not None and session.state is FollowerState.FOLLOWING
        return look._replace(
            up=True,
            known=replica.manager.known.version if replica.manager.known else 0,
            linked=replica.follower.link is not None,
            named=self.names.index(record.primary[0]) if record and record.primary else -1,
            primary=primary.generation if primary else 0,
            position=primary.position if primary else 0,
            owed=primary is not None and primary.safe < primary.position,
            following=(session.generation, session.position) if session and follows else None,
            memory=mask(memory),
            held=tuple((queue, id, message) for queue, _, id, message in memory),
            speaks_of=frozenset(speaks_of(snapshot)),
            content=self._contents.setdefault(repr(sorted(facts.items())), len(self._contents)),
        )

    def _identities(self, facts: Facts) -> list[Identity]:
        return [
            (self.queues.index(queue), generation, id, int(message.value[1:]))
            for queue, (_, _, held) in facts.items()
            for generation, id, message in held
        ]


def speaks_of(snapshot: Snapshot) -> Iterator[int]:
    """The links in effects that wait for the disk."""
    assert snapshot.replica is not None
    for ready in (snapshot.under_way, snapshot.replica.out._ready):
        if ready is not None:
            yield from (link for link, _ in ready.send)
            yield from (notice.link for notice in ready.notify if isinstance(notice, CloseLink))


def mask(identities: list[Identity]) -> int:
    """The messages among these, as bits."""
    bits = 0
    for identity in identities:
        bits |= 1 << identity[3]
    return bits
