"""What a queue handle belongs to, a node, a queue and a term, and what it may be used for so far."""

from __future__ import annotations

from threading import get_ident
from typing import TYPE_CHECKING

from qpidha.errors import CallerError, StaleHandle
from qpidha.node.caller import wrong_thread
from qpidha.node.op import Ledger
from qpidha.node.waiting import IDLE
from qpidha.types import Generation, MessageId, QueueId, QueueSpec

if TYPE_CHECKING:
    from qpidha.core.queue import ReplicatedQueue
    from qpidha.node.node import Node


class Handle:
    """The part of `qpidha.Queue` that says what it is: nothing here changes the queue."""

    def __init__(self, node: Node, replicated: ReplicatedQueue, generation: Generation) -> None:
        self._node = node
        self._queue = replicated
        self._ledger = Ledger(generation, replicated.next - 1, thread=node.thread)
        self._waiting = IDLE
        self.generation = generation
        """The term it belongs to; 0: it was made on a backup, and only reads."""

    @property
    def id(self) -> QueueId:
        """The id of the queue, the same on all nodes."""
        return self._queue.queue

    @property
    def name(self) -> str:
        """The name under which the queue was declared."""
        return self._queue.spec.name

    @property
    def spec(self) -> QueueSpec:
        """The specification of the queue."""
        return self._queue.spec

    @property
    def depth(self) -> int:
        """How many messages this node holds, safe or not."""
        return len(self._queue) + self._current._waiting.messages

    @property
    def nbytes(self) -> int:
        """Bytes of the stored batches, payload and layout."""
        return self._queue.bytes

    @property
    def next_id(self) -> MessageId:
        """The id that the next message gets."""
        return self._queue.next + self._current._waiting.messages

    @property
    def safe_upto(self) -> MessageId:
        """Every publish of this generation with an id up to here is safe."""
        return self._ledger.upto

    @property
    def pending(self) -> int:
        """How many ids were given out beyond the last safe one."""
        return self.next_id - 1 - self._ledger.upto

    @property
    def _current(self) -> Handle:
        """The handle of the term that runs now."""
        return self._node.handles.made(self._queue.queue) or self

    # --- who may change it -----------------------------------------------------------------------

    @property
    def _in_term(self) -> bool:
        """This node is primary of this handle's generation, and its broker was told so."""
        node, generation = self._node, self.generation
        primary = node.replica.primary
        return primary is not None and primary.generation == generation == node._embedder.generation

    def _require_term(self, what: str) -> None:
        """The check of everything that changes the queue; in one expression, for every publish pays for it."""
        node, generation = self._node, self.generation
        if (
            get_ident() != node.thread
            or (primary := node.replica.primary) is None
            or primary.generation != generation
            or node._embedder.generation != generation
        ):
            raise self._refusal(what)

    def _refusal(self, what: str) -> CallerError:
        node = self._node
        if get_ident() != node.thread:
            return wrong_thread(what, node.thread)
        if not node.serving:
            return node.not_primary()
        made = f"in generation {self.generation}" if self.generation else "while this node was a backup"
        return StaleHandle(
            f"this handle of queue {self.name!r} was made {made}, and now it is generation "
            f"{node.serving_generation}: get it again with node.queue({self.name!r})",
            generation=self.generation,
            current=node.serving_generation,
        )

    def _here(self, what: str) -> None:
        if get_ident() != self._node.thread:
            raise wrong_thread(what, self._node.thread)
