"""The backup's side of its one link: find out whether this is the primary, then replicate (C1, C2)."""

from __future__ import annotations

from collections import deque
from contextlib import suppress
from typing import TYPE_CHECKING

from qpidha.core.backup.session import Flow, QueueReplicator, State
from qpidha.core.limits import agreed, check_primary, limits_of
from qpidha.core.ready import Noted
from qpidha.errors import HandshakeError, RemoteProtocolError
from qpidha.types import NodeId, Record, Role
from qpidha.wire.events import Established, Fenced, Frame, Hello, Refused, Resubscribe, Welcome
from qpidha.wire.version import PROTOCOL_MAX, PROTOCOL_MIN, negotiate

if TYPE_CHECKING:
    from qpidha.core.replica import Replica


class Follower:
    """At most one link, opened by us, to the node that the record names as primary."""

    def __init__(self, replica: Replica) -> None:
        self._replica = replica
        self._sid = 0
        self._wanted: NodeId | None = None
        self.flow = Flow()
        self.link: int | None = None
        self.replicator: QueueReplicator | None = None
        self._held_back: deque[Frame] = deque()
        """What the primary sent behind its plan, while the flip is under way: at most its window (C7)."""

    @property
    def role(self) -> Role:
        if self.replicator is None or self.replicator.state is State.HELLO:
            return Role.JOINING
        return Role.READY if self.replicator.state is State.FOLLOWING else Role.CATCH_UP

    @property
    def established(self) -> bool:
        """The history that is followed now is established (W2)."""
        return self.replicator is not None and self.replicator.established

    def link_opened(self, link: int, to: NodeId) -> None:
        """A new link replaces the old one, and its session, at once (C1)."""
        replica = self._replica
        self.leave()
        if replica.primary or replica.activation or replica.stopped:
            replica.out.close(link, "not a backup")
            return
        self.link = link
        self._wanted = to
        hello = Hello(
            version_min=PROTOCOL_MIN,
            version_max=PROTOCOL_MAX,
            cluster=replica.cluster,
            node=replica.node,
            boot=replica.boot,
            wanted=to,
            limits=limits_of(replica.settings),
        )
        replica.out.send(link, Frame(replica.generation, 0, hello))

    def look_at(self, record: Record) -> None:
        """Do not wait for a primary that the record no longer names to say so itself: it may be paused."""
        named = record.primary[0] if record.primary else None
        outdated = self.replicator is not None and self.replicator.generation < record.generation
        if self.link is not None and (outdated or (named != self._wanted)):
            self.leave()

    def leave(self, why: str = "leaving") -> None:
        """Close the session; what was staged is forgotten, unread frames will not be read (P3)."""
        if self.link is not None:
            self._replica.out.close(self.link, why)
            self._over()

    def closed(self, link: int) -> None:
        if link == self.link:
            self._over()

    def _over(self) -> None:
        """No session any more. A flip that has begun is completed: its plan came whole (C5)."""
        replicator, self.link, self.replicator = self.replicator, None, None
        self._held_back.clear()
        if replicator is not None and replicator.state is State.FLIPPING:
            with suppress(RemoteProtocolError):  # A plan that contradicts itself has changed nothing.
                replicator.finish()
                self._follows(replicator)

    @property
    def unfinished(self) -> bool:
        """There is work that waits for nothing but the next slice."""
        return self.replicator is not None and self.replicator.unfinished

    @property
    def staged(self) -> int:
        """How many queues of a plan are here that was not flipped to yet."""
        return 0 if self.replicator is None else self.replicator.staged

    def advance(self) -> None:
        """One slice of what is to be done for each queue, then what waited for the last of them."""
        replicator, link = self.replicator, self.link
        assert replicator is not None and link is not None  # Else nothing is `unfinished`.
        flipping = replicator.state is State.FLIPPING
        try:
            replicator.advance()
            if flipping and replicator.state is State.FOLLOWING:
                self._follows(replicator)
                while self._held_back and self.replicator is replicator:
                    self._replicate(self._held_back.popleft())
        except RemoteProtocolError as error:
            self._replica.link_failed(link, error)

    def received(self, frame: Frame, now: float) -> None:
        """One frame from the primary. Raises `RemoteProtocolError` on what is not legal now."""
        replica = self._replica
        event = frame.event
        if isinstance(event, Refused):
            replica.out.notify(Noted("refused by the primary", event.reason))
            replica.manager.ask(now)
            self.leave(f"refused: {event.reason}")
        elif frame.generation < replica.generation:
            self._fence(frame)
        elif self.replicator is None:
            if not isinstance(event, Welcome):
                raise HandshakeError(f"{type(event).__name__} before Welcome")
            self._welcome(frame.generation, event, now)
        elif frame.generation != self.replicator.generation:
            raise RemoteProtocolError(
                f"frame of generation {frame.generation}, not {self.replicator.generation}"
            )
        elif frame.session == self.replicator.sid:
            self._replicate(frame)

    def _replicate(self, frame: Frame) -> None:
        replica, replicator = self._replica, self.replicator
        assert replicator is not None
        if replicator.state is State.FLIPPING:
            self._held_back.append(frame)
            return
        following = replicator.state is State.FOLLOWING
        match frame.event:
            case Established() if following:
                replicator.established = True
                replica.hand_over()
            case Resubscribe() if following:
                self._subscribe()
            case event:
                replicator.receive(event)
                if not following and replicator.state is State.FOLLOWING:
                    self._follows(replicator)

    def _follows(self, replicator: QueueReplicator) -> None:
        """The flip is done: this node is of the primary's cluster and generation."""
        self._replica.generation = replicator.generation
        self._replica.cluster = replicator.cluster

    def _fence(self, frame: Frame) -> None:
        """A primary of an older generation: tell it, and have nothing more to do with it (C2, T06)."""
        replica = self._replica
        assert self.link is not None
        replica.out.send(self.link, Frame(replica.generation, 0, Fenced(generation=replica.generation)))
        stale = f"its generation is {frame.generation}, {replica.generation} was seen"
        replica.out.notify(Noted("fenced a stale primary", stale))
        self.leave(f"a stale primary: {stale}")

    def _welcome(self, generation: int, event: Welcome, now: float) -> None:
        """Obey only the primary that the record names, in the generation that the record says (F6)."""
        replica = self._replica
        record = replica.record
        negotiate(event.version, event.version)
        if event.node != self._wanted:
            raise HandshakeError(f"this is {event.node!r}, not {self._wanted!r}")
        if record is None or record.generation != generation or record.primary != (event.node, event.boot):
            found = f"{event.node} at generation {generation}"
            replica.out.notify(Noted("not the recorded primary", found))
            replica.manager.ask(now)
            self.leave(f"not the recorded primary: {found}")
            return
        if event.cluster != record.cluster or replica.cluster not in (None, event.cluster):
            raise HandshakeError(
                f"the primary is of cluster {event.cluster}, this store of {replica.cluster}"
            )
        if event.limits is not None:
            check_primary(event.node, event.limits, replica.node, len(replica.queues))
        assert self.link is not None
        self.replicator = QueueReplicator(
            link=self.link,
            primary=event.node,
            generation=generation,
            cluster=event.cluster,
            queues=replica.queues,
            quarantined=replica.quarantined,
            outbox=replica.out,
            settings=agreed(replica.settings, event.limits),
            flow=self.flow,
        )
        self._subscribe()

    def _subscribe(self) -> None:
        assert self.replicator is not None
        self._sid += 1
        self.replicator.subscribe(self._sid, self._replica.epoch, self._replica.generation)
