"""A simulated network: links that keep order, may be cut in one direction, reset, or left half-open.

Like TCP, a link loses nothing while both ends live: what cannot pass a cut waits and passes when the cut
heals, unless an end gave the link up meanwhile. Frames travel as bytes through the real codec and frame
reader; ``wire=False`` passes the objects themselves, which is faster.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeAlias

from qpidha.testing.scheduler import Scheduler
from qpidha.types import NodeId
from qpidha.wire import codec
from qpidha.wire.events import Frame
from qpidha.wire.framing import FrameReader

if TYPE_CHECKING:
    from qpidha.testing.node import SimNode

FRAME_BYTES_MAX = 1 << 16
"""Simulated messages are small, and so are their buffers."""


class Fin:
    """The last thing on a direction: the other end closed, or its process died."""


Item: TypeAlias = bytes | Frame | Fin


@dataclass(eq=False)
class End:
    """One end of a link, with what is on its way *to* it."""

    node: SimNode
    number: int
    opened_by: NodeId | None
    """The node that opened the link, if that is the one at the other end."""
    boot: int
    open: bool = True
    heard_at: float = 0.0
    inbound: deque[tuple[float, Item]] = field(default_factory=deque)
    arrives_at: float = 0.0
    """Of the last item sent: later ones do not overtake it."""
    reader: FrameReader = field(default_factory=lambda: FrameReader(FRAME_BYTES_MAX))
    other: End = field(init=False, repr=False)


class Network:
    """All links between simulated nodes."""

    def __init__(self, scheduler: Scheduler, *, wire: bool, delay: Callable[[], float]) -> None:
        self.scheduler = scheduler
        self.wire = wire
        self.delay = delay
        self.blocked: set[tuple[NodeId, NodeId]] = set()
        """(from, to): cut. Nothing passes in this direction now, and no link can be opened."""
        self.held: set[tuple[NodeId, NodeId]] = set()
        """(from, to): what is sent waits, but the link can be opened, and heartbeats pass."""
        self.ends: dict[tuple[NodeId, int], End] = {}
        self._links = 0
        self.on_send: Callable[[End, Frame], None] = lambda end, frame: None
        self.on_deliver: Callable[[End, Frame], None] = lambda end, frame: None

    # --- opening and closing -----------------------------------------------------------------------

    def passes(self, source: NodeId, target: NodeId) -> bool:
        return (source, target) not in self.blocked

    def waits(self, end: End) -> bool:
        """What is on its way to this end does not arrive now."""
        direction = (end.other.node.name, end.node.name)
        return end.node.paused or direction in self.blocked or direction in self.held

    def connect(self, source: SimNode, target: SimNode) -> None:
        """Open a link, if the handshake of the transport can pass now; both ends hear of it later."""
        names = source.name, target.name
        if not target.up or not self.passes(*names) or not self.passes(*reversed(names)):
            return
        self._links += 1
        near = End(source, self._links, None, source.boots, heard_at=self.scheduler.now)
        far = End(target, self._links, source.name, target.boots, heard_at=self.scheduler.now)
        near.other, far.other = far, near
        self.ends[source.name, near.number] = near
        self.ends[target.name, far.number] = far
        target.post(lambda: target.link_opened(far, to=None))
        source.post(lambda: source.link_opened(near, to=target.name))

    def close(self, end: End, *, lose: bool = False) -> None:
        """This end gives up the link. The other hears of it behind what was sent before.

        ``lose``: what was sent and did not arrive yet is lost.
        """
        if not end.open:
            return
        end.open = False
        end.inbound.clear()
        self.ends.pop((end.node.name, end.number), None)
        if lose:
            end.other.inbound.clear()
        self._put(end.other, Fin())

    def reset(self, a: NodeId, b: NodeId) -> None:
        """Every link between the two breaks, with all that is under way; both ends hear of it."""
        for end in [e for e in self.ends.values() if e.node.name == a and e.other.node.name == b]:
            for side in (end, end.other):
                if side.open:
                    side.inbound.clear()
                    self._put(side, Fin())

    def crashed(self, node: SimNode, *, silent: bool, lose: bool) -> None:
        """A process died. ``silent``: its machine too, so that nobody is told (a half-open link)."""
        for end in [e for e in self.ends.values() if e.node is node]:
            if silent:
                end.open = False
                end.inbound.clear()
                self.ends.pop((node.name, end.number))
                if lose:
                    end.other.inbound.clear()
            else:
                self.close(end, lose=lose)

    # --- sending -----------------------------------------------------------------------------------

    def send(self, node: SimNode, link: int, frame: Frame) -> None:
        """A frame for a link that is closed is dropped, as `Ready` allows."""
        end = self.ends.get((node.name, link))
        if end is None or not end.open:
            return
        self.on_send(end, frame)
        item: Item = b"".join(codec.encode(frame)) if self.wire else frame
        self._put(end.other, item)

    def _put(self, end: End, item: Item) -> None:
        if not end.open:
            return
        end.arrives_at = max(end.arrives_at, self.scheduler.now + self.delay())
        end.inbound.append((end.arrives_at, item))
        self.scheduler.after(end.arrives_at - self.scheduler.now, lambda: self._pump(end))

    def _pump(self, end: End) -> None:
        """Deliver what is due, unless the direction is blocked or the receiver sleeps."""
        while end.inbound and end.open and end.inbound[0][0] <= self.scheduler.now:
            if self.waits(end):
                return
            self._deliver(end, end.inbound.popleft()[1])

    def _deliver(self, end: End, item: Item) -> None:
        if isinstance(item, Fin):
            self.close(end)
            end.node.link_closed(end)
            return
        frames = [item] if isinstance(item, Frame) else [codec.decode(raw) for raw in end.reader.feed(item)]
        for frame in frames:
            self.on_deliver(end, frame)
            end.node.received(end, frame)

    # --- cuts ----------------------------------------------------------------------------------------

    def block(self, source: NodeId, target: NodeId) -> None:
        self.blocked.add((source, target))

    def hold(self, source: NodeId, target: NodeId) -> None:
        self.held.add((source, target))

    def unblock(self, source: NodeId, target: NodeId) -> None:
        self.blocked.discard((source, target))
        self.held.discard((source, target))
        self.wake(source, target)

    def wake(self, source: NodeId | None = None, target: NodeId | None = None) -> None:
        """What waited may pass now."""
        for end in list(self.ends.values()):
            if source in (None, end.other.node.name) and target in (None, end.node.name):
                self._pump(end)

    def let_pass(self, source: NodeId, target: NodeId, count: int) -> int:
        """Deliver at most this many of the waiting items of a direction. Says how many there were."""
        passed = 0
        for end in list(self.ends.values()):
            if (end.other.node.name, end.node.name) == (source, target):
                while end.inbound and passed < count and end.open:
                    passed += 1
                    self._deliver(end, end.inbound.popleft()[1])
        return passed

    def silent(self, node: SimNode, timeout_s: float) -> list[End]:
        """The links of a node on which nothing was heard for this long. Stands for heartbeats."""
        now = self.scheduler.now
        found = []
        for end in list(self.ends.values()):
            if end.node is not node:
                continue
            peer = end.other
            if peer.open and not peer.node.paused and self.passes(peer.node.name, node.name):
                end.heard_at = now
            elif now - end.heard_at > timeout_s:
                found.append(end)
        return found
