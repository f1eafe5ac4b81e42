"""The primary's side of its links: which backups may subscribe, and how their frames are handled."""

from __future__ import annotations

from collections.abc import Callable

from qpidha.core.legality import Outcome, Scope, SessionState, violation
from qpidha.core.limits import agreed, check_backup, limits_of
from qpidha.core.primary.primary import Primary
from qpidha.core.primary.session import BackupSession
from qpidha.core.refusals import STEPPED_DOWN, TAKEN_OVER, refuse
from qpidha.core.state import NodeState
from qpidha.errors import HandshakeError, RemoteProtocolError
from qpidha.events import DuplicateNodeId, FencedByPeer, RefusedByBackup
from qpidha.wire.events import (
    Acknowledged,
    Event,
    Fenced,
    Frame,
    Hello,
    Progress,
    Refused,
    Subscribe,
    SubscribeQueue,
    Welcome,
)
from qpidha.wire.groups import SubscribeGroups, SubscribeRest
from qpidha.wire.version import LIMITS_SINCE, negotiate

Handler = Callable[[BackupSession, int, Event, float], bool]
"""Of (session, the frame's session number, event, now). False: no effect can follow from it."""


class Sessions:
    """Every link that peers opened to this primary."""

    def __init__(self, state: NodeState, primary: Primary) -> None:
        self._state = state
        self._primary = primary

    def frame_from_backup(self, link: int, frame: Frame, now: float) -> bool:
        """One frame from a peer. Raises `RemoteProtocolError` on what is not legal now.

        Returns False if no effect can follow from it.
        """
        event = frame.event
        session = self._primary.sessions.get(link)
        if session is None:
            rule = SessionState.NEW.rules[type(event)]
            if rule.outcome is Outcome.ERROR:
                raise violation(SessionState.NEW, event, rule)
            assert isinstance(event, Hello)  # Nothing else is legal.
            self._hello(link, event, now)
            return True
        if session.state is not SessionState.STREAMING:
            session.turn.asked(now)
        rule = session.state.rules[type(event)]
        if rule.scope is not Scope.LINK:
            if frame.generation != self._primary.generation:
                raise RemoteProtocolError(
                    f"frame of generation {frame.generation}, not {self._primary.generation}"
                )
            if rule.scope is Scope.SESSION and frame.session != session.sid:
                return False  # A frame of an earlier session is ignored (C3, T19).
        if rule.outcome is Outcome.ERROR:
            raise violation(session.state, event, rule)
        handle: Handler = getattr(self, rule.handler)
        return handle(session, frame.session, event, now)

    def _hello(self, link: int, hello: Hello, now: float) -> None:
        state = self._state
        version = self._check_hello(link, hello)
        for other in list(self._primary.sessions.values()):
            if other.node != hello.node:
                continue
            if other.boot != hello.boot:
                duplicate = DuplicateNodeId(hello.node, connected=other.boot, refused=hello.boot)
                state.outbox.notify(duplicate)
                refuse(state, link, TAKEN_OVER, f"two processes have the node id {duplicate.detail}")
                return
            self._primary.end_session(other.link)
            state.outbox.close(other.link, "replaced by a newer link")
        settings = agreed(state.settings, hello.limits)
        session = BackupSession(
            link, hello.node, hello.boot, settings, hello.limits, version, self._primary.generation
        )
        session.turn.asked(now)
        self._primary.sessions[link] = session
        assert state.cluster is not None
        welcome = Welcome(
            version=version,
            cluster=state.cluster,
            node=state.node,
            boot=state.boot,
            limits=limits_of(state.settings) if version >= LIMITS_SINCE else None,
        )
        state.outbox.send(link, Frame(self._primary.generation, 0, welcome))

    def _check_hello(self, link: int, hello: Hello) -> int:
        """The protocol version to speak. Raises `HandshakeError` for another cluster (D7), name, version or limits."""
        state = self._state
        if hello.cluster is not None and hello.cluster != state.cluster:
            raise HandshakeError(
                f"the store of backup {hello.node!r} is of cluster {hello.cluster},"
                f" primary {state.node!r} is of cluster {state.cluster}"
            )
        names = state.identities.get(link)
        if names is not None and hello.node not in names:
            raise HandshakeError(
                f"the certificate of backup {hello.node!r} is for {', '.join(sorted(names)) or 'no name'}"
            )
        if hello.node == state.node:
            raise HandshakeError(f"backup and primary have the same node id, {hello.node!r}")
        if hello.wanted != state.node:
            raise HandshakeError(f"the backup wants node {hello.wanted!r}, this is {state.node!r}")
        version = negotiate(
            hello.version_min,
            hello.version_max,
            here=f"primary {state.node!r}",
            there=f"backup {hello.node!r}",
        )
        if hello.limits is not None:
            queues = state.queue_count
            check_backup(hello.node, hello.limits, state.node, state.settings, queues)
        return version

    # --- handlers of legal events: (session, the frame's session number, event, now) ---------------

    def _subscribe(
        self, session: BackupSession, sid: int, event: Subscribe | SubscribeGroups, now: float
    ) -> bool:
        if event.stored_generation > self._primary.generation:
            return self._fence_off(session, event.stored_generation, now)
        self._primary.begin_session(session, sid, event)
        session.resync.began = now
        return True

    def _subscribe_rest(self, session: BackupSession, _: int, event: SubscribeRest, now: float) -> bool:
        session.subscribe_rest(event)
        return True

    def _subscribe_queue(self, session: BackupSession, _: int, event: SubscribeQueue, now: float) -> bool:
        session.subscribe_queue(event)
        return True

    def _progress(self, session: BackupSession, _: int, event: Progress, now: float) -> bool:
        session.progress(event.chunks)
        return True

    def _acknowledged(self, session: BackupSession, _: int, event: Acknowledged, now: float) -> bool:
        return self._primary.backup_acknowledged(session, event.position)

    def _fenced(self, session: BackupSession, _: int, event: Fenced, now: float) -> bool:
        return self._fence_off(session, event.generation, now)

    def _refused(self, session: BackupSession, _: int, event: Refused, now: float) -> bool:
        """The backup refuses this primary. Its reason is reported to the operator of this node, too."""
        self._state.outbox.notify(RefusedByBackup(session.node, event.reason))
        self._primary.end_session(session.link)
        self._state.outbox.close(session.link, f"refused: {event.reason}")
        return True

    def _fence_off(self, session: BackupSession, generation: int, now: float) -> bool:
        """A peer claims a higher generation. Only the cluster manager can confirm that: read the record (C2, F6)."""
        state = self._state
        fenced = FencedByPeer(generation)
        state.outbox.notify(fenced)
        state.manager.ask(now)
        self._primary.end_session(session.link)
        state.outbox.close(session.link, fenced.line)
        return True

    # --- the end ---------------------------------------------------------------------------------

    def backup_link_closed(self, link: int) -> None:
        """The link of a backup closed: its session ends."""
        self._primary.end_session(link)

    def close_all(self, why: str) -> None:
        """Drop every session (K1)."""
        for link in list(self._primary.sessions):
            refuse(self._state, link, STEPPED_DOWN, why)
            self._primary.end_session(link)
