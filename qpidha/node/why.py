"""What became of a message, and which publishes are not confirmed: `Node.why` and `Node.unconfirmed`."""

from __future__ import annotations

from collections.abc import Generator

from qpidha.core.explain import Answer, explain
from qpidha.core.explanation import Explanation
from qpidha.core.unconfirmed import Unconfirmed, unconfirmed
from qpidha.node.parts import Parts
from qpidha.node.queue import Queue
from qpidha.node.slices import in_slices
from qpidha.types import Generation, MessageId, QueueId


class Explaining:
    """Base of `Node`: its answers to questions about messages."""

    _parts: Parts

    async def why(
        self, queue: Queue | QueueId | str, id: MessageId, generation: Generation | None = None
    ) -> Explanation:
        """What became of a message, as far as this node knows, and what to do. On every node, also on a backup.

        The primary knows for whom a publish waits, and what was accepted and is not safe yet. A backup knows what it
        holds, and each node what it has in quarantine. Where a message was moved to, or which id an update gave it, is
        known as long as it is held there.

        O(log messages) for a message that is held, plus O(pending publishes of the queue + operations that are not safe)
        on the primary. For one that is not held, the stored batches of all queues are searched for its copy: about three
        seconds for ten million messages that were moved, or for three million batches without such. The event loop does
        other work meanwhile.

        Args:
            queue: A handle, a name, or a uuid. A queue that was deleted is known by its handle or its uuid only.
            id: Of the message, as the op of its publish or move gave it.
            generation: The one that gave the id out, as its receipt says; None: the newest that did. A failover can undo
                a publish that was not confirmed, and give its id to another message.

        Raises:
            ArgumentError: Not a queue, an id or a generation; or a table, which has keys instead of messages.
            LocalProtocolError: The node has not started.
            WrongThread: Called from another thread than the event loop's.
        """
        self._parts.runtime.require_thread("Node.why")
        return await explained(self._parts, queue.id if isinstance(queue, Queue) else queue, id, generation)

    def unconfirmed(self, queue: Queue | QueueId | str | None = None, *, queues_max: int = 20) -> Unconfirmed:
        """Which publishes of this primary are not confirmed, and for whom they wait. O(queues with such publishes).

        Args:
            queue: Only of this queue; None: of all.
            queues_max: Show at most this many queues, those first that are waited for longest.

        Raises:
            UnknownQueue: This node has no such queue.
            ArgumentError: Not a queue, or not a number of queues.
            LocalProtocolError: The node has not started.
            WrongThread: Called from another thread than the event loop's.
        """
        self._parts.runtime.require_thread("Node.unconfirmed")
        return held_back(self._parts, queue.id if isinstance(queue, Queue) else queue, queues_max)


async def explained(
    parts: Parts, queue: QueueId | str, id: MessageId, generation: Generation | None
) -> Explanation:
    """See `Explaining.why`. A search goes on in slices."""
    parts.engine.flush()  # What was published in this turn has an id already.
    result: list[Explanation] = []
    await in_slices(_steps(explain(parts.runtime.replica, queue, id, generation), result))
    return result[0]


def held_back(parts: Parts, queue: QueueId | str | None, queues_max: int) -> Unconfirmed:
    """See `Explaining.unconfirmed`."""
    parts.engine.flush()
    return unconfirmed(parts.runtime.replica, queue, queues_max=queues_max)


def _steps(answer: Answer, result: list[Explanation]) -> Generator[None, None, None]:
    result.append((yield from answer))
