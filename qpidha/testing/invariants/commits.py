"""Commits: a disk has all of one or nothing, at every instant; objects that clients were told of stay (TX1, TX5, Q1).

Each commit of a walk puts an object of its own, which is never erased. So a disk has the commit exactly if it has the
object: a disk that its history rewound has neither.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain

from qpidha.core.configuration import object_key
from qpidha.core.steps import Erase, Put, QueueRef, Step
from qpidha.journal import Change
from qpidha.testing.invariants.configuration import (
    configuration_fault,
    configures,
    lost_with_queues,
    objects_of,
)
from qpidha.testing.invariants.violation import Violation
from qpidha.testing.sim.content import Content
from qpidha.testing.sim.node import SimNode
from qpidha.testing.sim.touched import Touched
from qpidha.types import QueueId

COMMIT = "commit"
"""Kind of the objects that mark commits."""


@dataclass(slots=True)
class Commit:
    """One commit of a client: its steps, and what they mean for messages."""

    number: int
    steps: list[Step] = field(default_factory=list)
    given: list[tuple[int, QueueRef, list[str], bool]] = field(default_factory=list)
    """Steps that give ids: the number of the step, the queue, the values, and whether they were moved or updated."""
    accepted: list[str] = field(default_factory=list)
    objects: dict[bytes, bytes | None] = field(default_factory=dict)
    """What it puts, or erases (None), besides its mark."""
    copies: dict[str, int] = field(default_factory=dict)
    """Values that it publishes to several queues, and to how many."""
    declared: dict[int, str] = field(default_factory=dict)
    """Names of queues by the steps that declare them."""
    deleted: list[QueueId] = field(default_factory=list)
    carried: list[str] = field(default_factory=list)
    """Values that leave a queue which it deletes, for another one."""
    then: Callable[[], None] = lambda: None
    """Called when its client was told that it is complete."""

    @classmethod
    def marked(cls, number: int, configuration: QueueId) -> Commit:
        """A commit that puts the object which marks it, and nothing else yet."""
        commit = cls(number)
        commit.steps.append(Put(configuration, commit.mark, b""))
        return commit

    @property
    def mark(self) -> bytes:
        """The key of the object that marks it."""
        return object_key(COMMIT, str(self.number))

    @property
    def published(self) -> list[str]:
        """The values that it publishes."""
        return [value for _, _, values, moved in self.given if not moved for value in values]

    @property
    def replaced(self) -> list[str]:
        """The values that it moves or updates."""
        return [v for _, _, values, moved in self.given if moved for v in values] + self.carried

    @property
    def values(self) -> list[str]:
        """All values that it names."""
        return [*self.published, *self.replaced, *self.accepted]

    def put(self, configuration: QueueId, key: bytes, value: bytes | None) -> None:
        """Add a step that puts an object, or erases it."""
        self.objects[key] = value
        self.steps.append(Erase(configuration, key) if value is None else Put(configuration, key, value))


class Commits:
    """Remembers the commits of a run, and the objects that every member must have."""

    def __init__(self, acked: Container[str], copies: Mapping[str, int]) -> None:
        """``acked``, ``copies``: those of the `Ledger`."""
        self._acked, self._copies = acked, copies
        self.history: list[Commit] = []
        """Every commit that a primary made, whatever came of it."""
        self._named: dict[str | bytes, list[Commit]] = {}
        """By mark and by value: the commits that have it."""
        self._takers: dict[str, list[bytes]] = {}
        """By value: the marks of the commits that accept it."""
        self.elsewhere: set[str] = set()
        """Values that a consumer accepted without a commit, or that went with a deleted queue."""
        self._newest: dict[bytes, int] = {}
        """By key of an object: the last commit that changes it, on whatever primary."""
        self.owed: dict[bytes, bytes | None] = {}
        """Objects as clients were told, that nothing has tried to change since."""
        self.queues: set[QueueId] = set()
        """Queues whose declaration was answered, and that nothing has tried to delete since: every member has them."""
        self.gone: set[QueueId] = set()
        """Queues whose deletion was answered: no member has them."""
        self._deleted: set[QueueId] = set()
        """Queues that something has tried to delete."""

    def made(self, commit: Commit) -> None:
        """A primary has made this commit."""
        self.history.append(commit)
        for name in chain[str | bytes]([commit.mark], commit.published, commit.accepted):
            self._named.setdefault(name, []).append(commit)
        for value in commit.accepted:
            if value not in self._copies:
                self._takers.setdefault(value, []).append(commit.mark)
        for key in commit.objects:
            self._newest[key] = commit.number
            self.owed.pop(key, None)

    def deleting(self, queue: QueueId) -> None:
        """A primary deletes this queue, whatever comes of it."""
        self._deleted.add(queue)
        self.queues.discard(queue)

    def deletion_answered(self, queue: QueueId, members: Iterable[SimNode]) -> None:
        """A client was told that the queue is deleted. Raises `Violation` (Q4): a member has it."""
        self.gone.add(queue)
        self.check_members(members)

    def declaration_answered(self, queue: QueueId, members: Iterable[SimNode]) -> None:
        """A client was told that the queue is declared. Raises `Violation` (Q2): a member does not have it."""
        if queue not in self._deleted:
            self.queues.add(queue)
        self.check_members(members)

    def answered(self, commit: Commit, members: Iterable[SimNode]) -> None:
        """A client was told that it is complete. Raises `Violation` (F3): a member lacks one of its objects."""
        commit.then()
        self.owed[commit.mark] = b""
        for key, value in commit.objects.items():
            if self._newest[key] == commit.number:
                self.owed[key] = value
        self.check_members(members)

    def check_members(self, members: Iterable[SimNode]) -> None:
        """See `check_member`."""
        for member in members:
            self.check_member(member)

    def check_disk(self, node: SimNode, consumed: Container[str], changes: Sequence[Change]) -> None:
        """Check what a transaction may have changed on a disk. Raises `Violation` (Q2, R-c, TX1)."""
        if configures(node.disk.content, changes) and (wrong := configuration_fault(node.disk.content)):
            raise Violation(f"Q2: {node.name}: {wrong}")
        if lost := lost_with_queues(node.disk.content):
            raise Violation(f"R-c: {node.name} erased {lost} with queues whose declarations were rewound")
        if wrong := self.torn(node.disk.content, consumed):
            raise Violation(f"TX1: {node.name} {wrong}")

    def check_member(self, member: SimNode) -> None:
        """Check that a member has what clients were told of. O(objects). Raises `Violation` (Q1, Q2, Q4, TX6)."""
        content = member.disk.content
        there = content.queues.keys() | content.local.keys()
        if lost := self.queues - there:
            raise Violation(f"Q2: member {member.name} lacks {lost}, declared and answered")
        if back := self.gone & there:
            raise Violation(f"Q4: member {member.name} has {back}, deleted and answered")
        objects = objects_of(content)
        found = {m.props: m.data for m in objects.held.values()} if objects else {}
        if missing := [key for key, value in self.owed.items() if found.get(key) != value]:
            raise Violation(f"Q1: member {member.name} has otherwise than clients were told: {missing}")
        for value, marks in self._takers.items():
            owed = value in self._acked and value not in content.values and value not in self.elsewhere
            if owed and found.keys().isdisjoint(marks):
                raise Violation(
                    f"TX6: member {member.name} has neither {value}, acknowledged, nor its commit"
                )

    def _naming(self, touched: Touched) -> Iterator[Commit]:
        """The commits that name something of this, each at least once."""
        for name in chain[str | bytes](touched.keys, touched.values):
            yield from self._named.get(name, ())

    def torn(self, content: Content, consumed: Container[str]) -> str:
        """What a disk has of a commit that it has not wholly; empty: nothing. O(commits that name what changed)."""
        objects, touched = objects_of(content), content.touched
        keys = {m.props for m in objects.held.values()} if objects else set[bytes]()
        for commit in self.history if touched.whole else self._naming(touched):
            if commit.mark in keys:
                published = [v for v in commit.published if v not in consumed]
                missing = [v for v in published if content.values[v] != self._copies.get(v, 1)]
                left = [v for v in commit.accepted if v in content.values and v not in self._copies]
                if missing or left:
                    return f"has commit {commit.number}, lacks {missing}, holds {left}"
            elif found := [v for v in commit.published if v in content.values]:
                return f"has {found} of commit {commit.number}, and not the commit"
        return ""
