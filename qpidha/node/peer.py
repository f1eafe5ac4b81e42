"""One link of a node: bytes in, frames to the core, frames out, and a heartbeat.

The heartbeat lives here and not in the core because it must go on while the core waits for a slow disk.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

from qpidha.core.refusals import OTHER_ADDRESS
from qpidha.errors import RemoteProtocolError, StoreError
from qpidha.node.runtime import Runtime
from qpidha.types import BytesLike, NodeId
from qpidha.wire import codec
from qpidha.wire.events import Event, Frame, Hello, Ping, Refused, Welcome
from qpidha.wire.framing import FrameReader

if TYPE_CHECKING:
    from qpidha.interfaces import Link

FRAME_BYTES_PER_S_MIN = 1024
"""A link is closed if a frame arrives more slowly than this and than ``link_bytes_per_s_min``."""
TOGETHER_BYTES = 32 * 1024
"""Bytes that may arrive before the first of them is seen: a TLS record, and what the network delivers together."""
READ_S = 0.02
"""If handling the bytes of one read took longer than this, the next read is smaller: a buffer full of small operations
takes several times as long."""
READ_BYTES_MIN = 16 * 1024
READ_BYTES_MAX = 1024 * 1024
"""Bounds of the size of a read while it is limited because handling took too long; otherwise it is not limited."""


class Peer:
    """The handler of one link, in either direction."""

    def __init__(
        self,
        runtime: Runtime,
        number: int,
        link: Link,
        to: NodeId | None,
        on_closed: Callable[[Peer, Exception | None], None],
    ) -> None:
        self.number = number
        self.link = link
        self.to = to
        """The primary we opened it to; None if the peer opened it."""
        self.why = ""
        """Why this node closes the link, once it does."""
        self.welcomed = False
        """The handshake is over: larger frames are allowed."""
        self.settled = False
        """A backup that has caught up over this link."""
        self.opened_at = self.heard_at = self.sent_at = runtime.now()
        self._heard_bytes = 0
        self._frame_since: float | None = None
        """When the frame that is still arriving began to; None between frames."""
        self._runtime = runtime
        self._settings = runtime.settings
        self._on_closed = on_closed
        self._reader = FrameReader(runtime.settings.handshake_frame_bytes_max)
        self._read_bytes: int | None = None
        """So much is read at once; None: whatever the reader has room for."""
        self._closing = False
        self.uses_another = False
        """The peer said, instead of a Hello, that it uses a link to another address of this node."""
        self._says: NodeId | None = None
        """The node that the peer says it is, in its Hello."""

    @property
    def name(self) -> str:
        """For people: the other node if it said or proved which, else the host."""
        node = self.to or self._says
        return f"node {node!r}" if node is not None else self.link.peer.address.rpartition(":")[0]

    @property
    def heard(self) -> bool:
        """The peer has said anything at all."""
        return self._heard_bytes > 0

    @property
    def silence(self) -> str:
        """The likely reason for which the other end closed the link without giving one."""
        if self.heard:
            return "closed by the other end"
        if self.link.peer.identity is not None:
            return "closed by the other end without a word; it may refuse this node's certificate: its log says so"
        return "closed by the other end without a word; it may expect TLS, and this node speaks plain text"

    # --- in --------------------------------------------------------------------------------------

    def get_buffer(self, size_hint: int) -> memoryview:
        """See `qpidha.interfaces.LinkHandler`."""
        room = self._reader.get_buffer(size_hint)
        return room if self._read_bytes is None else room[: self._read_bytes]

    def received(self, nbytes: int) -> None:
        """See `qpidha.interfaces.LinkHandler`."""
        self.heard_at = self._runtime.clock()
        self._heard_bytes += nbytes
        if self._closing:
            return
        follows = False
        try:
            frames = self._reader.buffer_updated(nbytes)
            if frames or self._frame_since is None:
                self._frame_since = self.heard_at if self._reader.pending else None
            for raw in frames:
                frame = codec.decode(raw)
                if isinstance(frame.event, Ping):
                    continue
                if self._is_farewell(frame.event):
                    self.uses_another = self._closing = True
                    self.link.close()
                    break
                if isinstance(frame.event, Welcome):
                    self._widen()
                elif isinstance(frame.event, Hello):
                    self._says = frame.event.node
                follows |= self._runtime.replica.received(self.number, frame, self.heard_at)
                if self._closing:
                    break
            if self._reader.error is not None:
                raise self._reader.error
        except RemoteProtocolError as error:
            self._runtime.replica.link_failed(self.number, error)
            self._closing = follows = True
        except StoreError:
            self._closing = True  # It could not give a message back, and the node ends: `Replica.unreadable`.
        self._pace(nbytes, self._runtime.clock() - self.heard_at)
        if follows:
            self._runtime.act()

    def _is_farewell(self, event: Event) -> bool:
        first = self.to is None and self._says is None
        return first and isinstance(event, Refused) and event.code == OTHER_ADDRESS

    def _pace(self, nbytes: int, took_s: float) -> None:
        """So many bytes took so long: read less at once, or more again."""
        if took_s > READ_S:
            self._read_bytes = min(max(nbytes // 2, READ_BYTES_MIN), READ_BYTES_MAX)
        elif self._read_bytes is not None and took_s < READ_S / 4:
            self._read_bytes = 2 * self._read_bytes if 2 * self._read_bytes <= READ_BYTES_MAX else None

    def _widen(self) -> None:
        self.welcomed = True
        self._reader.limit = self._settings.frame_bytes_max

    # --- out -------------------------------------------------------------------------------------

    def send(self, frames: Iterable[Frame]) -> None:
        """Encode these frames and write them to the link, in order."""
        chunks: list[BytesLike] = []
        for frame in frames:
            if isinstance(frame.event, Welcome):
                self._widen()
            chunks += codec.encode(frame)
        self.sent_at = self._runtime.clock()
        self.link.write(chunks)
        if self.link.buffered > self._settings.link_buffer_bytes_max:
            self._cut_off(
                f"it does not read: more than {self._settings.link_buffer_bytes_max} bytes wait for it"
            )

    def drained(self) -> None:
        """Do nothing: the window bounds the bytes that wait."""

    def close(self, reason: str) -> None:
        """Send what was written, then close; if the peer does not take it, the heartbeat ends it."""
        self._closing = True
        self.why = self.why or reason
        self.link.close()

    def _cut_off(self, reason: str) -> None:
        self.why = self.why or reason
        self.link.abort()

    def closed(self, error: Exception | None) -> None:
        """See `qpidha.interfaces.LinkHandler`."""
        self._closing = True
        self._on_closed(self, error)

    # --- time ------------------------------------------------------------------------------------

    def fresh_round(self, now: float) -> None:
        """This process was paused: what the peer did meanwhile is still to be read (T42)."""
        self.heard_at = now
        if not self.welcomed:
            self.opened_at = now
        if self._frame_since is not None:
            self._frame_since = now

    def beat(self, now: float) -> None:
        """Send a heartbeat if nothing was sent for a while; close the link if the peer is silent."""
        settings = self._settings
        allowed_s = settings.heartbeat_timeout_s + TOGETHER_BYTES / settings.link_bytes_per_s_min
        if not self.welcomed and now - self.opened_at > settings.handshake_timeout_s:
            self._cut_off(f"no handshake in {settings.handshake_timeout_s:g} s")
        elif now - self.heard_at > allowed_s and (self.welcomed or self.to):
            self._cut_off(f"silent for more than {allowed_s:.2f} s")
        elif self._is_dribbling(now, allowed_s):
            self._cut_off(f"a frame arrives more slowly than {self._slowest} bytes a second")
        elif self.welcomed and now - self.sent_at >= settings.heartbeat_interval_s:
            self.send([Frame(self._runtime.replica.generation, 0, Ping())])

    @property
    def _slowest(self) -> int:
        """Bytes a second: a frame that arrives more slowly counts as silence."""
        return min(FRAME_BYTES_PER_S_MIN, self._settings.link_bytes_per_s_min)

    def _is_dribbling(self, now: float, allowed_s: float) -> bool:
        """A frame has begun, and less of it has arrived than the slowest link would bring."""
        if self._frame_since is None:
            return False
        return now - self._frame_since > allowed_s + self._reader.pending / self._slowest
