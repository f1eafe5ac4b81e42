"""What a node can do while it runs, besides its content: waits, roles, status and its end. The base of `Node`."""

from __future__ import annotations

from qpidha.checks import SECONDS_OR_ZERO, instance_of, integer, optional
from qpidha.node.barrier import barrier
from qpidha.node.content import Content
from qpidha.node.facts import Facts
from qpidha.node.life import Life
from qpidha.node.roles import Roles
from qpidha.node.status import NodeStatus, status_of
from qpidha.node.waits import Reached
from qpidha.node.why import Explaining
from qpidha.types import Generation, Stopped

TEXT = instance_of(str, what="text")
QUEUES_MAX = optional(integer(0, 2**31 - 1))
TIMEOUT = optional(SECONDS_OR_ZERO)


class Participant(Content, Explaining, Facts):
    """Base of `Node`, which makes the parts and starts them."""

    _life: Life
    _roles: Roles

    # --- waiting ---------------------------------------------------------------------------------

    async def wait_stopped(self) -> Stopped:
        """Wait until the node has stopped, on request or by itself. Returns the reason, once everything is released.

        A node that stopped by itself, for example because its store failed, cannot be started again: end the process
        with an error, so that its supervisor starts it again.

        Raises:
            WrongThread: Called from another thread than the event loop's.
        """
        if self._runtime.thread:
            self._runtime.require_thread("Node.wait_stopped")
        return await self._life.wait()

    async def wait_serving(self, timeout_s: float | None = None) -> None:
        """Wait until this node serves: it is primary, and ``on_promote`` has returned.

        Args:
            timeout_s: Wait for at most this long; None: for ever. A pause of the process does not count.

        Raises:
            qpidha.errors.NodeStopped: The node stopped first, or had stopped.
            WaitTimeout: It did not serve within ``timeout_s``.
            LocalProtocolError: The node has not started.
        """
        await self._wait("serving", self._roles.is_open, timeout_s)

    async def wait_in_sync(self, timeout_s: float | None = None) -> None:
        """Wait until this node is a member of the record (`NodeStatus.in_sync`): it has every acknowledged message.

        Args, and errors: as for `wait_serving`.
        """
        await self._wait("in_sync", self._roles.is_in_sync, timeout_s)

    async def _wait(self, what: str, reached: Reached, timeout_s: float | None) -> None:
        self._runtime.require_thread(f"Node.wait_{what}")
        TIMEOUT("timeout_s", timeout_s)
        await self._roles.wait(what.replace("_", " "), reached, timeout_s)

    async def barrier(self) -> Generation:
        """Wait until everything enqueued, accepted, moved and declared so far in this term is safe.

        What was read before the call is true then: no other node was primary yet when it was called, and no failover
        takes back what was there. It is one small operation, which every member acknowledges, also if everything before
        is safe. Publishes of other tasks after the call are not waited for. O(queues used in this term). Returns the
        generation in which everything is safe.

        Raises:
            NotPrimary: This node does not serve.
            InDoubt: The term ended first; the outcome of each pending operation is not known.
            LocalProtocolError: The node has not started.
        """
        self._runtime.require_thread("Node.barrier")
        return await barrier(self._parts)

    # --- status ------------------------------------------------------------------------------------

    def status(self, *, queues_max: int | None = None) -> NodeStatus:
        """The state of this node, and of the cluster as this node sees it. Also before the start and after the stop.

        Args:
            queues_max: List at most this many queues; None: all. Each costs some microseconds.

        Raises:
            ArgumentError: Not a number of queues.
            WrongThread: Called from another thread than the event loop's.
        """
        if self._runtime.thread:
            self._runtime.require_thread("Node.status")
        QUEUES_MAX("queues_max", queues_max)
        return status_of(self._parts, queues_max)

    # --- roles -----------------------------------------------------------------------------------

    async def promote(self, *, timeout_s: float = 10.0) -> None:
        """Become primary, if the record allows it. Returns when the generation has begun and this node serves.

        Raises:
            PromotionRefused: A rule forbids it.
            ClusterError: The record could not be read, another node changed it first, or no answer came in time.
            LocalProtocolError: The node has not started, or is stopped, or the caller is one of the broker's methods.
            WrongThread: Called from another thread than the event loop's.
        """
        self._runtime.require_thread("Node.promote")
        SECONDS_OR_ZERO("timeout_s", timeout_s)
        await self._roles.promote(timeout_s=timeout_s)

    async def demote(self, *, timeout_s: float = 10.0) -> None:
        """Hand over: stop being primary, so that another live member is promoted. Pending operations are in doubt.

        If no other node is in sync yet, it waits for one first and serves meanwhile. Afterwards this node does not try to
        be primary before the record names another primary, or ``Settings.hand_over_timeout_s`` have passed.

        Raises:
            LocalProtocolError: This node is not primary, has not started, or is stopped.
            HandOverRefused: No other node can take over, and this node's promoter would promote it again.
            ClusterError: The cluster manager did not answer in time; this node is still primary.
            WrongThread: Called from another thread than the event loop's.
        """
        self._runtime.require_thread("Node.demote")
        SECONDS_OR_ZERO("timeout_s", timeout_s)
        await self._roles.demote(timeout_s=timeout_s)

    def give_place_away(self, why: str) -> None:
        """As primary, let another member take over: the broker has found that it cannot serve. Returns at once.

        Until another member can take over, this node stays primary; then it steps down. May be called again.

        Raises:
            ArgumentError: Not text.
            LocalProtocolError: The node has not started, or is stopped.
            WrongThread: Called from another thread than the event loop's.
        """
        self._runtime.require_thread("Node.give_place_away")
        TEXT("why", why)
        self._roles.give_place_away(why)

    # --- end ---------------------------------------------------------------------------------------

    async def stop(self) -> None:
        """Stop in order: pending operations are in doubt, the broker is demoted, the store is marked clean.

        Returns when everything is released (store, session, sockets, threads), at the latest after
        ``Settings.stop_timeout_s``. It may be called at any time: before, while or after the node starts, twice, and
        after the node stopped by itself. Called from one of the broker's methods, it returns at once, because the node
        stops only after that method. Cancelling the caller does not undo it. `wait_stopped` says what was not released.
        """
        if self._runtime.thread:
            self._runtime.require_thread("Node.stop")
        await self._life.stop()
