"""The facts that code and model have in common, read from a simulated cluster and from a state of the model.

Both readings give a `Facts`: plain values that can be compared. What is in the one and not in the other is
left out on purpose, and docs/protocol.md ("The model and the code") says why: frames under way, positions,
windows, times, and the handshake before a subscription.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Any
from uuid import UUID

import model

from qpidha.core.legality import FollowerState, SessionState
from qpidha.core.primary.primary import Primary
from qpidha.core.primary.session import BackupSession
from qpidha.core.ready import CompareAndSet
from qpidha.testing.invariants.facts import fact_of
from qpidha.testing.sim.content import Message
from qpidha.testing.sim.node import SimNode
from qpidha.testing.sim.world import World
from qpidha.types import Record

Facts = dict[tuple[Any, ...], Any]
"""(node or "cluster", what) → value. A fact that only one side can know is None, and matches anything."""


def number(value: str) -> int:
    """The n-th publish is called v<n> in the simulator, n in the model."""
    return int(value[1:])


class CodeFacts:
    """Reads a simulated cluster."""

    def __init__(self, world: World, settle: str) -> None:
        self.world = world
        self.settle = settle
        self.names = list(world.nodes)
        self.queues = [world.queue_id(f"q{n}") for n in range(model.CFG["NQ"])]
        self.epochs: dict[UUID, int] = {n.epoch: 0 for n in world.nodes.values()}
        self.boots: dict[UUID, int] = {n.replica.boot: 0 for n in world.nodes.values()}
        self.first_boot = {n.name: n.boots for n in world.nodes.values()}
        assert world.manager.current is not None
        self.first_version = world.manager.current.version - 1
        self._wiped: Counter[str] = Counter()
        self.late: set[tuple[str, int, int, int]] = set()
        """(node, boot, link, session) of sessions opened for a backup that had already left: not in the model."""
        self.told: set[int] = set()
        self.settled: set[int] = set()
        self.handed_over: set[tuple[Any, ...]] = set()
        """(message as `_discarded` writes it, fate)."""

    def node(self, name: str) -> int:
        return self.names.index(name)

    def read(self) -> Facts:
        facts: Facts = {
            ("cluster", "record"): self.record(),
            ("cluster", "answered OK"): frozenset(self.told),
            ("cluster", "settled"): frozenset(self.settled) if self.settle == "rep" else frozenset(),
            ("cluster", "handed over"): frozenset(self.handed_over),
            ("cluster", "discarded"): self._discarded() | {message for message, _ in self.handed_over},
        }
        for node in self.world.nodes.values():
            n = self.node(node.name)
            facts.update(((n, what), value) for what, value in self._node(node))
        return facts

    def origin(self, raw: tuple[bytes, int, int] | None) -> tuple[int, ...]:
        """The origin as the model writes it: (queue, generation, id), or ()."""
        return (self.queues.index(UUID(bytes=raw[0])), raw[1], raw[2]) if raw else ()

    def _discarded(self) -> frozenset[tuple[Any, ...]]:
        """All messages in quarantine, on any disk."""
        return frozenset(
            (self.queues.index(queue), generation, id, number(message.value), self.origin(message.origin))
            for node in self.world.nodes.values()
            for (queue, generation, id), (_, _, message) in node.disk.content.shelf.items()
        )

    def record(self) -> tuple[Any, ...]:
        current = self.world.manager.current
        assert current is not None
        return (current.version - self.first_version, *self.content(current.record))

    def content(self, record: Record) -> tuple[Any, ...]:
        """(generation, primary, boot, members) as the model writes them."""
        primary, boot = record.primary or (None, None)
        return (
            record.generation,
            model.NO_NODE if primary is None else self.node(primary),
            0 if boot is None else self.boots[boot],
            tuple(sorted((self.node(m.node), self.epochs[m.epoch]) for m in record.members)),
        )

    # --- one node ------------------------------------------------------------------------------------

    def _node(self, node: SimNode) -> Iterator[tuple[str, Any]]:
        if node.epoch not in self.epochs:
            self._wiped[node.name] += 1
            self.epochs[node.epoch] = self._wiped[node.name]
        if node.up:
            self.boots[node.replica.boot] = node.boots - self.first_boot[node.name]
        yield "up", node.up
        yield "disk", self._disk(node)
        yield "memory", self._memory(node) if node.up else None
        primary = node.replica.primary if node.up else None
        yield "primary", primary is not None
        yield "compare-and-set", self.flight(node)
        yield "staged", self._staged(node) if node.up else None
        yield "members", self._members(primary) if primary else ()
        yield "joining", self._joining(primary) if primary else ()
        for b in range(model.NODES):
            yield f"session of {b}", self._session(node, primary, b) if primary else ()

    def _disk(self, node: SimNode) -> tuple[Any, ...]:
        content = node.disk.content
        queues = []
        for queue in self.queues:
            q = content.queues.get(queue)
            if q is None:
                queues.append(((), 1, ()))
                continue
            queues.append((q.lineage, q.next, self._held(q.identified())))
        return self.epochs[node.epoch], content.status.generation, tuple(queues)

    def _memory(self, node: SimNode) -> tuple[Any, ...]:
        queues = []
        for queue in self.queues:
            q = node.replica.queues.get(queue)
            if q is None:
                queues.append(((), 1, ()))
                continue
            queues.append((q.lineage, q.next, self._held(fact_of(q)[2])))
        return self.epochs[node.replica.epoch], node.replica.generation, tuple(queues)

    def _held(self, messages: Iterable[tuple[int, int, Message]]) -> tuple[Any, ...]:
        return tuple((of, id, number(m.value), self.origin(m.origin)) for of, id, m in messages)

    def version(self, of_code: int | None) -> int:
        assert of_code is not None
        return of_code - self.first_version

    def flight(self, node: SimNode) -> tuple[Any, ...]:
        """(kind, expected version) of the compare-and-set in flight."""
        if not node.up or node.replica.manager.in_flight is None:
            return ()
        return self.named(node, node.replica.manager.in_flight)

    def named(self, node: SimNode, cas: CompareAndSet) -> tuple[str, int]:
        """The model's kind of this compare-and-set."""
        primary = cas.new.primary
        if primary is None:
            kind = "demote"
        elif node.replica.primary is None or cas.new.generation != node.replica.primary.generation:
            kind = "prom"
        else:
            kind = "rem" if cas.new.members < node.replica.primary.membership.members else "add"
        return kind, self.version(cas.expected)

    def _staged(self, node: SimNode) -> tuple[Any, ...] | None:
        """What is staged in the session. None after its end: only the next SUB shows when it was forgotten."""
        session = node.replica.follower.session
        end = self.world.network.ends.get((node.name, session.link)) if session else None
        if (
            session is None
            or end is None
            or not end.other.open
            or session.state is not FollowerState.STAGING
            or not session._plan
        ):
            return None
        return tuple(sorted(
            (self.queues.index(queue), id, number(batch.data(index).rstrip(b".").decode()))
            for queue, planned in session._plan.items()
            if queue in self.queues  # Not the configuration, which the model does not have.
            for piece in planned.staged
            for batch in [session._staging.body(queue, piece)]
            for index, id in enumerate(piece.ids)
        ))  # fmt: skip

    def _members(self, primary: Primary) -> tuple[Any, ...]:
        return tuple(sorted((self.node(m.node), self.epochs[m.epoch]) for m in primary.membership.members))

    def _joining(self, primary: Primary) -> tuple[Any, ...]:
        joining = primary.membership.joining
        return (self.node(joining.member.node), self.epochs[joining.member.epoch]) if joining else ()

    def _session(self, node: SimNode, primary: Primary, b: int) -> tuple[Any, ...]:
        """Whether the session catches up, or how many operations behind its plan were acknowledged."""
        for session in primary.sessions.values():
            late = (node.name, node.boots, session.link, session.sid) in self.late
            if self.node(session.node) == b and subscribed(session) and not late:
                if session.state is SessionState.CATCHING_UP:
                    return (self.epochs[session.epoch], "catching up")
                return (self.epochs[session.epoch], max(session.acked - session.plan_position, -1))
        return ()


def subscribed(session: BackupSession) -> bool:
    """Whether the backup described all of its queues; what came before that is only a handshake."""
    return session.sid != 0 and session.state not in (SessionState.COMPARING, SessionState.SUBSCRIBING)


# --- the model ------------------------------------------------------------------------------------------


def facts_of(state: tuple[Any, ...]) -> Facts:
    """Reads a state of the model."""
    settled = state[4][model.SETTLED] if model.CFG["settle"] == "rep" else frozenset()
    handed_over = {(message, "rewound") for message in state[4][model.HANDED_OVER]}
    handed_over |= {(message, "undone-move") for message in state[4][model.UNDONE]}
    facts: Facts = {
        ("cluster", "record"): tuple(state[0]),
        ("cluster", "answered OK"): state[4][model.TOLD],
        ("cluster", "settled"): settled,
        ("cluster", "handed over"): frozenset(handed_over),
        ("cluster", "discarded"): frozenset(message for message, _ in handed_over)
        | frozenset(item[1:] for item in state[4][model.QUARANTINED]),
    }
    for n in range(model.NODES):
        facts.update(((n, what), value) for what, value in _facts_of_node(state[2][n]))
    return facts


def _facts_of_node(x: tuple[Any, ...]) -> Iterator[tuple[str, Any]]:
    up, view, cas = bool(x[model.UP]), x[model.VIEW], x[model.CAS]
    yield "up", up
    yield "disk", plain(x[model.DISK])
    yield "memory", plain(x[model.MEM]) if up else None
    yield "primary", x[model.ROLE] == 1
    yield "compare-and-set", () if cas is None else (cas.kind, cas.expected)
    yield "staged", tuple(sorted((q, m.id, m.value) for q, m in x[model.STAGED]))
    yield "members", view.members if view else ()
    yield "joining", (view.joining.node, view.joining.epoch) if view and view.joining else ()
    for b in range(model.NODES):
        yield f"session of {b}", _session(view.sessions[b]) if view else ()


def _session(session: Any) -> tuple[Any, ...]:
    if session is None or session.sid == 0:
        return ()
    if session.described is not None:
        return (session.epoch, "catching up")
    return (session.epoch, max(session.acked - session.plan_seq, -1))


def plain(store: Any) -> tuple[Any, ...]:
    queues = tuple((q.lineage, q.next, tuple(tuple(m) for m in q.held)) for q in store.queues)
    return store.epoch, store.generation, queues


AT_MOST = frozenset({"handed over", "discarded"})
"""Facts that the model keeps for all nodes together: the code's must be a part of the model's."""

ANSWERS = frozenset({"answered OK", "settled"})
"""With a disk that takes time (sync=1) the code answers after its commit, or never, and the model at once. With
settle=imm the code answers a publish whose message was moved, and accepted there, with the move, and the model at once.
With min the code asks for a removal before it answers what completes in the same step, and the model answers first.
"""


def differences(code: Facts, other: Facts) -> list[tuple[Any, ...]]:
    """The facts that differ. None matches anything: that side cannot know."""
    return [k for k, v in code.items() if not _agree(k[1], v, other[k])]


def _agree(what: str, code: Any, other: Any) -> bool:
    delayed = model.CFG["sync"] or model.CFG["settle"] == "imm" or model.CFG["min"] > 1
    if code is None or other is None:
        return True
    if what in AT_MOST or (what in ANSWERS and delayed):
        return bool(code <= other)
    return bool(code == other)
