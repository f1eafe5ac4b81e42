"""Whether a store may be used, and which of several stores is the best: pure functions over statuses.

Two questions, two tables. `START_RULES` says what a node may do with the store it found: the first row that
applies decides. `CRITERIA` says which of several stores an operator should start from after a total crash:
the first criterion in which two stores differ decides between them. Nothing here reads a file, and nothing
is changed: the answers are typed findings that say why, for a log, a command line or a test.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Final, Protocol
from uuid import UUID

from qpidha.errors import StoreDamaged, StoreDirty, StoreError, StoreMismatch
from qpidha.journal import StoreState, StoreStatus
from qpidha.settings import Settings
from qpidha.types import Generation, Member, QueueId, Record


class Severity(Enum):
    INFO = "info"
    """Explains a decision."""
    WARNING = "warning"
    """Worth an operator's look; nothing is refused because of it."""
    ERROR = "error"
    """The reason of a refusal."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One reason, for people and for programs."""

    severity: Severity
    code: str
    """Stable, for programs: never reworded, never reused."""
    text: str

    def __str__(self) -> str:
        return f"{self.severity.value}: {self.text} [{self.code}]"


# --- may this node start? --------------------------------------------------------------------------


class Verdict(Enum):
    """What a node may do with its store."""

    FOUND = "found"
    """Nobody was here before: join if a record appears, or create it and with it the cluster."""
    MEMBER = "member"
    """Holds everything acknowledged: joins a primary as a backup, or may be promoted (rule P1)."""
    JOIN = "join"
    """Joins a live primary as a backup. Must not be promoted before the record lists it (rule J2)."""
    REFUSE = "refuse"
    """Must not be used; nothing in it was changed."""


@dataclass(frozen=True, slots=True)
class StartDecision:
    """The answer of `check_start`, with its reason."""

    verdict: Verdict
    finding: Finding
    error: type[StoreError] | None = None
    """What `require` raises. Set exactly when the verdict is to refuse."""

    @property
    def promotable(self) -> bool:
        return self.verdict is Verdict.MEMBER

    def require(self) -> StartDecision:
        """Return the decision itself, or raise the `StoreError` that says why the store is refused."""
        if self.error is not None:
            raise self.error(self.finding.text)
        return self


@dataclass(frozen=True, slots=True)
class _Facts:
    """What the start-up rules look at."""

    status: StoreStatus
    record: Record | None
    settings: Settings

    @property
    def empty(self) -> bool:
        return self.status.state is StoreState.EMPTY

    @property
    def listed(self) -> Member | None:
        """The member entry of this node id, whatever its epoch."""
        return self.record.member(self.status.node) if self.record else None

    @property
    def member(self) -> bool:
        """Rule P1: this node *with this life of its store* is in the in-sync set."""
        return self.listed is not None and self.listed.epoch == self.status.epoch

    @property
    def foreign(self) -> bool:
        cluster = self.status.cluster
        return self.record is not None and cluster is not None and cluster != self.record.cluster

    @property
    def ahead(self) -> bool:
        return self.record is not None and self.status.generation > self.record.generation

    @property
    def words(self) -> dict[str, object]:
        """What the texts of the rules may name."""
        s, r = self.status, self.record
        return {
            "node": s.node,
            "epoch": s.epoch,
            "cluster": s.cluster,
            "generation": s.generation,
            "state": s.state.value,
            "record_cluster": r and r.cluster,
            "record_generation": r and r.generation,
            "listed": self.listed and self.listed.epoch,
        }


@dataclass(frozen=True, slots=True)
class _StartRule:
    code: str
    when: Callable[[_Facts], bool]
    verdict: Verdict
    text: str
    severity: Severity = Severity.INFO
    error: type[StoreError] | None = None


def _refuse(code: str, when: Callable[[_Facts], bool], error: type[StoreError], text: str) -> _StartRule:
    return _StartRule(code, when, Verdict.REFUSE, text, Severity.ERROR, error)


START_RULES: Final[tuple[_StartRule, ...]] = (
    # Refusals, gravest first. Identity before state: a foreign store is left alone whatever its state.
    _refuse(
        "damaged",
        lambda f: f.status.state is StoreState.DAMAGED,
        StoreDamaged,
        "the store of node {node} is damaged and never serves while another copy exists; keep it for "
        "inspection, start this node on an empty directory, and it will be filled by the primary",
    ),
    _refuse(
        "other-cluster",
        lambda f: f.foreign,
        StoreMismatch,
        "the store belongs to cluster {cluster}, the record to cluster {record_cluster}: this is the "
        "wrong directory or the wrong cluster manager",
    ),
    _refuse(
        "generation-ahead",
        lambda f: f.ahead,
        StoreMismatch,
        "the store has seen generation {generation}, the record is at {record_generation}: the cluster "
        "manager was reset or restored from an old copy. Compare all stores, then set the record's "
        "generation above the highest of them",
    ),
    _refuse(
        "no-record",
        lambda f: f.record is None and not f.empty,
        StoreMismatch,
        "the store has data of cluster {cluster}, generation {generation}, but the cluster manager has "
        "no record: it was reset, or this is the wrong one. Compare all stores, then create the record "
        "from the best of them",
    ),
    _refuse(
        "dirty-refused",
        lambda f: f.status.state is StoreState.DIRTY and f.settings.dirty_start == "refuse",
        StoreDirty,
        "the store of node {node} was not closed cleanly, and dirty_start is 'refuse'",
    ),
    # Empty stores.
    _StartRule(
        "may-found",
        lambda f: f.record is None,
        Verdict.FOUND,
        "empty store and no record: this node may found the cluster",
    ),
    _StartRule(
        "founder",
        lambda f: f.empty and f.member,
        Verdict.MEMBER,
        "empty store, listed with this epoch: founding was interrupted before anything was stored",
    ),
    _StartRule(
        "wiped",
        lambda f: f.empty and f.listed is not None,
        Verdict.JOIN,
        "the record lists node {node} with store {listed}, this one is new ({epoch}): it was wiped "
        "or replaced, its membership does not count, it joins as new (rule J3)",
        Severity.WARNING,
    ),
    _StartRule("new", lambda f: f.empty, Verdict.JOIN, "empty store: joins as a new member"),
    # Stores with data.
    _StartRule(
        "member",
        lambda f: f.member,
        Verdict.MEMBER,
        "the {state} store is in the recorded in-sync set: all that was acknowledged is in it",
    ),
    _StartRule(
        "other-epoch",
        lambda f: f.listed is not None,
        Verdict.JOIN,
        "the record lists node {node} with store {listed}, this one is {epoch}: an older copy or a "
        "restored backup, it joins as a non-member (rule J3)",
        Severity.WARNING,
    ),
    _StartRule(
        "not-member",
        lambda f: True,
        Verdict.JOIN,
        "not in the recorded in-sync set: joins a primary and is corrected by difference",
    ),
)


def check_start(status: StoreStatus, record: Record | None, settings: Settings) -> StartDecision:
    """What a node may do with the store it found. Pure: asked before anything is changed.

    Args:
        status: As the store was *left*, from `MessageStore.open` or a status reader.
        record: From a linearizable read of the cluster manager; None if there is none.
    """
    facts = _Facts(status, record, settings)
    rule = next(rule for rule in START_RULES if rule.when(facts))
    finding = Finding(rule.severity, rule.code, rule.text.format_map(facts.words))
    return StartDecision(rule.verdict, finding, rule.error)


def check_join(status: StoreStatus, cluster: UUID, generation: Generation) -> Finding | None:
    """Why a backup with this status must not follow this primary. None: it may.

    Args:
        cluster: The cluster uuid in the primary's first frame.
        generation: The generation the primary serves.
    """
    if status.cluster is not None and status.cluster != cluster:
        return Finding(
            Severity.ERROR,
            "other-cluster",
            f"the store belongs to cluster {status.cluster}, the primary to {cluster}",
        )
    if status.generation > generation:
        return Finding(
            Severity.ERROR,
            "stale-primary",
            f"the primary serves generation {generation}, the store has seen {status.generation}",
        )
    return None


# --- which store is the best? ----------------------------------------------------------------------


class QueueReportLike(Protocol):
    """One queue of a store, as far as ranking is concerned."""

    @property
    def queue(self) -> QueueId: ...
    @property
    def next(self) -> int: ...
    @property
    def held(self) -> int: ...


class StoreReportLike(Protocol):
    """What ranking looks at in a store. `qpidha.stores.report.StoreReport` has this shape."""

    @property
    def name(self) -> str: ...
    @property
    def status(self) -> StoreStatus | None: ...
    @property
    def queues(self) -> Sequence[QueueReportLike]: ...
    @property
    def damage(self) -> Sequence[object]: ...


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
    def content(self) -> frozenset[tuple[QueueId, int, int]]:
        return frozenset((q.queue, q.next, q.held) for q in self.queues)


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
        lambda c: sum(q.next for q in c.queues),
        "knows fewer message ids: the sum of the next ids is {mine}, not {best}",
    ),
    _Criterion("fewer-held", lambda c: sum(q.held for q in c.queues), "holds {mine} messages, not {best}"),
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
                f"belongs to cluster {status.cluster}, others to another: rank them apart",
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
                f"closed cleanly in the same generation as {', '.join(rivals)}, by another "
                "stop and with other content: the operator decides",
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
    """S06: clean stores of one generation, from different stops, whose content differs.

    The record settles it between a member and others; two members hold all that was acknowledged.
    """
    if one is other or one.member or other.member or one.status.generation != other.status.generation:
        return False
    both_clean = one.status.state is other.status.state is StoreState.CLEAN
    return both_clean and one.status.stop != other.status.stop and one.content != other.content
