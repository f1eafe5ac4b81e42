"""Which of several stores is the best, after a total crash. Pure: nothing is read or changed here.

`CRITERIA` is the answer as a table: the first criterion in which two stores differ decides between them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, Protocol
from uuid import UUID

from qpidha.journal import StoreState, StoreStatus
from qpidha.recovery.findings import Finding, Severity
from qpidha.types import Level, Member, QueueId, Record, level_of


class QueueReportLike(Protocol):
    """One queue of a store, as far as ranking is concerned."""

    @property
    def queue(self) -> QueueId:
        """The id of the queue."""

    @property
    def next(self) -> int:
        """The id that its next message would get."""

    @property
    def held(self) -> int:
        """How many messages it holds."""


class StoreReportLike(Protocol):
    """The part of a store report that ranking reads. `qpidha.stores.report.StoreReport` has this shape."""

    @property
    def name(self) -> str:
        """How the store is named in findings."""

    @property
    def status(self) -> StoreStatus | None:
        """Status of the store; None: it cannot be read."""

    @property
    def queues(self) -> Sequence[QueueReportLike]:
        """The queues in the store."""

    @property
    def damage(self) -> Sequence[object]:
        """What is wrong with the store. Empty: nothing."""


@dataclass(frozen=True, slots=True)
class Ranked:
    """One store in the ranking."""

    name: str
    place: int | None
    """1: start from this one. None: must not be used."""
    findings: tuple[Finding, ...]
    conflict: bool = False
    """True if nothing in the stores says which of two is right: the operator decides."""


@dataclass(frozen=True, slots=True)
class _Candidate:
    name: str
    status: StoreStatus
    queues: Sequence[QueueReportLike]
    record: Record | None

    @property
    def member(self) -> bool:
        me = Member(self.status.node, self.status.epoch)
        return self.record is not None and me in self.record.members

    @property
    def compared(self) -> list[QueueReportLike]:
        """The queues whose messages are replicated: of the others each store has its own (LV1)."""
        return [q for q in self.queues if level_of(q.queue) is Level.MESSAGES]

    @property
    def content(self) -> frozenset[tuple[QueueId, int, int]]:
        return frozenset((q.queue, q.next, q.held) for q in self.compared)


@dataclass(frozen=True, slots=True)
class _Criterion:
    code: str
    value: Callable[[_Candidate], int]
    """Higher is better."""
    text: str


CRITERIA: Final[tuple[_Criterion, ...]] = (
    _Criterion(
        "not-member", lambda c: c.member, "is not in the recorded in-sync set, may lack acknowledged messages"
    ),
    _Criterion("lower-generation", lambda c: c.status.generation, "has seen generation {mine}, not {best}"),
    _Criterion("not-primary", lambda c: c.status.primary, "was a backup, the other one the primary"),
    _Criterion(
        "not-clean", lambda c: c.status.state is StoreState.CLEAN, "was not closed cleanly, the other one was"
    ),
    _Criterion(
        "fewer-given-out",
        lambda c: sum(q.next for q in c.compared),
        "knows fewer message ids: the sum of the next ids is {mine}, not {best}",
    ),
    _Criterion("fewer-held", lambda c: sum(q.held for q in c.compared), "holds {mine} messages, not {best}"),
)


def rank(stores: Sequence[StoreReportLike], record: Record | None = None) -> list[Ranked]:
    """Order stores after a total crash: what to start from first, with a reason for each place.

    Usable stores come first, best first; then the excluded ones. With a record its members lead: they hold
    everything that was acknowledged, whatever the others say.
    """
    candidates: list[_Candidate] = []
    excluded: list[Ranked] = []
    cluster = record.cluster if record else _only_cluster(stores)
    for store in stores:
        if findings := _exclusion(store, cluster):
            excluded.append(Ranked(store.name, None, findings))
        else:
            assert store.status is not None
            candidates.append(_Candidate(store.name, store.status, store.queues, record))
    candidates.sort(key=lambda c: (*(-int(criterion.value(c)) for criterion in CRITERIA), c.name))
    return [_place(index, candidates) for index in range(len(candidates))] + excluded


def _only_cluster(stores: Sequence[StoreReportLike]) -> UUID | None:
    """The cluster that all stores belong to; None if they disagree or none says."""
    clusters = {s.status.cluster for s in stores if s.status and s.status.cluster and not s.damage}
    return clusters.pop() if len(clusters) == 1 else None


def _exclusion(store: StoreReportLike, cluster: UUID | None) -> tuple[Finding, ...]:
    """Why this store is no candidate. Empty: it is one."""
    status = store.status
    if store.damage or status is None or status.state is StoreState.DAMAGED:
        details = tuple(Finding(Severity.ERROR, "damage", str(item)) for item in store.damage)
        return (Finding(Severity.ERROR, "damaged", "fails verification"), *details)
    if status.state is StoreState.EMPTY or status.cluster is None:
        return (Finding(Severity.INFO, "empty", "has never belonged to a cluster"),)
    if cluster is None:
        return (
            Finding(
                Severity.ERROR,
                "several-clusters",
                f"belongs to cluster {status.cluster}, other stores to another: rank each cluster on its own",
            ),
        )
    if status.cluster != cluster:
        return (Finding(Severity.ERROR, "other-cluster", f"belongs to cluster {status.cluster}"),)
    return ()


def _place(index: int, candidates: Sequence[_Candidate]) -> Ranked:
    me = candidates[index]
    findings = [_reason(me, candidates[index - 1]) if index else _best(me, alone=len(candidates) == 1)]
    if me.record is not None and not me.member and index == 0:
        findings.append(
            Finding(
                Severity.WARNING,
                "no-member",
                "no store of the recorded in-sync set is here: messages may be missing",
            )
        )
    rivals = [other.name for other in candidates if _conflict(me, other)]
    if rivals:
        findings.append(
            Finding(
                Severity.WARNING,
                "stop-conflict",
                f"closed cleanly in the same generation as {', '.join(rivals)}, but in another "
                "stop and with different content: the operator decides",
            )
        )
    return Ranked(me.name, index + 1, tuple(findings), bool(rivals))


def _best(me: _Candidate, *, alone: bool) -> Finding:
    what = "the only usable store" if alone else "the best store"
    member = "member of the recorded in-sync set, " if me.member else ""
    role = "primary" if me.status.primary else "backup"
    return Finding(
        Severity.INFO,
        "best",
        f"{what}: {member}generation {me.status.generation}, {role}, {me.status.state.value}",
    )


def _reason(me: _Candidate, better: _Candidate) -> Finding:
    """The first criterion in which the store one place above is better."""
    for criterion in CRITERIA:
        mine, best = int(criterion.value(me)), int(criterion.value(better))
        if mine != best:
            text = criterion.text.format(mine=mine, best=best)
            return Finding(Severity.INFO, criterion.code, f"after {better.name}: {text}")
    return Finding(Severity.INFO, "equal", f"equal to {better.name} in all that is compared")


def _conflict(one: _Candidate, other: _Candidate) -> bool:
    """H56: clean stores of one generation, from different stops, whose content differs.

    There is no conflict if one of them is a member, which holds all that was acknowledged. Nor is there one between
    the primary of that generation and a backup: its primary made durable all that was acknowledged in it (O4).
    """
    if one is other or one.member or other.member or one.status.generation != other.status.generation:
        return False
    if one.status.primary != other.status.primary:
        return False
    both_clean = one.status.state is other.status.state is StoreState.CLEAN
    return both_clean and one.status.stop != other.status.stop and one.content != other.content
