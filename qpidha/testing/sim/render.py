"""Frames, requests and notices as short lines of text, for traces that people compare."""

from __future__ import annotations

from typing import Protocol, TypeAlias

from qpidha.core.configuration import read_key
from qpidha.core.ready import CloseLink, CompareAndSet, HandOver, Notice, Request, RoleChanged
from qpidha.events import NodeEvent
from qpidha.seq import SequenceSet
from qpidha.types import Entry, QueueId, Record
from qpidha.wire.batch import Batch
from qpidha.wire.events import (
    Acknowledged,
    Copy,
    Declare,
    Dequeue,
    Drop,
    Enqueue,
    Event,
    Fenced,
    Frame,
    Hello,
    Operations,
    Part,
    PlanDrop,
    PlanEnd,
    PlanMessages,
    PlanQueue,
    PlanWithdraw,
    Progress,
    Refused,
    SkipIds,
    Subscribe,
    SubscribeQueue,
)
from qpidha.wire.groups import GroupsDiffer, SubscribeGroups, SubscribeRest

Subscription: TypeAlias = Subscribe | SubscribeGroups | GroupsDiffer | SubscribeRest | SubscribeQueue


class Names(Protocol):
    """Knows the names of queues."""

    def queue_name(self, queue: QueueId) -> str:
        """Return the name of a queue."""


def render_ids(ids: SequenceSet) -> str:
    """``1-4,7``, or ``-`` for none."""
    return ",".join(str(a) if a == b else f"{a}-{b}" for a, b in ids.runs()) or "-"


def render_lineage(lineage: tuple[Entry, ...]) -> str:
    """``1@1 6@2``: generation 1 from id 1 on, generation 2 from id 6 on."""
    return " ".join(f"{first}@{generation}" for generation, first in lineage) or "-"


def render_batch(batch: Batch) -> str:
    """Return the values of the messages, or the keys of entries, separated by spaces."""
    return " ".join(_said(batch, index, data) for index, data in enumerate(batch))


def render_frame(frame: Frame, names: Names) -> str:
    """Return a frame as ``[session@generation] event``."""
    return f"[{frame.session}@{frame.generation}] {render_event(frame.event, names)}"


def _said(batch: Batch, index: int, data: bytes) -> str:
    """A message: the value that a publisher gave it, or the key of an entry."""
    key = batch.props(index)
    if (
        key[:1] == b"\x92"
    ):  # A key of the configuration is a list of two. The walks give messages other props.
        return " ".join(read_key(key))
    return data.rstrip(b".").decode()


def render_event(event: Event, names: Names) -> str:  # noqa: PLR0912 - one each
    """Return the event of a frame with the fields that matter in a trace."""
    name = names.queue_name
    match event:
        case Hello():
            return f"hello from {event.node}"
        case Refused():
            return f"refused: {event.reason}"
        case Fenced():
            return f"fenced by generation {event.generation}"
        case Subscribe() | SubscribeGroups() | GroupsDiffer() | SubscribeRest() | SubscribeQueue():
            return _render_subscription(event, names)
        case PlanQueue():
            return f"plan {name(event.queue)} lineage {render_lineage(event.lineage)} next {event.next}"
        case PlanDrop():
            what = "staged" if event.staged else "held"
            return f"plan {name(event.queue)} drop {what} {render_ids(event.ids)}"
        case PlanMessages():
            ids = f"{render_ids(event.ids)}@{event.generation_of}"
            return f"plan {name(event.queue)} add {ids}: {render_batch(event.batch)}"
        case PlanWithdraw():
            return f"plan without {name(event.queue)}"
        case PlanEnd():
            return f"plan ends at {event.position}, {event.queues} queues"
        case Progress():
            return f"staged {event.chunks} chunks"
        case Acknowledged():
            return f"ack {event.position}"
        case Operations():
            parts = " | ".join(
                " + ".join(render_part(part, names) for part in operation) for operation in event.operations
            )
            return f"operations {event.first}: {parts}"
        case _:
            return type(event).__name__.lower()


def _render_subscription(event: Subscription, names: Names) -> str:
    """How a backup says what it has."""
    match event:
        case Subscribe():
            return f"subscribe, stored generation {event.stored_generation}, {event.queues} queues"
        case SubscribeGroups():
            return f"subscribe, stored generation {event.stored_generation}, {len(event.digests)} groups"
        case GroupsDiffer():
            return f"groups {render_ids(event.groups)} differ"
        case SubscribeRest():
            return f"{event.queues} queues of groups that differ"
        case SubscribeQueue():
            return (
                f"have {names.queue_name(event.queue)} lineage {render_lineage(event.lineage)} next {event.next} "
                f"held {render_ids(event.held)}"
            )


def render_part(part: Part, names: Names) -> str:
    """Return one part of an operation."""
    queue = names.queue_name(part.queue)
    match part:
        case Enqueue():
            last = part.first + len(part.batch) - 1
            ids = render_ids(SequenceSet.from_range(part.first, last))
            return f"enqueue {queue} {ids}: {render_batch(part.batch)}"
        case Dequeue():
            return f"dequeue {queue} {render_ids(part.ids)}"
        case SkipIds():
            return f"skip {queue} {part.first}-{part.last}"
        case Declare():
            return f"declare {queue}"
        case Copy():
            what = "replace" if part.replacement else "copy"
            ids = f"{render_ids(part.ids)} of {names.queue_name(part.source)}"
            return f"{what} {ids} as {queue} {part.first}-{part.last}"
        case Drop():
            return f"drop {queue}"


def render_record(record: Record) -> str:
    """Return the generation, the primary and the members of a record."""
    primary = record.primary[0] if record.primary else "nobody"
    return f"generation {record.generation} {primary} of {','.join(sorted(m.node for m in record.members))}"


def render_request(request: Request) -> str:
    """Return a request to the cluster manager."""
    if isinstance(request, CompareAndSet):
        return f"compare-and-set of version {request.expected}: {render_record(request.new)}"
    return "read of the record"


def render_notice(notice: Notice) -> str | None:
    """Return a notice; None if the trace leaves it out."""
    match notice:
        case RoleChanged():
            return f"{notice.role.value}, generation {notice.generation}"
        case NodeEvent():
            return f"note: {notice.line}"
        case HandOver():
            return None
        case CloseLink():
            return f"closes a link: {notice.reason}"
        case _:
            return None
