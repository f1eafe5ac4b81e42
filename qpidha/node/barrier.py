"""Waiting for everything that was done so far: `Node.barrier`."""

from __future__ import annotations

from qpidha.node.ledger import Outcome
from qpidha.node.op import Op
from qpidha.node.parts import Parts
from qpidha.types import Generation


async def barrier(parts: Parts) -> Generation:
    """See `qpidha.Node.barrier`."""
    runtime = parts.runtime
    primary = runtime.replica.primary
    if not runtime.serving or primary is None:
        raise runtime.not_primary()
    parts.engine.flush()
    # All before may be safe already: only what members acknowledge from now on shows that this is the primary (Q7).
    position, settled = runtime.replica.confirm(), runtime.settled
    runtime.poke()
    # A publish completes after the position that covers it is safe, maybe in a later turn: wait for both.
    ops = [Op(settled, position, range(0), settled.expect(position, Outcome()))]
    ops.append(runtime.stored_op(0, range(0)))
    ops += [queue._last_publish() for queue in parts.handles.all_made()]
    for op in ops:
        await op
    return primary.generation
