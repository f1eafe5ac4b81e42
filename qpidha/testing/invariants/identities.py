"""Identities: each names one message for ever, and a message keeps that of its publish and its place (I1, I2, U1, U4)."""

from __future__ import annotations

from typing import TypeAlias
from uuid import UUID

from qpidha.journal import Insert
from qpidha.testing.invariants.violation import Violation
from qpidha.testing.sim.content import Content, Message
from qpidha.types import Generation, MessageId, QueueId

Identity: TypeAlias = tuple[QueueId, Generation, MessageId]


class Identities:
    """Remembers what each identity names, and checks each message that reaches a disk."""

    def __init__(self) -> None:
        self.names: dict[Identity, str] = {}
        """Values by the identities that they were given."""
        self.of: dict[str, list[Identity]] = {}
        """The identities that each value was given."""
        self.published: dict[str, set[Identity]] = {}
        """What the publish of each value was given: one identity in each of its queues."""
        self._places: dict[Identity, MessageId] = {}
        """Of messages that updates made: the id whose place in the order they have."""

    def given(self, identity: Identity, value: str, *, replaces: bool) -> None:
        """The primary gave an identity to a value. ``replaces``: by a move or an update. Raises `Violation` (I1)."""
        if identity in self.names:
            raise Violation(f"I1: {identity} was {self.names[identity]} and is now {value}")
        self.names[identity] = value
        self.of.setdefault(value, []).append(identity)
        if not replaces:
            self.published.setdefault(value, set()).add(identity)

    def updated(self, identity: Identity, place: MessageId) -> None:
        """An update made a message with this identity, which has the place of an older one (U1)."""
        self._places[identity] = place

    def check_inserted(self, content: Content, change: Insert) -> None:
        """Check messages that a transaction added to a disk and that are there still.

        Raises:
            Violation: I1: an identity names another message. U1: an update lost its message's place, or something else
                has one. U4: a message is said to be published as what its publish was not given.
        """
        queue = content.queues.get(change.queue)
        if queue is None or queue.keyed:
            return
        for id in change.ids:
            if (message := queue.held.get(id)) is not None:
                self._check((change.queue, queue.generation_of(id), id), message)

    def _check(self, identity: Identity, message: Message) -> None:
        value = message.value
        if self.names.get(identity) != value:
            raise Violation(
                f"I1: {identity} is {value} on a disk, and was given to {self.names.get(identity)}"
            )
        if message.order != self._places.get(identity, 0):
            raise Violation(f"U1: {value} has place {message.order}, not {self._places.get(identity, 0)}")
        first = identity
        if message.origin is not None:
            queue, generation, id = message.origin
            first = (UUID(bytes=queue), generation, id)
        if first not in self.published.get(value, ()):
            raise Violation(f"U4: {value} is said to be published as {first}, and was not")
