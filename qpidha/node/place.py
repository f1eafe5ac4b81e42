"""Whether a node can do the work of its place, and what follows when it cannot (L1).

A node whose loop runs keeps its session, and so its place as primary, also when its disk or its broker does not answer.
Nobody would replace it. So after a limit it gives up what keeps others away:

    the session       others take it for gone, and promote one of themselves
    the record        as primary it asks for a hand-over, which needs no disk, and steps down when that is granted

It takes part again, as a backup, when what hung has answered. A primary that is the only member waits: nobody could
take over.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from qpidha.node.node import Node

CAUSE = "place given up"


class Place:
    """The place of one node in its cluster."""

    def __init__(self, node: Node) -> None:
        self._node = node
        self.given_up = ""
        """Why this node holds no session; empty while it does."""
        self._told = ""
        """Why somebody else said so, until the role ends."""

    def give_up(self, why: str) -> None:
        """As primary, let another member take over as soon as there is one. May be called again.

        The session is given up until this node is not primary any more.
        """
        self._told = why
        self.look()

    @property
    def is_fit(self) -> bool:
        """May be promoted: its disk answers, and it has not given its place up."""
        return not self.given_up and not self.disk_hangs

    @property
    def disk_hangs(self) -> bool:
        """The disk has not answered for a while: whatever this node would say next waits for it."""
        return (self._node.disk_busy_s or 0.0) > self._node.settings.heartbeat_timeout_s

    def look(self) -> None:
        """With every heartbeat: give the place up, or take it again."""
        node = self._node
        if node.replica.primary is None:
            self._told = ""
        why = self._hindrance()
        if why and node.replica.primary is not None and len(node.replica.primary.membership.members) < 2:
            why = ""
        if why:
            node.troubles.report(CAUSE, why)
            if not self.given_up:
                node.cluster.give_up_session()
            self.given_up = why
            self._hand_over()
        elif self.given_up:
            self.given_up = ""
            node.troubles.clear(CAUSE)
            node.cluster.take_session()

    def _hindrance(self) -> str:
        """What keeps this node from its work for longer than a limit; empty if nothing does."""
        node = self._node
        busy_s, promoting_s = node.disk_busy_s, node.promoting_for_s
        if busy_s is not None and busy_s > node.settings.commit_timeout_s:
            return "its disk does not answer: a transaction is under way for longer than commit_timeout_s"
        if promoting_s is not None and promoting_s > node.settings.promote_timeout_s:
            return "its broker does not take over: on_promote runs for longer than promote_timeout_s"
        return self._told

    def _hand_over(self) -> None:
        node = self._node
        if node.replica.primary is not None:
            node.replica.demote()
            node.bypass_disk()
