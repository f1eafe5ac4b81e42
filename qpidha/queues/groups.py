"""Message groups: the messages of one group go to one consumer at a time, in their order.

A consumer owns a group while it has a message of it. Messages of the group that come meanwhile go to the same consumer or
wait. Not replicated: after a failover no consumer has a message, so no group has an owner.
"""

from __future__ import annotations

from typing import Generic, TypeVar

from qpidha.seq import SequenceSet
from qpidha.types import MessageId

OwnerT = TypeVar("OwnerT")
"""What stands for a consumer."""


class Groups(Generic[OwnerT]):
    """Who owns which group. O(1) for each message.

    Invariants:
      - a group has an owner exactly while ``_held`` has places of it, all of which its owner has
      - a group that has places in ``_waiting`` has an owner, and is among its groups in ``_waiting_for``
    """

    def __init__(self) -> None:
        self._owners: dict[bytes, OwnerT] = {}
        self._held: dict[bytes, SequenceSet] = {}
        self._group_of: dict[MessageId, bytes] = {}
        self._waiting: dict[bytes, SequenceSet] = {}
        self._waiting_for: dict[OwnerT, set[bytes]] = {}

    def take(self, group: bytes, place: MessageId, consumer: OwnerT) -> OwnerT | None:
        """Give a message of the group to a consumer. If another one owns the group, it waits; returns that one."""
        owner = self._owners.setdefault(group, consumer)
        if owner is not consumer:
            self._waiting.setdefault(group, SequenceSet()).add(place)
            self._waiting_for.setdefault(owner, set()).add(group)
            return owner
        self._held.setdefault(group, SequenceSet()).add(place)
        self._group_of[place] = group
        return None

    def take_waiting(self, consumer: OwnerT) -> SequenceSet:
        """The messages that wait for this consumer, which owns their groups: they do not wait any more."""
        free = SequenceSet()
        for group in self._waiting_for.pop(consumer, ()):
            free |= self._waiting.pop(group)
        return free

    def waits_for(self, consumer: OwnerT) -> bool:
        """Whether messages wait for this consumer."""
        return consumer in self._waiting_for

    def release(self, places: SequenceSet) -> SequenceSet:
        """These messages are with no consumer any more. Returns those that waited and may be delivered now."""
        free = SequenceSet()
        for place in places:
            group = self._group_of.pop(place, None)
            if group is None:
                continue
            held = self._held[group]
            held.discard(place)
            if not held:
                owner = self._owners.pop(group)
                del self._held[group]
                if group in self._waiting:
                    free |= self._waiting.pop(group)
                    self._waiting_for[owner].discard(group)
                    if not self._waiting_for[owner]:
                        del self._waiting_for[owner]
        return free
