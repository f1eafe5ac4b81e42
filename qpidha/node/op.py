"""One publish or accept on its way to being safe, and the ledger that completes it.

An `Op` costs next to nothing until somebody asks for it: it knows which watermark covers it, and only an
op that is awaited or has a callback is entered in the ledger.
"""

from __future__ import annotations

import asyncio
import heapq
import itertools
import logging
from collections.abc import Callable, Generator
from typing import TypeAlias

from qpidha.errors import InDoubt, QpidhaError
from qpidha.types import Generation, NodeId, Receipt

logger = logging.getLogger("qpidha")

SafeCallback: TypeAlias = Callable[["Op", "QpidhaError | None"], None]


def call(callback: Callable[..., object], *arguments: object) -> None:
    """Call the embedder back. What it raises is its own: nobody else's completion may suffer from it."""
    try:
        callback(*arguments)
    except Exception:
        logger.exception("a callback of the broker raised")


class Ledger:
    """One watermark of one generation, and the ops that wait for it, lowest first."""

    __slots__ = ("_count", "_doubt", "_waiting", "generation", "nodes", "upto")

    def __init__(self, generation: Generation, upto: int = 0) -> None:
        self.generation = generation
        self.upto = upto
        self.nodes: frozenset[NodeId] = frozenset()
        self._waiting: list[tuple[int, int, Op]] = []
        self._count = itertools.count()
        self._doubt: InDoubt | None = None

    def advance(self, upto: int, nodes: frozenset[NodeId]) -> None:
        """Everything up to here is safe on these nodes."""
        self.upto = upto
        self.nodes = nodes
        waiting = self._waiting
        while waiting and waiting[0][0] <= upto:
            heapq.heappop(waiting)[2]._tell(None)

    def doubt(self, error: InDoubt) -> None:
        """The generation is over for this node; whatever is not safe now is in doubt (K1)."""
        self._doubt = error
        waiting, self._waiting = self._waiting, []
        for _, _, op in waiting:
            op._tell(error)

    @property
    def over(self) -> bool:
        return self._doubt is not None

    def enter(self, op: Op) -> None:
        """This op wants to be told. At once if its generation is over."""
        if self._doubt is not None:
            op._tell(self._doubt)
            return
        heapq.heappush(self._waiting, (op._cover, next(self._count), op))


class Op:
    """A publish or an accept. Await it for its `Receipt`, or add a callback, or use a watermark instead.

    Raises, when awaited:
        InDoubt: This node stepped down or stopped first; the next primary may hold the message or not.
    """

    __slots__ = ("_callbacks", "_cover", "_error", "_ledger", "ids")

    def __init__(self, ledger: Ledger, cover: int, ids: range) -> None:
        self._ledger = ledger
        self._cover = cover
        self._callbacks: list[SafeCallback] | None = None
        self._error: QpidhaError | None = None
        self.ids = ids
        """The ids of the messages, given out at once."""

    @property
    def safe(self) -> bool:
        """Every member of the cluster has made it durable."""
        return self._cover <= self._ledger.upto

    @property
    def done(self) -> bool:
        """Safe, or known to be in doubt."""
        return self.safe or self._error is not None or self._ledger.over

    def receipt(self) -> Receipt:
        """Who has it. Raises `InDoubt` if it never became safe, `RuntimeError` if that is not known yet."""
        if self.safe:
            return Receipt(generation=self._ledger.generation, ids=self.ids, nodes=self._ledger.nodes)
        if self._error is not None:
            raise self._error
        raise RuntimeError("not safe yet")

    def add_safe_callback(self, callback: SafeCallback) -> None:
        """Call ``callback(op, error)`` once: error None means safe. At once if that is known already."""
        if self.safe:
            call(callback, self, None)
        elif self._error is not None:
            call(callback, self, self._error)
        elif self._callbacks is None:
            self._callbacks = [callback]
            self._ledger.enter(self)
        else:
            self._callbacks.append(callback)

    def _tell(self, error: QpidhaError | None) -> None:
        self._error = error
        callbacks, self._callbacks = self._callbacks or [], None
        for callback in callbacks:
            call(callback, self, error)

    def __await__(self) -> Generator[object, None, Receipt]:
        if not self.safe and self._error is None:
            future: asyncio.Future[None] = asyncio.get_running_loop().create_future()

            def wake(_: Op, __: QpidhaError | None) -> None:
                if not future.done():
                    future.set_result(None)

            self.add_safe_callback(wake)
            yield from future.__await__()
        return self.receipt()

    def __repr__(self) -> str:
        state = "safe" if self.safe else "in doubt" if self._error else "pending"
        return f"<Op {self.ids} {state}>"
