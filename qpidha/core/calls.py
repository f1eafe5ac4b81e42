"""What a client's call may ask of the core: nothing that the wire, a backup or the store would refuse.

The core is used directly by brokers with another event loop, so it checks its arguments itself, before anything changes.
"""

from __future__ import annotations

from uuid import UUID

from qpidha.checks import instance_of, integer
from qpidha.core.chunks import operation_bytes_max
from qpidha.errors import ArgumentError, CallerError
from qpidha.journal import StoreImage
from qpidha.seq import SequenceSet
from qpidha.settings import Settings, check_node_id
from qpidha.types import MESSAGE_ID_MAX, MessageId
from qpidha.wire.batch import Batch

UUID_ = instance_of(UUID)
IDS = instance_of(SequenceSet)
BATCH = instance_of(Batch)
BATCH_HEADER_BYTES = 64
COUNT = integer(1, MESSAGE_ID_MAX)
QUEUES_SHOWN = integer(0, 2**31 - 1)
IMAGE = instance_of(StoreImage)
SETTINGS = instance_of(Settings)


def check_parts(node: object, boot: object, image: object, settings: object) -> None:
    """What a `Replica` is made of."""
    check_node_id(node)  # type: ignore[arg-type]
    UUID_("boot", boot)
    IMAGE("image", image)
    SETTINGS("settings", settings)


def check_publish(batch: Batch, settings: Settings) -> None:
    """One operation, which one frame must hold with what it carries besides."""
    BATCH("batch", batch)
    room = operation_bytes_max(settings) + BATCH_HEADER_BYTES
    if batch.nbytes > room:
        raise ArgumentError(
            f"batch must have at most {room} bytes (three quarters of frame_bytes_max), not {batch.nbytes}: cut it"
        )


def check_ids(next: MessageId, count: int) -> None:
    """There are so many ids left, from this one on."""
    COUNT("count", count)
    if count > MESSAGE_ID_MAX - next + 1:
        raise CallerError(f"{count} ids from {next} on are more than there are: declare another queue")


def check_move(source: object, ids: object, target: object) -> None:
    """Messages move to another queue."""
    IDS("ids", ids)
    UUID_("target", target)
    if source == target:
        raise ArgumentError("target must be another queue than the messages are in")
