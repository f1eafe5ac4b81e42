"""Counts failed deliveries: in the props of the messages, on all nodes, where the props can take the count."""

from __future__ import annotations

from contextlib import suppress
from typing import Generic

from qpidha.errors import ArgumentError
from qpidha.queues.content import DeliveryTransaction, OpT
from qpidha.queues.index import MessageIndex
from qpidha.queues.messages import Messages
from qpidha.seq import SequenceSet
from qpidha.types import MessageId

UNCOUNTED_SPARE = 1000


class Failures(Generic[OpT]):
    """The failed deliveries of one queue in one term.

    Props that are not of the queue's format, or that would be too large with a count, stay as they are. The primary
    counts these failures itself: the count begins anew after a failover, but such a message does not go round for ever.
    """

    def __init__(self, messages: Messages[OpT], index: MessageIndex) -> None:
        self._messages = messages
        self._index = index
        self._uncounted: dict[MessageId, int] = {}
        """By place: failures that are not in the props."""

    def count(
        self, transaction: DeliveryTransaction[OpT], places: SequenceSet, limit: int | None
    ) -> SequenceSet:
        """Count a failure of the messages at these places, which are held, with a transaction.

        Returns the places of those that have reached the limit: they are not counted any more.
        """
        dead, changes = SequenceSet(), list[tuple[MessageId, MessageId, bytes]]()
        for place, id, batch, n in self._messages.each(places):
            props = batch.props(n)
            deliveries = self._index.read(props).deliveries + 1
            if limit is not None and deliveries + self._uncounted.get(place, 0) >= limit:
                dead.add(place)
                continue
            try:
                changes.append((place, id, self._index.format.with_deliveries(props, deliveries)))
            except Exception:  # noqa: BLE001 - the format is the embedder's, and props come from clients
                self._count_here(place)
        self._update(transaction, changes)
        return dead

    def _update(
        self, transaction: DeliveryTransaction[OpT], changes: list[tuple[MessageId, MessageId, bytes]]
    ) -> None:
        queue = self._messages.queue
        if changes:
            with suppress(ArgumentError):  # One of them is too large, for example.
                transaction.update(
                    queue, [id for _, id, _ in changes], tuple(props for _, _, props in changes)
                )
                return
        for place, id, props in changes:
            try:
                transaction.update(queue, [id], (props,))
            except ArgumentError:
                self._count_here(place)

    def _count_here(self, place: MessageId) -> None:
        self._uncounted[place] = self._uncounted.get(place, 0) + 1
        if len(self._uncounted) > 2 * len(self._index) + UNCOUNTED_SPARE:
            held = self._index.held(SequenceSet(self._uncounted))
            self._uncounted = {each: count for each, count in self._uncounted.items() if each in held}

    def gone(self, places: SequenceSet) -> None:
        """These messages left the queue."""
        if self._uncounted:
            for place in places:
                self._uncounted.pop(place, None)
