"""Whether a node may start with the store it found. Pure: nothing is read or changed here.

`START_RULES` is the answer as a table: the first row that applies decides, and says why, for a log, a
command line or a test. A store that is damaged (D3) or of another cluster (D7) is refused.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from typing import Final
from uuid import UUID

from qpidha.errors import StoreDamaged, StoreDirty, StoreError, StoreMismatch
from qpidha.journal import StoreState, StoreStatus
from qpidha.recovery.findings import Finding, Severity
from qpidha.settings import Settings
from qpidha.types import Generation, Member, Record


class Verdict(Enum):
    """What a node may do with its store."""

    FOUND = "found"
    """No node used this store before: join if a record appears, or create it and with it the cluster."""
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
        """Whether a node with this store may become primary."""
        return self.verdict is Verdict.MEMBER

    def require(self) -> StartDecision:
        """Return the decision itself, or raise the `StoreError` that says why the store is refused."""
        if self.error is not None:
            raise self.error(self.finding.text)
        return self


@dataclass(frozen=True, slots=True)
class _Facts:
    """The facts that the start-up rules compare."""

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
        "manager was reset or restored from an old copy. Compare all stores, then set the record to "
        "the highest generation of them (`qpidha record rebuild`)",
    ),
    _refuse(
        "no-record",
        lambda f: f.record is None and not f.empty,
        StoreMismatch,
        "the store has data of cluster {cluster}, generation {generation}, but the cluster manager has "
        "no record: it was reset, or this is the wrong one. Compare all stores, then create the record "
        "from the best of them (`qpidha record rebuild`)",
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
