"""A simulated network: links that keep order, may be cut in one direction, reset, or left half-open.

Like TCP, a link loses nothing while both ends live: what cannot pass a cut waits and passes when the cut
heals, unless an end gave the link up meanwhile. Frames travel as bytes through the real codec and frame
reader; ``wire=False`` passes the objects themselves, which is faster and gives the same events.

Nodes are found by their *host*, which differs from the node id only for a second process with the same id.
"""

from __future__ import annotations

import random
from collections.abc import Callable

from qpidha.errors import RemoteProtocolError
from qpidha.testing.sim.link import FRAME_BYTES_MAX, End, Fin, Item, LinkedNode
from qpidha.testing.sim.scheduler import Scheduler
from qpidha.types import NodeId
from qpidha.wire import codec
from qpidha.wire.events import Frame
from qpidha.wire.framing import FrameReader


class Network:
    """All links between simulated nodes."""

    def __init__(
        self, scheduler: Scheduler, *, wire: bool, delay: Callable[[], float], seed: int = 0
    ) -> None:
        self.scheduler = scheduler
        self.wire = wire
        self.delay = delay
        self.chance = random.Random(seed)
        """Decides where bytes are split. Separate from the run's randomness, because it changes no event."""
        self.split = self.merge = False
        """``split``: frames arrive in pieces. ``merge``: bytes due at the same time arrive as one piece."""
        self.close_delay: Callable[[], float] = lambda: 0.0
        """Additional delay (s) before an end learns that its link was closed."""
        self.spoil: dict[tuple[NodeId, NodeId], float] = {}
        """(from, to): flip one bit of the next frame, at this fraction (0 to 1) of its length."""
        self.spoiled: set[int] = set()
        """Numbers of the links with such a frame: an error reported there is not the fault of the peer."""
        self.counted: Callable[[str], None] = lambda what: None
        """Called with the counter of each network fault that affected a frame."""
        self.blocked: set[tuple[NodeId, NodeId]] = set()
        """(from, to): nothing passes in this direction, and no link can be opened."""
        self.held: set[tuple[NodeId, NodeId]] = set()
        """(from, to): frames wait, but links can be opened and heartbeats pass."""
        self.ends: dict[tuple[NodeId, int], End] = {}
        self._links = 0
        self.on_send: Callable[[End, Frame], None] = lambda end, frame: None
        self.on_deliver: Callable[[End, Frame], None] = lambda end, frame: None

    # --- opening and closing -----------------------------------------------------------------------

    def passes(self, source: NodeId, target: NodeId) -> bool:
        """Whether frames from one host reach the other: the direction is not blocked."""
        return (source, target) not in self.blocked

    def waits(self, end: End) -> bool:
        """Whether items on their way to this end wait: its direction is blocked or held, or its node is paused."""
        direction = (end.other.node.host, end.node.host)
        return end.node.paused or direction in self.blocked or direction in self.held

    def connect(self, source: LinkedNode, target: LinkedNode) -> None:
        """Open a link if the target is up and both directions pass; each node is notified when it runs."""
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
        """Close this end. The other end learns of it after everything sent before.

        ``lose``: discard what was sent and has not arrived.
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
        """Break every link between two hosts, with all items in flight. Returns whether there was one."""
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
        """Close this end without notice to the other, whose frames are then lost (half-open link)."""
        end.open = False
        end.inbound.clear()
        self.ends.pop((end.node.host, end.number), None)
        end.node.link_closed(end)

    def crashed(self, node: LinkedNode, *, silent: bool, lose: bool) -> None:
        """End all links of a process that died.

        ``silent``: its machine died too, so that its peers learn nothing (half-open links). ``lose``: discard
        what it sent and has not arrived.
        """
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
        """Send a frame; drop it if the link is closed, as `Ready` allows."""
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
        """Flip one bit of a frame. Either the frame reader detects it, or the transport's checksum does."""
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
        """Deliver the items that are due, unless this end waits."""
        while end.inbound and end.open and end.inbound[0][0] <= self.scheduler.now:
            if self.waits(end):
                return
            item = end.inbound.popleft()[1]
            if self.merge and isinstance(item, bytes):
                item = self._merged(end, item)
            self._deliver(end, item)

    def _merged(self, end: End, item: bytes) -> bytes:
        """Join this item with the bytes behind it that are due too."""
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
        """Cut one direction: its items wait, no link can be opened, and heartbeats do not pass."""
        self.blocked.add((source, target))

    def hold(self, source: NodeId, target: NodeId) -> None:
        """Let the items of one direction wait, while heartbeats pass and links can be opened."""
        self.held.add((source, target))

    def unblock(self, source: NodeId, target: NodeId) -> None:
        """End `block` and `hold` of one direction, and deliver what waited."""
        self.blocked.discard((source, target))
        self.held.discard((source, target))
        self.wake(source, target)

    def mend(self) -> None:
        """End all network faults. Waiting items pass with the next `wake`."""
        self.blocked.clear()
        self.held.clear()
        self.spoil.clear()
        self.split = self.merge = False
        self.close_delay = lambda: 0.0
        for end in self.ends.values():
            end.lag_s = 0.0

    def wake(self, source: NodeId | None = None, target: NodeId | None = None) -> None:
        """Deliver the waiting items that may pass now, of all directions or of those given."""
        for end in list(self.ends.values()):
            if source in (None, end.other.node.host) and target in (None, end.node.host):
                self._pump(end)

    def let_pass(self, source: NodeId, target: NodeId, count: int) -> int:
        """Deliver at most ``count`` waiting items of a direction. Returns how many it delivered."""
        passed = 0
        for end in list(self.ends.values()):
            if (end.other.node.host, end.node.host) == (source, target):
                while end.inbound and passed < count and end.open:
                    passed += 1
                    self._deliver(end, end.inbound.popleft()[1])
        return passed

    def silent(self, node: LinkedNode, timeout_s: float) -> list[End]:
        """The ends at a node that received nothing for ``timeout_s`` of virtual time. Models heartbeats."""
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
    """The error of the first frame in these bytes; None if it is valid or incomplete."""
    reader = FrameReader(FRAME_BYTES_MAX)
    try:
        for frame in reader.feed(raw):
            codec.decode(frame)
            return None
    except RemoteProtocolError as error:
        return error
    return None
