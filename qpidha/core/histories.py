"""What one node's history says of all queues: of a message whether it was there, of a queue whether it was deleted."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

from qpidha.core.births import birth_of
from qpidha.core.lineage import Lineage
from qpidha.core.producers import ProducerEntry
from qpidha.core.resync import had
from qpidha.types import Entry, MessageId, QueueId

Past: TypeAlias = tuple[Lineage, MessageId]
"""(lineage, next) of one queue."""


@dataclass(frozen=True, slots=True)
class Histories:
    """The history of one node, over all queues. Take it, use it, do not keep it: queues change."""

    of: Callable[[QueueId], Past | None]
    """Lineage and next id of a queue; None: this history has no such queue now."""
    configuration: Past | None
    """Those of the configuration; None: this history has none, so no queue was ever deleted in it."""
    producer: Callable[[Entry], tuple[str, ProducerEntry] | None] = lambda _: None
    """Name and entry of the producer with an epoch; None: this history has no such entry now."""

    def deleted(self, queue: QueueId, old: Entry | None = None) -> bool | None:
        """Whether a queue that this history does not have was declared in it, and so was deleted (Q4, Q5).

        False: it was never declared in this history. None: that cannot be told, because the queue is of a release without
        a configuration. ``old``: its birth, if its uuid does not tell it.
        """
        if self.configuration is None:
            return None
        if (birth := birth_of(queue)) is not None:
            return had(*self.configuration, *birth)
        # An object made for an old queue may be rewound while another node has made one for the same queue.
        return True if old is not None and had(*self.configuration, *old) else None

    def forgotten(self, epoch: Entry) -> bool | None:
        """Whether a producer whose entry this history does not have was registered in it, and so was forgotten (EO6).

        None: that cannot be told.
        """
        return None if self.configuration is None else had(*self.configuration, *epoch)
