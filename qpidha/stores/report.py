"""The findings of an inspection of a store: data classes for tools and for ranking."""

from __future__ import annotations

from dataclasses import dataclass

from qpidha.journal import StoreStatus
from qpidha.types import Entry, Generation, MessageId, QueueId


@dataclass(frozen=True, slots=True)
class Damage:
    """One thing in a store that does not verify."""

    code: str
    """Stable: status, identity, missing, unreadable, integrity, queue, batch, dead, digest, overlap,
    next, lineage, quarantine, wal."""
    text: str
    """The fault in words, with the range of message ids that is affected, if known."""

    def __str__(self) -> str:
        return f"{self.text} [{self.code}]"


@dataclass(frozen=True, slots=True, kw_only=True)
class QueueReport:
    """What a store holds of one queue."""

    queue: QueueId
    name: str
    lineage: tuple[Entry, ...]
    next: MessageId
    held: int
    """Live messages."""
    nbytes: int
    """Bytes of the batches that hold them, dead messages of these batches included."""
    holes: int
    """Ids between the first and the last live one that are not held: consumed out of order."""


@dataclass(frozen=True, slots=True)
class AuditLine:
    """One line of the audit record. No checksum covers it, because no decision depends on it."""

    at: float
    """Wall-clock time of the commit, seconds since the epoch. For people."""
    event: str
    """What happened; ``unreadable``: the line is damaged, and nothing else of it is known."""
    generation: Generation
    queue: str
    detail: str


@dataclass(frozen=True, slots=True, kw_only=True)
class StoreReport:
    """Everything an operator wants to know of one store. `qpidha.recovery.ranking.rank` orders several."""

    name: str
    """Where it is: the directory."""
    status: StoreStatus | None
    """None: there is none that can be read."""
    queues: tuple[QueueReport, ...] = ()
    quarantined: int = 0
    """Messages that await hand-over (rule W1)."""
    audit: tuple[AuditLine, ...] = ()
    """The last lines, oldest first."""
    damage: tuple[Damage, ...] = ()
    """Empty: it verifies."""
    file_bytes: int = 0
    """Length of the database."""
    free_bytes: int = 0
    """Of these, in pages without content: `qpidha store compact` gives them back."""
