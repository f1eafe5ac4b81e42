"""The backup's side of its one link: check that the peer is the primary, then replicate (C1, C2)."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from contextlib import suppress

from qpidha.core.backup.applying import Flow
from qpidha.core.backup.session import FollowerSession
from qpidha.core.discards import Discards
from qpidha.core.groups import session_key
from qpidha.core.legality import FollowerState, Outcome, Scope, violation
from qpidha.core.limits import agreed, check_primary, limits_of
from qpidha.core.state import NodeState
from qpidha.errors import HandshakeError, RemoteProtocolError, StoreError
from qpidha.events import RefusedByPrimary, StalePrimaryFenced, UnrecordedPrimary
from qpidha.types import NodeId, Record, Role
from qpidha.wire.events import (
    Established,
    Event,
    Fenced,
    Frame,
    Hello,
    Operations,
    PlanDrop,
    PlanEnd,
    PlanMessages,
    PlanQueue,
    PlanWithdraw,
    Refused,
    Resubscribe,
    Welcome,
)
from qpidha.wire.groups import GroupsDiffer
from qpidha.wire.version import PROTOCOL_MAX, PROTOCOL_MIN, negotiate

Handler = Callable[[Frame, Event, float], None]


class Follower:
    """At most one link, opened by us, to the node that the record names as primary."""

    def __init__(self, state: NodeState, discards: Discards) -> None:
        self._state = state
        self._discards = discards
        self._sid = 0
        self._wanted: NodeId | None = None
        self.flow = Flow()
        self.link: int | None = None
        self.session: FollowerSession | None = None
        self._held_back: deque[tuple[Frame, float]] = deque()
        """Frames that came after the plan and wait for the end of the flip: at most the primary's window (C7)."""

    @property
    def role(self) -> Role:
        """The role that the session with the primary gives this node: joining, catching up or ready."""
        if self.session is None or self.session.state is FollowerState.HELLO:
            return Role.JOINING
        return Role.READY if self.session.state is FollowerState.FOLLOWING else Role.CATCH_UP

    @property
    def established(self) -> bool:
        """The history that is followed now is established (W2)."""
        return self.session is not None and self.session.established

    def link_opened(self, link: int, to: NodeId) -> None:
        """A new link replaces the old one, and its session, at once (C1)."""
        state = self._state
        self.leave()
        self.link = link
        self._wanted = to
        hello = Hello(
            version_min=PROTOCOL_MIN,
            version_max=PROTOCOL_MAX,
            cluster=state.cluster,
            node=state.node,
            boot=state.boot,
            wanted=to,
            limits=limits_of(state.settings),
        )
        state.outbox.send(link, Frame(state.generation, 0, hello))

    def look_at(self, record: Record) -> None:
        """Leave a primary that the record no longer names, without waiting for it to step down: it may be paused."""
        named = record.primary[0] if record.primary else None
        outdated = self.session is not None and self.session.generation < record.generation
        if self.link is not None and (outdated or (named != self._wanted)):
            self.leave()

    def leave(self, why: str = "leaving") -> None:
        """Close the session: staged messages are forgotten, and frames that were not handled yet are ignored (P3)."""
        if self.link is not None:
            self._state.outbox.close(self.link, why)
            self._over()

    def primary_link_closed(self, link: int) -> None:
        """The link to the primary closed: the session over it ends."""
        if link == self.link:
            self._over()

    def _over(self) -> None:
        """End the session. A flip that has begun is completed first, because its whole plan has arrived (C5)."""
        session, self.link, self.session = self.session, None, None
        self._held_back.clear()
        if session is not None and session.state is FollowerState.FLIPPING:
            # A plan that contradicts itself has changed nothing. A store that fails ends the node: `Replica.unreadable`.
            with suppress(RemoteProtocolError, StoreError):
                session.finish()
                self._follows(session)
        if session is not None:
            session.end()

    @property
    def unfinished(self) -> bool:
        """Work is left that can go on with the next slice, without any input."""
        return self.session is not None and self.session.unfinished

    @property
    def flipping(self) -> bool:
        """A plan is being applied (`FollowerSession.flipping`)."""
        return self.session is not None and self.session.flipping

    @property
    def calm(self) -> bool:
        """It follows a primary, and only operations and their acknowledgements are due."""
        session = self.session
        return session is not None and session.state is FollowerState.FOLLOWING and not session.unfinished

    @property
    def staged(self) -> int:
        """How much of a plan is staged or being applied (`FollowerSession.staged`); 0: none."""
        return 0 if self.session is None else self.session.staged

    def advance(self) -> None:
        """Do one slice of the work on all queues. After the last slice of a flip, handle the frames that waited for it.

        Raises:
            RemoteProtocolError: The plan, or what followed it, is not legal.
        """
        session = self.session
        assert session is not None  # Without a session nothing is `unfinished`.
        flipping = session.state is FollowerState.FLIPPING
        session.advance()
        if flipping and session.state is FollowerState.FOLLOWING:
            self._follows(session)
            while self._held_back and self.session is session:
                self.frame_from_primary(*self._held_back.popleft())

    def frame_from_primary(self, frame: Frame, now: float) -> None:
        """One frame from the primary. Raises `RemoteProtocolError` on what is not legal now."""
        event, session = frame.event, self.session
        state = FollowerState.HELLO if session is None else session.state
        rule = state.rules[type(event)]
        if rule.scope is not Scope.LINK:
            if frame.generation < self._state.generation:
                self._fence(frame)
                return
            if session is not None:
                if frame.generation != session.generation:
                    raise RemoteProtocolError(
                        f"frame of generation {frame.generation}, not {session.generation}"
                    )
                if rule.scope is Scope.SESSION and frame.session != session.sid:
                    return  # A frame of an earlier session is ignored (C3).
        if rule.outcome is Outcome.ERROR:
            raise violation(state, event, rule)
        handle: Handler = getattr(self, rule.handler)
        handle(frame, event, now)

    # --- handlers of legal events: (frame, event, now) -----------------------------------------------

    def _refused(self, _: Frame, event: Refused, now: float) -> None:
        self._state.outbox.notify(RefusedByPrimary(event.reason))
        self._state.manager.ask(now)
        self.leave(f"refused: {event.reason}")

    def _hold_back(self, frame: Frame, _: Event, now: float) -> None:
        """Keep a frame that came after the plan until the flip is done."""
        self._held_back.append((frame, now))

    def _groups_differ(self, _: Frame, event: GroupsDiffer, now: float) -> None:
        self._subscribed.groups_differ(event)

    def _plan_messages(self, _: Frame, event: PlanMessages, now: float) -> None:
        self._subscribed.plan_messages(event)

    def _plan_queue(self, _: Frame, event: PlanQueue, now: float) -> None:
        self._subscribed.plan_queue(event)

    def _plan_drop(self, _: Frame, event: PlanDrop, now: float) -> None:
        self._subscribed.plan_drop(event)

    def _plan_withdraw(self, _: Frame, event: PlanWithdraw, now: float) -> None:
        self._subscribed.plan_withdraw(event)

    def _plan_end(self, _: Frame, event: PlanEnd, now: float) -> None:
        session = self._subscribed
        session.plan_end(event)
        if session.state is FollowerState.FOLLOWING:
            self._follows(session)

    def _operations(self, _: Frame, event: Operations, now: float) -> None:
        self._subscribed.apply(event)

    def _established(self, _: Frame, event: Established, now: float) -> None:
        self._subscribed.established = True
        self._discards.hand_over()

    def _resubscribe(self, _: Frame, event: Resubscribe, now: float) -> None:
        self._subscribe()

    @property
    def _subscribed(self) -> FollowerSession:
        assert self.session is not None
        return self.session

    def _follows(self, session: FollowerSession) -> None:
        """The flip is done: this node belongs to the primary's cluster and generation."""
        self._state.begin_generation(session.generation, session.cluster)

    def _fence(self, frame: Frame) -> None:
        """The peer is a primary of an older generation: tell it so, and leave it (C2, T06)."""
        state = self._state
        assert self.link is not None
        state.outbox.send(self.link, Frame(state.generation, 0, Fenced(generation=state.generation)))
        stale = StalePrimaryFenced(frame.generation, seen=state.generation)
        state.outbox.notify(stale)
        self.leave(f"a stale primary: {stale.detail}")

    def _welcome(self, frame: Frame, event: Welcome, now: float) -> None:
        """Obey only the primary that the record names, in its generation (F6), and of this store's cluster (D7)."""
        state = self._state
        record, generation = state.record, frame.generation
        negotiate(event.version, event.version)
        if event.node != self._wanted:
            raise HandshakeError(f"this is {event.node!r}, not {self._wanted!r}")
        if record is None or record.generation != generation or record.primary != (event.node, event.boot):
            found = UnrecordedPrimary(event.node, generation)
            state.outbox.notify(found)
            state.manager.ask(now)
            self.leave(found.line)
            return
        if event.cluster != record.cluster or state.cluster not in (None, event.cluster):
            raise HandshakeError(f"the primary is of cluster {event.cluster}, this store of {state.cluster}")
        if event.limits is not None:
            check_primary(event.node, event.limits, state.node, state.queue_count)
        assert self.link is not None
        self.session = FollowerSession(
            link=self.link,
            node=state.node,
            primary=event.node,
            generation=generation,
            cluster=event.cluster,
            queues=state.queues,
            local=state.local,
            quarantined=state.quarantined,
            outbox=state.outbox,
            settings=agreed(state.settings, event.limits),
            flow=self.flow,
            version=event.version,
        )
        self._subscribe()

    def _subscribe(self) -> None:
        assert self.session is not None
        self._sid += 1
        state = self._state
        key = session_key(state.secret, state.boot, self._sid)
        self.session.subscribe(self._sid, state.epoch, state.generation, key)
