"""Refusing a link: send `Refused` with a code and a reason, then close the link.

Codes below 16 are those of `RemoteProtocolError`: the peer broke the protocol. Those here are no fault of the peer.
"""

from __future__ import annotations

from qpidha.core.legality import LinkState, Outcome
from qpidha.core.state import NodeState
from qpidha.types import NodeId, Role
from qpidha.wire.events import Frame, Refused

NOT_PRIMARY = 16
"""This node is not primary. Ask the record who is."""
TAKEN_OVER = 17
"""Another process with the same node id has a session (T40)."""
STEPPED_DOWN = 18
"""This node is no longer primary."""
OTHER_ADDRESS = 19
"""The backup tried several addresses of this node, and uses a link to another one: nothing is wrong."""

REASON_CHARS_MAX = 1000
"""Longer reasons are cut."""


def refuse(state: NodeState, link: int, code: int, reason: str) -> None:
    """Tell the peer why, then close the link."""
    refused = Refused(code=code, reason=reason[:REASON_CHARS_MAX])
    state.outbox.send(link, Frame(state.generation, 0, refused))
    state.outbox.close(link, reason)


def refuse_as_backup(state: NodeState, link: int, frame: Frame, role: Role) -> None:
    """Answer a frame that a peer sent to a node that is not primary. A `Refused` gets no answer."""
    if LinkState.NO_ROLE.rules[type(frame.event)].outcome is Outcome.REFUSED:
        refuse(state, link, NOT_PRIMARY, f"{state.node} is {role.value}")


def not_primary_text(node: NodeId, role: Role, primary: NodeId | None) -> str:
    """Why a node refuses what only the primary can do, in words."""
    if role is Role.STOPPED:
        return f"node {node!r} is stopped"
    known = "no primary is known" if primary in (None, node) else f"the primary is {primary!r}"
    return f"node {node!r} is not the primary ({role.value}): {known}"
