"""The primary's side of its links: who may subscribe, and what its backups say afterwards."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qpidha.core.limits import agreed, check_backup, limits_of
from qpidha.core.primary.primary import Primary
from qpidha.core.primary.session import ReplicatingSubscription, State
from qpidha.core.ready import Noted
from qpidha.errors import HandshakeError, RemoteProtocolError
from qpidha.wire.events import (
    Acknowledged,
    Fenced,
    Frame,
    Hello,
    Progress,
    Refused,
    Subscribe,
    SubscribeQueue,
    Welcome,
)
from qpidha.wire.version import LIMITS_SINCE, negotiate

if TYPE_CHECKING:
    from qpidha.core.replica import Replica

NOT_PRIMARY = 16
"""Refused: this node is not primary. Ask the record who is."""
TAKEN_OVER = 17
"""Refused: another process with this node id has a session (T40)."""
STEPPED_DOWN = 18
"""Refused: this node is no longer primary."""


class Host:
    """Every link that peers opened to this primary."""

    def __init__(self, replica: Replica, primary: Primary) -> None:
        self._replica = replica
        self._primary = primary

    def received(self, link: int, frame: Frame, now: float) -> bool:
        """One frame from a peer. Raises `RemoteProtocolError` on what is not legal now.

        Returns False if no effect can follow from it.
        """
        event = frame.event
        session = self._primary.sessions.get(link)
        if session is None:
            if not isinstance(event, Hello):
                raise HandshakeError(f"{type(event).__name__} before Hello")
            self._hello(link, event, now)
            return True
        if session.state is not State.STREAMING:
            session.turn.asked(now)
        if isinstance(event, Fenced):
            self._fenced(link, event.generation, now)
            return True
        if isinstance(event, Refused):
            self._refused(session, event)
            return True
        if frame.generation != self._primary.generation:
            raise RemoteProtocolError(
                f"frame of generation {frame.generation}, not {self._primary.generation}"
            )
        if isinstance(event, Subscribe):
            self._subscribe(session, frame.session, event, now)
            return True
        if frame.session != session.sid:
            return False  # Of an earlier session: counts for nothing (C3, T19).
        match event:
            case Acknowledged() if session.state in (State.STREAMING, State.LAGGING):
                return self._primary.acknowledged(session, event.position)
            case Progress():
                session.progress(event.chunks)
            case SubscribeQueue():
                session.subscribe_queue(event)
            case _:
                raise RemoteProtocolError(f"{type(event).__name__} while {session.state.name}")
        return True

    def _hello(self, link: int, hello: Hello, now: float) -> None:
        replica = self._replica
        version = self._check_hello(link, hello)
        for other in list(self._primary.sessions.values()):
            if other.node != hello.node:
                continue
            if other.boot != hello.boot:
                both = f"{hello.node!r}: process {other.boot} is connected, process {hello.boot} was refused"
                replica.out.notify(Noted("two processes with one node id", both))
                self.refuse(replica, link, TAKEN_OVER, f"two processes have the node id {both}")
                return
            self._primary.closed(other.link)
            replica.out.close(other.link, "replaced by a newer link")
        settings = agreed(replica.settings, hello.limits)
        session = ReplicatingSubscription(link, hello.node, hello.boot, settings, hello.limits)
        session.turn.asked(now)
        self._primary.sessions[link] = session
        assert replica.cluster is not None
        welcome = Welcome(
            version=version,
            cluster=replica.cluster,
            node=replica.node,
            boot=replica.boot,
            limits=limits_of(replica.settings) if version >= LIMITS_SINCE else None,
        )
        replica.out.send(link, Frame(self._primary.generation, 0, welcome))

    def _check_hello(self, link: int, hello: Hello) -> int:
        """The version to speak. Raises `RemoteProtocolError` if this backup is not to be let in."""
        replica = self._replica
        if hello.cluster is not None and hello.cluster != replica.cluster:
            raise HandshakeError(
                f"the store of backup {hello.node!r} is of cluster {hello.cluster},"
                f" primary {replica.node!r} is of cluster {replica.cluster}"
            )
        names = replica.identities.get(link)
        if names is not None and hello.node not in names:
            raise HandshakeError(
                f"the certificate of backup {hello.node!r} is for {', '.join(sorted(names)) or 'no name'}"
            )
        if hello.node == replica.node:
            raise HandshakeError(f"backup and primary have the same node id, {hello.node!r}")
        if hello.wanted != replica.node:
            raise HandshakeError(f"the backup wants node {hello.wanted!r}, this is {replica.node!r}")
        version = negotiate(
            hello.version_min,
            hello.version_max,
            here=f"primary {replica.node!r}",
            there=f"backup {hello.node!r}",
        )
        if hello.limits is not None:
            queues = len(self._primary.queues)
            check_backup(hello.node, hello.limits, replica.node, replica.settings, queues)
        return version

    def _subscribe(self, session: ReplicatingSubscription, sid: int, event: Subscribe, now: float) -> None:
        if event.stored_generation > self._primary.generation:
            self._fenced(session.link, event.stored_generation, now)
            return
        self._primary.subscribed(session, sid, event)

    def _fenced(self, link: int, generation: int, now: float) -> None:
        """A peer claims a higher generation. Only the manager's word counts: ask it (C2, F6)."""
        replica = self._replica
        why = f"a peer has seen generation {generation}"
        replica.out.notify(Noted("fenced", why))
        replica.manager.ask(now)
        self._primary.closed(link)
        replica.out.close(link, f"fenced: {why}")

    def _refused(self, session: ReplicatingSubscription, refused: Refused) -> None:
        """The backup gives up this link: what it says is for the operator of this node, too."""
        self._replica.out.notify(Noted("refused by a backup", f"{session.node}: {refused.reason}"))
        self._primary.closed(session.link)
        self._replica.out.close(session.link, f"refused: {refused.reason}")

    def closed(self, link: int) -> None:
        self._primary.closed(link)

    def close_all(self, why: str) -> None:
        """Drop every session (K1)."""
        for link in list(self._primary.sessions):
            self.refuse(self._replica, link, STEPPED_DOWN, why)
            self._primary.closed(link)

    # --- links of nobody -------------------------------------------------------------------------

    @staticmethod
    def not_primary(replica: Replica, link: int, frame: Frame) -> None:
        """A peer spoke to a node that is not primary."""
        if not isinstance(frame.event, Refused):
            Host.refuse(replica, link, NOT_PRIMARY, f"{replica.node} is {replica.role.value}")

    @staticmethod
    def refuse(replica: Replica, link: int, code: int, reason: str) -> None:
        """Say why, then close."""
        refused = Refused(code=code, reason=reason[:1000])
        replica.out.send(link, Frame(replica.generation, 0, refused))
        replica.out.close(link, reason)
