"""Our side of the conversation with the cluster manager: one compare-and-set in flight (rules M1–M4).

A compare-and-set is resolved by its OK, or by reading a record with a higher version than expected. A
read at the old version resolves nothing: the lost request may still arrive. So an unknown outcome is
answered by issuing the *same* request again at the same expected version. At most one of the two is
applied, and the nonce in the record shows that it was ours, whichever it was.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TypeAlias
from uuid import UUID

from qpidha.core.ready import CompareAndSet, ReadRecord, Request
from qpidha.errors import ensure
from qpidha.types import NodeId, Record, Versioned

# --- answers, as the driver feeds them back ------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Applied:
    """The compare-and-set was applied; this is the record now."""

    current: Versioned


@dataclass(frozen=True, slots=True)
class Lost:
    """The compare-and-set was refused; this is the record that was found (None: there is none)."""

    current: Versioned | None


@dataclass(frozen=True, slots=True)
class NotSent:
    """The request was never sent to the manager, so it was certainly not applied."""


@dataclass(frozen=True, slots=True)
class Unknown:
    """The request was sent and got no answer: it may have been applied, now or later (M2)."""


@dataclass(frozen=True, slots=True)
class Read:
    """The answer to a `ReadRecord`."""

    current: Versioned | None


Answer: TypeAlias = Applied | Lost | NotSent | Unknown | Read


class Manager:
    """What this node knows of the record, and its one request in flight."""

    __slots__ = (
        "_boot",
        "_count",
        "_fresh",
        "_read_at",
        "_reading",
        "_retry_at",
        "_retry_s",
        "in_flight",
        "known",
        "once_members",
    )

    def __init__(self, boot: UUID, retry_s: float) -> None:
        self._boot = boot
        self._retry_s = retry_s
        self._count = 0
        self._fresh = False
        self._retry_at: float | None = None
        self._read_at: float | None = None
        self._reading = False
        """A read was sent, and its answer will come."""
        self.known: Versioned | None = None
        """The newest record seen, in the answer to a compare-and-set or a read, or by a watch."""
        self.in_flight: CompareAndSet | None = None
        self.once_members: frozenset[NodeId] = frozenset()
        """The nodes of all members of all records seen."""

    @property
    def record(self) -> Record | None:
        """The newest cluster record seen; None: none was seen."""
        return self.known.record if self.known else None

    @property
    def wants_request(self) -> bool:
        """A request is under way, or one is to be made at some time (`request`)."""
        return self.in_flight is not None or self._read_at is not None

    @property
    def waits(self) -> bool:
        """`wants_request`, or the answer to a read is still to come."""
        return self.wants_request or self._reading

    def newer_than(self, lost: CompareAndSet) -> bool:
        """A record is known that explains why this compare-and-set was refused."""
        return self.known is not None and self.known.version > (lost.expected or 0)

    def propose(self, new: Record) -> None:
        """Start a compare-and-set from the record known now. Only while none is in flight (M1)."""
        ensure(self.in_flight is None, "one compare-and-set at a time (M1)")
        self._count += 1
        new = replace(new, nonce=self._boot.bytes + self._count.to_bytes(8, "big"))
        self.in_flight = CompareAndSet(self.known.version if self.known else None, new)
        self._fresh = True
        self._retry_at = None

    def ask(self, now: float) -> None:
        """Read the record as soon as there is room for a request.

        Repeated calls do not add up: one read is under way at most, and one more follows it if this was called
        meanwhile.
        """
        if self._read_at is None:
            self._read_at = now

    def request(self, now: float) -> Request | None:
        """What to send to the manager now, if anything."""
        if self.in_flight is not None:
            if self._retry_at is not None and now >= self._retry_at:
                self._retry_at = None
                self._fresh = True
            if self._fresh:
                self._fresh = False
                return self.in_flight
        elif self._read_at is not None and now >= self._read_at and not self._reading:
            self._read_at = None
            self._reading = True
            return ReadRecord()
        return None

    def seen(self, current: Versioned | None) -> CompareAndSet | None:
        """A watch or a read shows this record. Returns the request that it proves lost, if any (M2)."""
        if current is not None and (self.known is None or current.version > self.known.version):
            self.known = current
            self.once_members |= {member.node for member in current.record.members}
        flight = self.in_flight
        if flight is None or self.known is None or self.known.version <= (flight.expected or 0):
            return None
        self.in_flight = None
        self._retry_at = None
        return None if self.known.record.nonce == flight.new.nonce else flight

    def answer(self, request: Request, answer: Answer, now: float) -> CompareAndSet | None:
        """Take the answer to a request. Returns the compare-and-set in flight if it has certainly lost.

        Afterwards ``in_flight is None`` means that it is resolved. If a watch resolved the request before its
        answer came, the answer only updates ``known``.
        """
        mine = self.in_flight is not None and isinstance(request, CompareAndSet) and request == self.in_flight
        if isinstance(request, ReadRecord):
            self._reading = False
        match answer:
            case Applied(current) | Read(current):
                return self.seen(current)
            case Lost(current):
                failed = self.in_flight if mine else None
                by_version = self.seen(current)
                if failed is not None and self.in_flight is failed:
                    # Refused although no newer record is known: the record was removed.
                    self.in_flight = None
                    return failed
                return by_version
            case NotSent() | Unknown():  # pragma: no branch - mypy knows that there is no other answer
                # NotSent: an earlier try of the same request may still be under way, so go on trying.
                if mine:
                    self._retry_at = now + self._retry_s
                elif isinstance(request, ReadRecord):
                    self._read_at = now + self._retry_s
        return None
