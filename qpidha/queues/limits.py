"""What has to leave a queue so that a publish fits in: messages over its limits, and older ones of the same key.

Only the primary decides it (rule S7): backups drop what the operation names.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from qpidha.errors import QueueFull
from qpidha.queues.arguments import Overflow, QueueArguments
from qpidha.queues.index import MessageIndex
from qpidha.seq import SequenceSet
from qpidha.types import MESSAGE_ID_MAX, MessageId

WINDOW = 64
"""So many places are looked at first: each further look is at twice as many, to pass over what consumers have."""


@dataclass(frozen=True, slots=True)
class Leaving:
    """Places that are emptied in the same operation as the publish."""

    replaced: SequenceSet
    """Older messages of the same key: they are dropped."""
    driven_out: SequenceSet
    """Messages over a limit: dropped, or moved to the queue for dead letters."""

    def __bool__(self) -> bool:
        return bool(self.replaced) or bool(self.driven_out)


class Limits:
    """Decides for one queue. It changes nothing."""

    def __init__(
        self,
        name: str,
        arguments: QueueArguments,
        index: MessageIndex,
        taken: SequenceSet,
        size_at: Callable[[MessageId], int],
    ) -> None:
        """``taken``: the places that consumers have, live. ``size_at``: the size of the data at a place."""
        self._name = name
        self._arguments = arguments
        self._index = index
        self._taken = taken
        self._size_at = size_at

    def leaving(self, keys: Sequence[bytes], messages: int, nbytes: int) -> Leaving:
        """What leaves when messages with these keys are published, which have so many bytes of data.

        Raises:
            QueueFull: They do not fit, and nothing may be driven out for them.
        """
        replaced = self._replaced(keys)
        arguments, index = self._arguments, self._index
        over_messages = over(arguments.messages_max, len(index) + messages - len(replaced))
        over_bytes = 0
        if arguments.bytes_max is not None:
            over_bytes = over(arguments.bytes_max, index.nbytes + nbytes - sum(map(self._size_at, replaced)))
        if over_messages <= 0 and over_bytes <= 0:
            return Leaving(replaced, SequenceSet())
        alone = over(arguments.messages_max, messages) > 0 or over(arguments.bytes_max, nbytes) > 0
        if alone or arguments.overflow is Overflow.REFUSE:
            raise QueueFull(self._refusal(messages, nbytes), queue=self._name)
        driven_out = SequenceSet()
        for place in self._oldest(replaced):
            if over_messages <= 0 and over_bytes <= 0:
                break
            driven_out.add(place)
            over_messages -= 1
            if over_bytes > 0:
                over_bytes -= self._size_at(place)
        return Leaving(replaced, driven_out)

    def _replaced(self, keys: Sequence[bytes]) -> SequenceSet:
        """Messages of these keys that no consumer has: one that a consumer has stays with it."""
        replaced = SequenceSet()
        if self._index.keys is not None:
            for key in keys:
                replaced |= self._index.keys.places(key)
        return replaced - self._taken

    def _oldest(self, without: SequenceSet) -> Iterator[MessageId]:
        """Places in the order in which they are driven out: the lowest priority first, those of consumers last."""
        for taken in (False, True):
            for level in self._index.levels:
                at, width = level.ceiling(0), WINDOW
                while at is not None:
                    last = min(at + width, MESSAGE_ID_MAX)
                    window, others = level.slice(at, last) - without, self._taken.slice(at, last)
                    yield from (window & others if taken else window - others)
                    at, width = level.ceiling(last + 1), 2 * width

    def _refusal(self, messages: int, nbytes: int) -> str:
        arguments = self._arguments
        limits = [
            f"{limit} {unit}"
            for limit, unit in ((arguments.messages_max, "messages"), (arguments.bytes_max, "bytes"))
            if limit is not None
        ]
        return (
            f"queue {self._name!r} holds {len(self._index)} messages with {self._index.nbytes} bytes, and may hold "
            f"{' and '.join(limits)}: {messages} more with {nbytes} bytes do not fit"
        )


def over(limit: int | None, count: int) -> int:
    """By how much a limit is exceeded."""
    return 0 if limit is None else count - limit
