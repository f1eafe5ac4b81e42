"""What a node says of itself in one word or number each: its name, its role, who is primary."""

from __future__ import annotations

from qpidha.node.parts import Parts
from qpidha.node.runtime import Runtime
from qpidha.settings import Settings
from qpidha.types import Address, Generation, NodeId, Role


class Facts:
    """Base of `Node` and `SyncNode`. Properties may be read from any thread, also before the start and after the stop.

    Each is true for itself. Two that are read one after the other may be from before and after a change.
    """

    _runtime: Runtime
    _parts: Parts

    @property
    def id(self) -> NodeId:
        """The name of the node."""
        return self._runtime.id

    @property
    def settings(self) -> Settings:
        """The settings it was made with."""
        return self._runtime.settings

    @property
    def role(self) -> Role:
        """`Role.STOPPED` before the start has succeeded, and from the beginning of the stop on."""
        return self._runtime.role

    @property
    def serving(self) -> bool:
        """This node is primary and takes publishes: ``on_promote`` was called, and has not failed."""
        return self._runtime.serving

    @property
    def generation(self) -> Generation:
        """The highest generation seen; 0 before the start."""
        return self._runtime.replica.generation

    @property
    def primary(self) -> NodeId | None:
        """The primary, as far as this node knows; None before the start and from the beginning of the stop on."""
        return self._runtime.primary

    @property
    def primary_client_address(self) -> Address | None:
        """Where clients connect to the primary; None if this node knows of no primary that serves."""
        return self._runtime.primary_client_address

    @property
    def client_address(self) -> Address | None:
        """Where clients connect to this node, as given to the constructor."""
        return self._runtime.client_address

    @property
    def address(self) -> Address | None:
        """Where other nodes connect to this one, in the first place; None before it listens."""
        return next(iter(self._parts.links.addresses), None)

    @property
    def live(self) -> list[NodeId]:
        """The nodes with a session, sorted, as last seen; none unless the node is running."""
        return self._parts.live

    @property
    def stopped(self) -> str | None:
        """Why this node has stopped, or is about to; None while it does not."""
        return self._runtime.stop_reason
