"""Checks of the arguments of client calls: the core accepts only what the wire, every backup and the store accept.

The core is used directly by brokers with another event loop, so it checks its arguments itself, before anything changes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from uuid import UUID

from qpidha.checks import instance_of, integer
from qpidha.core.chunks import operation_bytes_max
from qpidha.core.ready import Inserted
from qpidha.errors import ArgumentError, CallerError
from qpidha.journal import StoreImage
from qpidha.seq import SequenceSet
from qpidha.settings import Settings, check_node_id, check_spec
from qpidha.types import MESSAGE_ID_MAX, MessageId
from qpidha.wire.batch import Batch

UUID_ = instance_of(UUID)
IDS = instance_of(SequenceSet)
TEXT = instance_of(str, what="text")
BATCH = instance_of(Batch)
BATCH_HEADER_BYTES = 64
COUNT = integer(1, MESSAGE_ID_MAX)
QUEUES_SHOWN = integer(0, 2**31 - 1)
IMAGE = instance_of(StoreImage)
INSERTED = instance_of(Inserted)
SETTINGS = instance_of(Settings)
NEXT = integer(1, MESSAGE_ID_MAX + 1)
LINEAGE = instance_of(tuple, what="a tuple of (generation, first id)")
HELD = instance_of(list, Sequence, what="a sequence of (ids, batch)")


def check_parts(node: object, boot: object, image: object, settings: object) -> None:
    """Check the arguments of `Replica`."""
    check_node_id(node)  # type: ignore[arg-type]
    UUID_("boot", boot)
    IMAGE("image", image)
    SETTINGS("settings", settings)


def check_publish(batch: Batch, settings: Settings) -> None:
    """Check a batch to publish: it becomes one operation, which must fit one frame together with its header."""
    if type(batch) is not Batch:
        BATCH("batch", batch)  # type: ignore[unreachable]
    room = operation_bytes_max(settings) + BATCH_HEADER_BYTES
    if batch.nbytes > room:
        raise ArgumentError(
            f"batch must have at most {room} bytes (three quarters of frame_bytes_max), not {batch.nbytes}: cut it"
        )


def check_ids(next: MessageId, count: int) -> None:
    """Check that at least ``count`` ids are left, from ``next`` on. `COUNT` holds of it."""
    if count > MESSAGE_ID_MAX - next + 1:
        raise CallerError(f"the queue has no {count} ids left from {next} on: declare another queue")


def check_given_out(ids: SequenceSet, next: MessageId, name: str) -> None:
    """Check that none of these ids of the queue of this name is still to be given out."""
    IDS("ids", ids)
    if ids and ids.last >= next:
        raise CallerError(f"ids up to {ids.last} of {name!r} were never given out")


def check_move(source: object, ids: object, target: object) -> None:
    """Check the arguments of a move: its target must be another queue than its source."""
    IDS("ids", ids)
    UUID_("target", target)
    if source == target:
        raise ArgumentError("target must be another queue than source")


def check_loaded(image: Any) -> None:
    """Check one queue of the image that a store gives: what is of another type would end a node later. O(1)."""
    UUID_("queue", image.queue)
    check_spec(image.spec)
    NEXT("next", image.next)
    LINEAGE("lineage", image.lineage)
    HELD("held", image.held)
