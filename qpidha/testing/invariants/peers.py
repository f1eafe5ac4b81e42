"""Honest peers: no node finds that another one broke the protocol (peer)."""

from __future__ import annotations

from qpidha.core.refusals import NOT_PRIMARY, STEPPED_DOWN, TAKEN_OVER
from qpidha.errors import VersionMismatch
from qpidha.testing.invariants.violation import Violation
from qpidha.types import NodeId
from qpidha.wire.events import Frame, Refused

POLITE = frozenset({NOT_PRIMARY, TAKEN_OVER, STEPPED_DOWN, VersionMismatch.code})
"""Codes of refusals that do not blame the peer."""


def check_frame(sender: NodeId, frame: Frame) -> None:
    """Check a frame between two nodes that run the real core.

    Raises:
        Violation: peer: it blames its receiver.
    """
    if isinstance(frame.event, Refused) and frame.event.code not in POLITE:
        raise Violation(f"peer: {sender} says that an honest peer broke the protocol: {frame.event.reason}")
