"""The nodes that hold a session in the cluster manager, with what each published about itself, as seen last."""

from __future__ import annotations

from collections.abc import Mapping

from qpidha.types import NodeId, NodeInfo
from qpidha.wire.info import decode_info


class LiveNodes:
    """A hint about which node to contact and when to act. No decision about safety depends on it."""

    def __init__(self) -> None:
        self._info: Mapping[NodeId, bytes] = {}
        self.known = False
        """The list was seen at least once."""

    @property
    def names(self) -> list[NodeId]:
        """Sorted. O(n log n)."""
        return sorted(self._info)

    def seen(self, live: Mapping[NodeId, bytes]) -> None:
        """Replace the list by the one that the record store told."""
        self._info, self.known = live, True

    def info_of(self, node: NodeId | None) -> NodeInfo | None:
        """What this node published; None if it is not live, published something unreadable, or no node is named."""
        raw = self._info.get(node) if node is not None else None
        return decode_info(raw) if raw is not None else None
