"""Whether this node stands for the place of the primary, or leaves it to others for now.

    handing over   it was asked to step down: until another primary is recorded, at most ``hand_over_timeout_s``
    unfit          its broker did not become primary: for ``unfit_delay_s``
    given up       it cannot do its work, because its disk hangs, or somebody said so: until that is over

Meanwhile its published score is withdrawn, so that others do not wait for it, and its promoter does not try. The first
two only hold while another live member stands for the place: a cluster of one node, or of nodes that all have the same
trouble, goes on trying. An operator's `Node.promote` ends them.

A primary whose loop runs keeps its session, and so its place, whatever else of it hangs. So it gives up what keeps others
away (L1):

    the session    others take it for gone, and promote one of themselves
    the record     as primary it asks for a hand-over, which needs no disk, and steps down when that is granted

A primary that is the only member waits: nobody could take over.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from qpidha.errors import HandOverRefused, PromotionRefused
from qpidha.node.within import Limit
from qpidha.types import Generation, NodeId

if TYPE_CHECKING:
    from qpidha.node.node import Node

CAUSE = "place given up"


class Place:
    """The claim of one node."""

    def __init__(self, node: Node) -> None:
        self._node = node
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
        """Why somebody said that this primary cannot serve, until its role ends."""

    # --- asked -----------------------------------------------------------------------------------

    @property
    def successors(self) -> list[NodeId]:
        """The other live members that stand for the place, as far as this node sees."""
        node = self._node
        record = node.replica.record
        if record is None:
            return []
        others = (m.node for m in record.members if m.node != node.id)
        return sorted(n for n in others if (info := node.cluster.info_of(n)) and info.score is not None)

    @property
    def why_not(self) -> str | None:
        """Why this node leaves the place to others now; None: it does not."""
        if self.given_up:
            return self.given_up
        if self.disk_hangs and self._node.replica.primary is None:
            return "its disk has not answered for a while"
        if stuck := self._node._embedder.stuck:
            return f"the broker's {stuck[0]} goes on, although it was cancelled"
        if self._handing_over is not None and self.successors:
            return "it was asked to hand over"
        if self._node.now() < self._unfit_until and self.successors:
            return self._unfit_why
        return None

    @property
    def stands(self) -> bool:
        """This node may be promoted by its promoter."""
        return self.why_not is None

    # --- told ------------------------------------------------------------------------------------

    def hand_over(self) -> None:
        """Step down, and leave the place to others for a while. Raises `LocalProtocolError` if not primary."""
        replica = self._node.replica
        replica.demote()
        self._handing_over, self._empty_since = replica.generation, None
        self._publish()
        self._node.poke()

    def unfit(self, why: str) -> None:
        """The broker cannot serve as primary: let another node try, and do not try again for a while."""
        self._node.log("unfit", why)
        self._unfit_why = why
        self._unfit_until = self._node.now() + self._node.settings.unfit_delay_s
        self._make_room()
        self._publish()

    def give_up(self, why: str) -> None:
        """As primary, let another member take over as soon as there is one. May be called again.

        The session is given up until this node is not primary any more.
        """
        self._told = why
        self.tick(self._node.now())

    async def await_successor(self, timeout_s: float) -> None:
        """Until there is somebody who can take over from this primary, so that a hand-over changes something.

        Raises:
            HandOverRefused: There is nobody, or nobody is in sync in time.
        """
        node = self._node
        limit = Limit(node.now, timeout_s)
        while node.replica.primary is not None and node.cluster.promotes_itself and not self.successors:
            if len(node.live) <= 1:
                raise HandOverRefused(f"no other node is live: {node.id!r} would be promoted again at once")
            if limit.is_over:
                raise HandOverRefused(
                    f"no other live node has become an eligible member within {timeout_s:g} s:"
                    f" {node.id!r} would be promoted again at once"
                )
            await asyncio.sleep(0.02)

    def claim(self) -> None:
        """The operator wants this node, whatever it was asked or failed to do before.

        Raises:
            PromotionRefused: It could not do the work.
        """
        if self.given_up:
            raise PromotionRefused(f"node {self._node.id!r} has given its place up: {self.given_up}")
        self._unfit_until = 0.0
        self._handing_over = None
        self._publish()

    # --- time ------------------------------------------------------------------------------------

    def tick(self, now: float) -> None:
        """With every heartbeat, and whenever the record or the live nodes have changed."""
        if self._node.stopped:
            return
        self._give_up_or_come_back()
        overdue_s = self._node._embedder.overdue_s
        if overdue_s is not None and now >= self._unfit_until:
            self.unfit(f"the broker has not opened {overdue_s:.1f} s after the promotion")
        if now < self._unfit_until:
            self._make_room()
        if self._handing_over is not None:
            self._look_for_another(self._handing_over, now)
        self._publish()

    def paused(self, for_s: float) -> None:
        """This process was paused. Its own disk was too, maybe: after a long pause that has a fresh time-out.

        After a short one it has not: a loop that stutters must not hide a disk that hangs.
        """
        if for_s > self._node.settings.commit_timeout_s / 2:
            self._fresh_at = self._node.now()

    @property
    def disk_hangs(self) -> bool:
        """The disk has not answered for a while: whatever this node would say next waits for it."""
        return (self._node.engine.busy_s or 0.0) > self._node.settings.heartbeat_timeout_s

    def _give_up_or_come_back(self) -> None:
        node = self._node
        if node.replica.primary is None:
            self._told = ""
        busy_s, awake_s = node.engine.busy_s, node.now() - self._fresh_at
        if busy_s is not None and min(busy_s, awake_s) > node.settings.commit_timeout_s:
            why = "its disk does not answer: a transaction is under way for longer than commit_timeout_s"
        else:
            why = self._told
        if node.replica.primary is not None and len(node.replica.primary.membership.members) < 2:
            why = ""
        if why:
            node.troubles.report(CAUSE, why)
            self.given_up = why
            node.cluster.presence.leave()
            if node.replica.primary is not None:
                node.replica.demote()
                node.engine.bypass()
        elif self.given_up:
            self.given_up = ""
            node.troubles.clear(CAUSE)
            node.cluster.presence.come_back()

    def _look_for_another(self, generation: Generation, now: float) -> None:
        replica, record = self._node.replica, self._node.replica.record
        if replica.primary is not None and replica.primary.generation == generation:
            return  # It is still to be recorded.
        taken = record is not None and record.generation > generation and record.primary is not None
        self._empty_since = now if self._empty_since is None else self._empty_since
        if taken or now - self._empty_since > self._node.settings.hand_over_timeout_s:
            self._handing_over = None

    def _make_room(self) -> None:
        """Step down as soon as there is somebody to take over."""
        replica = self._node.replica
        if replica.primary is not None and self.successors:
            replica.demote()
            self._node.poke()

    def _publish(self) -> None:
        self._node.cluster.presence.stand(self.stands)
