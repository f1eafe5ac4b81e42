"""The backup's side of its one link: find out whether this is the primary, then replicate (C1, C2)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qpidha.core.limits import agreed, check_primary, limits_of
from qpidha.core.ready import Noted
from qpidha.core.replicator import Flow, QueueReplicator, State
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
        if replica.primary or replica.stopped:
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
        self.link = None
        self.replicator = None

    def closed(self, link: int) -> None:
        if link == self.link:
            self.link = None
            self.replicator = None

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
                    replica.generation = replicator.generation
                    replica.cluster = replicator.cluster

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
