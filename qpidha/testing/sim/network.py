"""A simulated network: links that keep order, may be cut in one direction, reset, or left half-open.

Like TCP, a link loses nothing while both ends live: what cannot pass a cut waits and passes when the cut
heals, unless an end gave the link up meanwhile. Frames travel as bytes through the real codec and frame
reader; ``wire=False`` passes the objects themselves, which is faster and gives the same events.

Nodes are found by their *host*, which differs from the node id only for a second process with the same id.
"""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol, TypeAlias

from qpidha.errors import RemoteProtocolError
from qpidha.testing.sim.scheduler import Scheduler
from qpidha.types import NodeId
from qpidha.wire import codec
from qpidha.wire.events import Frame
from qpidha.wire.framing import FrameReader

FRAME_BYTES_MAX = 1 << 16
"""Simulated messages are small, and so are their buffers."""


class Fin:
    """The last thing on a direction: the other end closed, or its process died."""


Item: TypeAlias = bytes | Frame | RemoteProtocolError | Fin
"""What arrives. An error: a frame that was damaged on its way, where the frames themselves are passed."""


class LinkedNode(Protocol):
    """A node as the network knows it."""

    boots: int
    up: bool
    paused: bool

    @property
    def name(self) -> NodeId: ...
    @property
    def host(self) -> str: ...
    def post(self, action: Callable[[], None]) -> None: ...
    def link_opened(self, end: End, to: NodeId | None) -> None: ...
    def received(self, end: End, frame: Frame) -> None: ...
    def link_failed(self, end: End, error: RemoteProtocolError) -> None: ...
    def link_closed(self, end: End) -> None: ...


@dataclass(eq=False)
class End:
    """One end of a link, with what is on its way *to* it."""

    node: LinkedNode
    number: int
    opened_by: NodeId | None
    """The node that opened the link, if that is the one at the other end."""
    boot: int
    open: bool = True
    heard_at: float = 0.0
    inbound: deque[tuple[float, Item]] = field(default_factory=deque)
    arrives_at: float = 0.0
    """Of the last item sent: later ones do not overtake it."""
    lag_s: float = 0.0
    """What is sent to this end takes this much longer."""
    dead: bool = False
    """A damaged frame arrived: nothing after it is read."""
    reader: FrameReader = field(default_factory=lambda: FrameReader(FRAME_BYTES_MAX))
    other: End = field(init=False, repr=False)


class Network:
    """All links between simulated nodes."""

    def __init__(
        self, scheduler: Scheduler, *, wire: bool, delay: Callable[[], float], seed: int = 0
    ) -> None:
        self.scheduler = scheduler
        self.wire = wire
        self.delay = delay
        self.chance = random.Random(seed)
        """Where bytes are cut: of its own, because it changes no event."""
        self.split = self.merge = False
        """Frames arrive in pieces; those that arrive at one time, arrive as one piece."""
        self.close_delay: Callable[[], float] = lambda: 0.0
        """How much later an end hears that its link was closed."""
        self.spoil: dict[tuple[NodeId, NodeId], float] = {}
        """(from, to): the next frame has one bit flipped, at this part of its length."""
        self.spoiled: set[int] = set()
        """Links on which that happened: what one end says there of the other is not the other's fault."""
        self.counted: Callable[[str], None] = lambda what: None
        """Told which of these befell a frame."""
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
        direction = (end.other.node.host, end.node.host)
        return end.node.paused or direction in self.blocked or direction in self.held

    def connect(self, source: LinkedNode, target: LinkedNode) -> None:
        """Open a link, if the handshake of the transport can pass now; both ends hear of it later."""
        names = source.host, target.host
        if not target.up or not self.passes(*names) or not self.passes(*reversed(names)):
            return
        self._links += 1
        near = End(source, self._links, None, source.boots, heard_at=self.scheduler.now)
        far = End(target, self._links, source.name, target.boots, heard_at=self.scheduler.now)
        near.other, far.other = far, near
        self.ends[source.host, near.number] = near
        self.ends[target.host, far.number] = far
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
        self.ends.pop((end.node.host, end.number), None)
        if lose:
            end.other.inbound.clear()
        self._put(end.other, Fin())

    def between(self, a: NodeId, b: NodeId) -> list[End]:
        """The ends at ``a`` of the links between the two."""
        return [e for e in self.ends.values() if e.node.host == a and e.other.node.host == b]

    def reset(self, a: NodeId, b: NodeId) -> bool:
        """Every link between the two breaks, with all that is under way; both ends hear of it."""
        found = self.between(a, b)
        for end in found:
            self._break(end)
        return bool(found)

    def _break(self, end: End) -> None:
        for side in (end, end.other):
            if side.open:
                side.inbound.clear()
                self._put(side, Fin())

    def forget(self, end: End) -> None:
        """This end loses its link; the other is not told, and what it sends goes nowhere (half-open)."""
        end.open = False
        end.inbound.clear()
        self.ends.pop((end.node.host, end.number), None)
        end.node.link_closed(end)

    def crashed(self, node: LinkedNode, *, silent: bool, lose: bool) -> None:
        """A process died. ``silent``: its machine too, so that nobody is told (a half-open link)."""
        for end in [e for e in self.ends.values() if e.node is node]:
            if silent:
                end.open = False
                end.inbound.clear()
                self.ends.pop((node.host, end.number))
                if lose:
                    end.other.inbound.clear()
            else:
                self.close(end, lose=lose)

    # --- sending -----------------------------------------------------------------------------------

    def send(self, node: LinkedNode, link: int, frame: Frame) -> None:
        """A frame for a link that is closed is dropped, as `Ready` allows."""
        end = self.ends.get((node.host, link))
        if end is None or not end.open:
            return
        self.on_send(end, frame)
        at = self.spoil.pop((node.host, end.other.node.host), None)
        if at is not None:
            self._spoil(end, frame, at)
            return
        self._put(end.other, b"".join(codec.encode(frame)) if self.wire else frame)

    def _spoil(self, end: End, frame: Frame, at: float) -> None:
        """One bit of a frame is flipped. Either the frame shows it, or the transport's checksum finds it."""
        raw = bytearray(b"".join(codec.encode(frame)))
        raw[int(at * len(raw))] ^= 1 << int(at * 1000) % 8
        self.spoiled.add(end.number)
        error = fault_in(bytes(raw))
        if error is None:
            self.counted("fault corrupt")
            self.counted("damaged frame found by the transport")
            self._break(end)
        else:
            self.counted("damaged frame found in the frame")
            self._put(end.other, bytes(raw) if self.wire else error)

    def _put(self, end: End, item: Item) -> None:
        if not end.open:
            return
        late = self.close_delay() if isinstance(item, Fin) else 0.0
        if late:
            self.counted("fault late_close")
        last, now = max(end.arrives_at, self.scheduler.now), self.scheduler.now
        end.arrives_at = max(last, now + self.delay() + end.lag_s + late)
        if self.split and isinstance(item, bytes) and len(item) > 1:
            self.counted("fault split")
            cut = self.chance.randrange(1, len(item))
            at = self.chance.uniform(last, end.arrives_at)
            end.inbound.append((at, item[:cut]))
            self.scheduler.after(at - now, lambda: self._pump(end))
            item = item[cut:]
        end.inbound.append((end.arrives_at, item))
        self.scheduler.after(end.arrives_at - now, lambda: self._pump(end))

    def _pump(self, end: End) -> None:
        """Deliver what is due, unless the direction is blocked or the receiver sleeps."""
        while end.inbound and end.open and end.inbound[0][0] <= self.scheduler.now:
            if self.waits(end):
                return
            item = end.inbound.popleft()[1]
            if self.merge and isinstance(item, bytes):
                item = self._merged(end, item)
            self._deliver(end, item)

    def _merged(self, end: End, item: bytes) -> bytes:
        """This and all bytes behind it that are due too."""
        while end.inbound and end.inbound[0][0] <= self.scheduler.now:
            more = end.inbound[0][1]
            if not isinstance(more, bytes):
                break
            self.counted("fault merge")
            end.inbound.popleft()
            item += more
        return item

    def _deliver(self, end: End, item: Item) -> None:
        if isinstance(item, Fin):
            self.close(end)
            end.node.link_closed(end)
            return
        if end.dead:
            return
        if isinstance(item, Frame):
            self._hear(end, item)
            return
        try:
            if isinstance(item, RemoteProtocolError):
                raise item
            for raw in end.reader.feed(item):
                if end.open:
                    self._hear(end, codec.decode(raw))
            if end.reader.error is not None:
                raise end.reader.error
        except RemoteProtocolError as error:
            if end.number not in self.spoiled:
                raise  # Of a whole frame: a bug.
            self.counted("fault corrupt")
            end.dead = True
            end.node.link_failed(end, error)

    def _hear(self, end: End, frame: Frame) -> None:
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

    def mend(self) -> None:
        """Nothing is cut, late or in pieces any more. What waits passes with the next `wake`."""
        self.blocked.clear()
        self.held.clear()
        self.spoil.clear()
        self.split = self.merge = False
        self.close_delay = lambda: 0.0
        for end in self.ends.values():
            end.lag_s = 0.0

    def wake(self, source: NodeId | None = None, target: NodeId | None = None) -> None:
        """What waited may pass now."""
        for end in list(self.ends.values()):
            if source in (None, end.other.node.host) and target in (None, end.node.host):
                self._pump(end)

    def let_pass(self, source: NodeId, target: NodeId, count: int) -> int:
        """Deliver at most this many of the waiting items of a direction. Says how many there were."""
        passed = 0
        for end in list(self.ends.values()):
            if (end.other.node.host, end.node.host) == (source, target):
                while end.inbound and passed < count and end.open:
                    passed += 1
                    self._deliver(end, end.inbound.popleft()[1])
        return passed

    def silent(self, node: LinkedNode, timeout_s: float) -> list[End]:
        """The links of a node on which nothing was heard for this long. Stands for heartbeats."""
        now = self.scheduler.now
        found = []
        for end in self.ends.values():
            if end.node is not node:
                continue
            peer = end.other
            if peer.open and not peer.node.paused and self.passes(peer.node.host, node.host):
                end.heard_at = now
            elif now - end.heard_at > timeout_s:
                found.append(end)
        return found


def fault_in(raw: bytes) -> RemoteProtocolError | None:
    """What a reader finds wrong with the first frame in these bytes; None if that is nothing, or not yet."""
    reader = FrameReader(FRAME_BYTES_MAX)
    try:
        for frame in reader.feed(raw):
            codec.decode(frame)
            return None
    except RemoteProtocolError as error:
        return error
    return None
