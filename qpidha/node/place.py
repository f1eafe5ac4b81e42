"""Whether this node is a candidate for primary, or leaves the role to others for now.

    handing over   it was asked to step down: until another primary is recorded, at most ``hand_over_timeout_s``
    unfit          its broker did not become primary: for ``unfit_delay_s``
    given up       it cannot do its work, because its disk hangs or its broker says so: until that is over

Meanwhile its published score is withdrawn, so that others do not wait for it, and its promoter does not try. The first
two apply only while another live member is a candidate: a single node, or nodes that all have the same
trouble, continue to try. An operator's `Node.promote` ends them.

A primary whose loop runs would keep its session, and so its role, even if its disk or broker hangs. So it gives up what
prevents others from taking over (L1):

    the session    others consider it gone, and promote one of themselves
    the record     as primary it asks for a hand-over, which needs no disk, and steps down when that is granted

A primary that is the only member waits: no other node could take over.
"""

from __future__ import annotations

import asyncio

from qpidha.errors import HandOverRefused, PromotionRefused
from qpidha.events import BrokerUnfit, PlaceGivenUp
from qpidha.node.engine import Engine
from qpidha.node.notifier import BrokerNotifier
from qpidha.node.presence import Presence
from qpidha.node.runtime import Runtime
from qpidha.system.within import Limit
from qpidha.types import Generation, NodeId


class Place:
    """Whether one node is a candidate for primary, and why not.

    Args:
        promotes_itself: This node's promoter acts by itself, not only when an operator asks it to.
    """

    def __init__(
        self,
        runtime: Runtime,
        *,
        engine: Engine,
        notifier: BrokerNotifier,
        presence: Presence,
        promotes_itself: bool,
    ) -> None:
        self._runtime = runtime
        self._engine = engine
        self._notifier = notifier
        self._presence = presence
        self._promotes_itself = promotes_itself
        self._unfit_until = 0.0
        self._unfit_why = ""
        self._handing_over: Generation | None = None
        """The generation that it was asked to end; None: it was not, or it is over."""
        self._empty_since: float | None = None
        self.given_up = ""
        """Why this node holds no session; empty while it does."""
        self._fresh_at = 0.0
        """When this process went on after its last pause."""
        self._told = ""
        """Why the broker said that this primary cannot serve, until its role ends."""

    # --- asked -----------------------------------------------------------------------------------

    @property
    def successors(self) -> list[NodeId]:
        """The other live members that stand for the place, as far as this node sees."""
        runtime = self._runtime
        record = runtime.replica.record
        if record is None:
            return []
        others = (m.node for m in record.members if m.node != runtime.id)
        return sorted(n for n in others if (info := runtime.live.info_of(n)) and info.score is not None)

    @property
    def why_not(self) -> str | None:
        """Why this node leaves the place to others now; None: it does not."""
        if self.given_up:
            return self.given_up
        if self._engine.disk_hangs and self._runtime.replica.primary is None:
            return "its disk has not answered for a while"
        if stuck := self._notifier.stuck:
            return f"the broker's {stuck[0]} goes on, although it was cancelled"
        if self._handing_over is not None and self.successors:
            return "it was asked to hand over"
        if self._runtime.now() < self._unfit_until and self.successors:
            return self._unfit_why
        return None

    @property
    def stands(self) -> bool:
        """This node may be promoted by its promoter."""
        return self.why_not is None

    # --- told ------------------------------------------------------------------------------------

    def hand_over(self) -> None:
        """Step down, and leave the place to others for a while. Raises `LocalProtocolError` if not primary."""
        replica = self._runtime.replica
        replica.demote()
        self._handing_over, self._empty_since = replica.generation, None
        self._publish()
        self._runtime.poke()

    def unfit(self, why: str) -> None:
        """The broker cannot serve as primary: let another node try, and do not try again for a while."""
        self._runtime.tell(BrokerUnfit(why))
        self._unfit_why = why
        self._unfit_until = self._runtime.now() + self._runtime.settings.unfit_delay_s
        self._make_room()
        self._publish()

    def give_up(self, why: str) -> None:
        """As primary, let another member take over as soon as there is one. May be called again.

        The session is given up until this node is not primary any more.
        """
        self._told = why
        self.tick(self._runtime.now())

    async def await_successor(self, timeout_s: float) -> None:
        """Wait until another node can take over from this primary, so that a hand-over changes something.

        Raises:
            HandOverRefused: There is no other node, or none is in sync in time.
        """
        runtime = self._runtime
        limit = Limit(runtime.now, timeout_s)
        while runtime.replica.primary is not None and self._promotes_itself and not self.successors:
            if len(runtime.live.names) <= 1:
                raise HandOverRefused(
                    f"no other node is live: {runtime.id!r} would be promoted again at once"
                )
            if limit.is_over:
                raise HandOverRefused(
                    f"no other live node has become an eligible member within {timeout_s:g} s:"
                    f" {runtime.id!r} would be promoted again at once"
                )
            await asyncio.sleep(0.02)

    def claim(self) -> None:
        """An operator promotes this node: end its hand-over and its time as unfit.

        Raises:
            PromotionRefused: It could not do the work.
        """
        if self.given_up:
            raise PromotionRefused(f"node {self._runtime.id!r} has given its place up: {self.given_up}")
        self._unfit_until = 0.0
        self._handing_over = None
        self._publish()

    # --- time ------------------------------------------------------------------------------------

    def tick(self, now: float) -> None:
        """With every heartbeat, and whenever the record or the live nodes have changed."""
        if self._runtime.stop_reason:
            return
        self._give_up_or_come_back()
        overdue_s = self._notifier.overdue_s
        if overdue_s is not None and now >= self._unfit_until:
            self.unfit(f"the broker has not opened {overdue_s:.1f} s after the promotion")
        if now < self._unfit_until:
            self._make_room()
        if self._handing_over is not None:
            self._look_for_another(self._handing_over, now)
        self._publish()

    def paused(self, for_s: float) -> None:
        """This process was paused. After a long pause the disk, which may have paused too, gets its full time-out again.

        After a short pause it does not: many short pauses of the loop must not hide a disk that hangs.
        """
        if for_s > self._runtime.settings.commit_timeout_s / 2:
            self._fresh_at = self._runtime.now()

    def _give_up_or_come_back(self) -> None:
        runtime = self._runtime
        if runtime.replica.primary is None:
            self._told = ""
        busy_s, awake_s = self._engine.busy_s, runtime.now() - self._fresh_at
        if busy_s is not None and min(busy_s, awake_s) > runtime.settings.commit_timeout_s:
            why = "its disk does not answer: a transaction is under way for longer than commit_timeout_s"
        else:
            why = self._told
        if runtime.replica.primary is not None and len(runtime.replica.primary.membership.members) < 2:
            why = ""
        if why:
            runtime.troubles.report(PlaceGivenUp(why))
            self.given_up = why
            self._presence.leave()
            if runtime.replica.primary is not None:
                runtime.replica.demote()
                self._engine.bypass()
        elif self.given_up:
            self.given_up = ""
            runtime.troubles.clear(PlaceGivenUp)
            self._presence.come_back()

    def _look_for_another(self, generation: Generation, now: float) -> None:
        replica, record = self._runtime.replica, self._runtime.replica.record
        if replica.primary is not None and replica.primary.generation == generation:
            return  # It is still to be recorded.
        taken = record is not None and record.generation > generation and record.primary is not None
        self._empty_since = now if self._empty_since is None else self._empty_since
        if taken or now - self._empty_since > self._runtime.settings.hand_over_timeout_s:
            self._handing_over = None

    def _make_room(self) -> None:
        """Step down as soon as another node can take over."""
        replica = self._runtime.replica
        if replica.primary is not None and self.successors:
            replica.demote()
            self._runtime.poke()

    def _publish(self) -> None:
        self._presence.stand(self.stands)
