"""One pending change, for a thread: the counterpart of `Op`.

The loop is asked for the outcome when the change is made. So a thread that waits for it does not wait for the loop twice.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import ParamSpec

from qpidha.checks import SECONDS_OR_ZERO, optional
from qpidha.errors import InDoubt, LocalProtocolError, QpidhaError
from qpidha.node.op import Op
from qpidha.node.sync.caller import LoopCaller
from qpidha.node.sync.gate import Gate
from qpidha.types import Receipt

P = ParamSpec("P")
TIMEOUT = optional(SECONDS_OR_ZERO)


class SyncOp:
    """A change that was made, and may not be safe yet. `safe` waits until it is. It may be used by several threads."""

    def __init__(self, caller: LoopCaller, op: Op) -> None:
        """In the event loop."""
        self._caller = caller
        self._op = op
        self._known = Gate()
        self._receipt: Receipt | None = None
        self._doubt: str | None = None
        if op.done:
            self._told(op, None)
        else:
            op._add(self._told)

    def _told(self, op: Op, _: QpidhaError | None) -> None:
        """In the event loop: the outcome is known."""
        try:
            self._receipt = op.receipt()
        except InDoubt as error:
            self._doubt = str(error)
        self._known.open()

    @property
    def ids(self) -> range:
        """The ids of the messages. As of `Op.ids`."""
        return self._op.ids

    @property
    def done(self) -> bool:
        """Safe, or known to be in doubt."""
        return self._known.wait(0)

    def safe(self, timeout_s: float | None = None) -> Receipt:
        """Wait until every member has made it durable. May be called again, also after a timeout.

        Args:
            timeout_s: Wait for at most so many seconds; None: as `SyncNode.within` says, or ``op_timeout_s``.

        Raises:
            OpTimeout: It is not safe by then. Nothing was undone: it is still pending.
            InDoubt: This node stepped down or stopped before it was safe, or its event loop has ended.
            ArgumentError: Not a time.
            WrongThread: Called in the node's event loop: await the op itself there.
        """
        TIMEOUT("timeout_s", timeout_s)
        if not self._known.wait(0):
            self._caller.wait_safe(self.safe, self._known, timeout_s)
        return self.receipt()

    def receipt(self) -> Receipt:
        """The nodes that had it when it completed. Does not wait; see `Op.receipt`.

        Raises:
            InDoubt: It is in doubt.
            LocalProtocolError: It is pending.
        """
        if self._receipt is not None:
            return self._receipt
        if self._doubt is not None:
            raise InDoubt(self._doubt)
        raise LocalProtocolError(
            "the outcome of this op is not known yet: call op.safe(), or check op.done first"
        )

    def __repr__(self) -> str:
        return f"<SyncOp of {self._op!r}>"


def make(caller: LoopCaller, method: Callable[P, Op], /, *args: P.args, **kwargs: P.kwargs) -> SyncOp:
    """Call a method that makes a change, in the event loop."""
    return caller.run(method, lambda: SyncOp(caller, method(*args, **kwargs)))
