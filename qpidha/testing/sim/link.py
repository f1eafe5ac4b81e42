"""One simulated link: its two ends, and what is on its way to each of them."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol, TypeAlias

from qpidha.errors import RemoteProtocolError
from qpidha.types import NodeId
from qpidha.wire.events import Frame
from qpidha.wire.framing import FrameReader

FRAME_BYTES_MAX = 1 << 16
"""Simulated messages are small, and so are their buffers."""


class Fin:
    """The last item of a direction: the other end closed the link, or its process died."""


Item: TypeAlias = bytes | Frame | RemoteProtocolError | Fin
"""What arrives. An error stands for a damaged frame when frames travel as objects (``wire=False``)."""


class LinkedNode(Protocol):
    """A node as the network sees it."""

    boots: int
    up: bool
    paused: bool

    @property
    def name(self) -> NodeId:
        """The node id."""

    @property
    def host(self) -> str:
        """The address of the process."""

    def post(self, action: Callable[[], None]) -> None:
        """Run an action in the node, after its pause if it is paused."""

    def link_opened(self, end: End, to: NodeId | None) -> None:
        """A link is open; ``to`` is the node it was opened to, None at the end that accepted it."""

    def received(self, end: End, frame: Frame) -> None:
        """A frame arrived."""

    def link_failed(self, end: End, error: RemoteProtocolError) -> None:
        """Bytes arrived that are no valid frame; nothing after them is read."""

    def link_closed(self, end: End) -> None:
        """The link is closed."""


@dataclass(eq=False)
class End:
    """One end of a link, with the items on their way *to* it and the times (s) at which they arrive."""

    node: LinkedNode
    number: int
    opened_by: NodeId | None
    """The node at the other end if it opened the link; None if this end opened it."""
    boot: int
    open: bool = True
    heard_at: float = 0.0
    inbound: deque[tuple[float, Item]] = field(default_factory=deque)
    arrives_at: float = 0.0
    """Arrival time of the last item sent; later items do not overtake it."""
    lag_s: float = 0.0
    """Additional delay of everything sent to this end."""
    dead: bool = False
    """A damaged frame arrived: nothing after it is read."""
    reader: FrameReader = field(default_factory=lambda: FrameReader(FRAME_BYTES_MAX))
    other: End = field(init=False, repr=False)
