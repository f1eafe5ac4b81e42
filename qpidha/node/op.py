"""One pending publish or accept (`Op`). A watermark completes it: `qpidha.node.ledger`.

A wait may have a deadline (`qpidha.node.opdeadlines`).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Generator
from threading import get_ident
from typing import TypeAlias

from qpidha.checks import CALLBACK, SECONDS_OR_ZERO, optional
from qpidha.errors import InDoubt, LocalProtocolError, OpTimeout, QpidhaError
from qpidha.node.callbacks import call
from qpidha.node.caller import wrong_thread
from qpidha.node.ledger import NO_NODES, Ledger, Outcome
from qpidha.node.opdeadlines import OpDeadlines
from qpidha.types import Position, Receipt

SafeCallback: TypeAlias = Callable[["Op", "QpidhaError | None"], None]
TIMEOUT = optional(SECONDS_OR_ZERO)
TO_COME = 2**64
"""In place of a position: the operation is made later in this turn. No watermark gets there."""


class Asked:
    """A callback of an op, with a deadline: called once, when the outcome is known or at the deadline."""

    __slots__ = ("_callback", "_deadlines", "_op", "timeout_s")

    def __init__(self, deadlines: OpDeadlines, op: Op, callback: SafeCallback, timeout_s: float) -> None:
        self._deadlines = deadlines
        self._op: Op | None = op
        self._callback = callback
        self.timeout_s = timeout_s

    @property
    def over(self) -> bool:
        """The callback was called."""
        return self._op is None

    def __call__(self, op: Op, error: QpidhaError | None) -> None:
        """The outcome is known."""
        self._op = None
        self._deadlines.answered()
        call(self._callback, op, error)

    def expire(self) -> None:
        """Call back with `OpTimeout`: the outcome is not known in time."""
        op, self._op = self._op, None
        if op is not None:
            op._forget(self)
            text = f"not safe after {self.timeout_s:g} s; nothing was undone, and it is still pending"
            call(self._callback, op, OpTimeout(text))


class Op:
    """A publish or an accept. Await it for its `Receipt`, or add a callback, or use a watermark instead.

    It may be awaited more than once, by several tasks, and again after a task that awaited it was cancelled or after a
    deadline. Properties may be read from any thread; methods must be called from the node's event loop.

    Raises, when awaited:
        OpTimeout: It was not safe after ``op_timeout_s``, or the time given to `within`. It is still pending.
        InDoubt: This node stepped down or stopped before the op was safe; the next primary may have the message or not.
    """

    __slots__ = ("_callbacks", "_cover", "_ledger", "_outcome", "ids")

    def __init__(self, ledger: Ledger, cover: int, ids: range, outcome: Outcome) -> None:
        self._ledger = ledger
        self._cover = cover
        self._outcome = outcome
        self._callbacks: list[SafeCallback] | None = None
        self.ids = ids
        """The ids of the messages, assigned at once."""

    @property
    def safe(self) -> bool:
        """Every member of the cluster has made it durable; or it was consumed, or accepted at once (O6)."""
        return self._cover <= self._ledger.upto

    @property
    def done(self) -> bool:
        """Safe, or known to be in doubt."""
        return self.safe or self._ledger.error is not None

    def receipt(self) -> Receipt:
        """The nodes that had the messages when the op completed; see `Receipt`.

        Raises:
            InDoubt: The op is in doubt.
            LocalProtocolError: The op is pending: await it, or check `done` first.
            WrongThread: Called from another thread than the event loop's.
        """
        self._here("Op.receipt")
        if self.safe:
            taken, ids = self._outcome.consumed, self.ids
            consumed = bool(taken and ids and taken.count(ids[0], ids[-1]) == len(ids))
            nodes = NO_NODES if consumed else self._outcome.nodes
            return Receipt(generation=self._ledger.generation, ids=ids, nodes=nodes, consumed=consumed)
        if (error := self._ledger.error) is not None:
            raise InDoubt(str(error))
        raise LocalProtocolError("the outcome of this op is not known yet: await it, or check op.done first")

    def add_safe_callback(self, callback: SafeCallback, *, timeout_s: float | None = None) -> None:
        """Call ``callback(op, error)`` once; error None means safe. If the outcome is known already, call it at once.

        Args:
            timeout_s: The callback is given an `OpTimeout` after so many seconds. None: ``op_timeout_s`` of the settings.

        Raises:
            ArgumentError: It cannot be called, or that is no time.
            WrongThread: Called from another thread than the event loop's.
        """
        ledger = self._ledger
        if get_ident() != ledger.home.thread:
            self._here("Op.add_safe_callback")
        if not callable(callback):
            CALLBACK("callback", callback)
        if timeout_s is not None:
            TIMEOUT("timeout_s", timeout_s)
        if self._cover <= ledger.upto:
            call(callback, self, None)
        elif (error := ledger.error) is not None:
            call(callback, self, error)
        else:
            self._add(self._limited(callback, timeout_s))

    def _limited(self, callback: SafeCallback, timeout_s: float | None) -> SafeCallback:
        """The callback, with a deadline if a time was given or there is a default."""
        ledger = self._ledger
        if timeout_s is None:
            timeout_s = ledger.deadlines.default_s if ledger.deadlines is not None else None
        if timeout_s is None:
            return callback
        if ledger.deadlines is None:
            ledger.deadlines = OpDeadlines()
        asked = Asked(ledger.deadlines, self, callback, timeout_s)
        ledger.deadlines.add(asked)
        return asked

    def _add(self, callback: SafeCallback) -> None:
        """Call back when the outcome is known, which it is not yet, whenever that is."""
        if self._callbacks is None:
            self._callbacks = [callback]
            if self._cover != TO_COME:
                self._ledger.enter(self)
        else:
            self._callbacks.append(callback)

    def _placed(self, position: Position) -> None:
        """Its operation, which was to come, is made."""
        self._cover = position
        if self._callbacks is not None:
            if self.safe:
                self._tell(None)
            else:
                self._ledger.enter(self)

    def _unplaced(self) -> None:
        """Its operation, which was to come, is not made: it is in doubt as soon as all that is not safe is."""
        if self._callbacks is not None:
            if (error := self._ledger.error) is not None:
                self._tell(error)
            else:
                self._ledger.enter(self)

    async def within(self, timeout_s: float) -> Receipt:
        """Await the op for at most so many seconds, whatever ``op_timeout_s`` says.

        Seconds in which this process stood still do not count: acknowledgements may have arrived meanwhile. Nothing is
        undone at the deadline: the op may still become safe, and another await says so.

        Raises:
            OpTimeout: It is not safe by then.
            InDoubt: As when it is awaited.
            ArgumentError: Not a time.
            WrongThread: Called from another thread than the event loop's.
        """
        SECONDS_OR_ZERO("timeout_s", timeout_s)
        return await self._wait(timeout_s)

    def _forget(self, callback: SafeCallback) -> None:
        """Drop a callback whose deadline is over."""
        if self._callbacks is not None and callback in self._callbacks:
            self._callbacks.remove(callback)

    def _here(self, what: str) -> None:
        if get_ident() != self._ledger.home.thread:
            raise wrong_thread(what, self._ledger.home.thread)

    def _tell(self, error: QpidhaError | None) -> None:
        callbacks, self._callbacks = self._callbacks or [], None
        for callback in callbacks:
            call(callback, self, error)

    def __await__(self) -> Generator[object, None, Receipt]:
        return self._wait(None).__await__()

    async def _wait(self, timeout_s: float | None) -> Receipt:
        if not self.done:
            future: asyncio.Future[QpidhaError | None] = asyncio.get_running_loop().create_future()

            def wake(_: Op, error: QpidhaError | None) -> None:
                if not future.done():
                    future.set_result(error)

            self._here("Op.add_safe_callback")
            self._add(self._limited(wake, timeout_s))
            error = await future
            if isinstance(error, OpTimeout) and not self.done:  # It may have become safe in the same turn.
                raise error
        return self.receipt()

    def __repr__(self) -> str:
        state = "safe" if self.safe else "in doubt" if self.done else "pending"
        return f"<Op {self.ids} {state}>"


class ProducerOp(Op):
    """The op of a publish or commit with a sequence: see `qpidha.Producer`."""

    __slots__ = ("repeated",)

    def __init__(self, ledger: Ledger, cover: int, ids: range, outcome: Outcome, repeated: int) -> None:
        super().__init__(ledger, cover, ids, outcome)
        self.repeated = repeated
        """How many of its messages, the first ones, have sequences that were used before: they were not stored now.

        Of a commit: 1 if it was made before. It does not say what the sequence was used for: it may have been given up.
        """
