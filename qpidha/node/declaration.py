"""Making a queue on the primary, or finding the one that is there: `Node.declare`."""

from __future__ import annotations

from qpidha.node.parts import Parts
from qpidha.node.queue import Queue, same_spec
from qpidha.settings import check_spec
from qpidha.types import QueueSpec


def declare(parts: Parts, spec: QueueSpec) -> Queue:
    """See `qpidha.Node.declare`."""
    check_spec(spec)
    runtime, handles = parts.runtime, parts.handles
    if not runtime.serving:
        raise runtime.not_primary()
    if (known := handles.named(spec.name)) is not None:
        return same_spec(known, spec)
    id, _ = runtime.replica.declare(spec)
    parts.effects.queue_added(runtime.replica.queues[id])
    runtime.poke()
    return handles.of(id)
