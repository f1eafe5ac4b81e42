"""The steps of starting one node, in order."""

from __future__ import annotations

from functools import partial
from secrets import token_bytes

from qpidha.addresses import Addresses, as_addresses
from qpidha.core.indexed import QueueTypes
from qpidha.core.replica import Replica
from qpidha.journal import StoreImage
from qpidha.node.control import Control
from qpidha.node.parts import Parts
from qpidha.node.slices import in_slices
from qpidha.recovery.validator import check_start
from qpidha.types import NodeInfo

SECRET_BYTES = 32


class Starter:
    """Starts the parts of one node. If a step fails, `Life` releases what the steps before it took."""

    def __init__(
        self,
        parts: Parts,
        control: Control | None,
        *,
        listen: Addresses,
        advertise: Addresses | None,
        score: int,
        queue_types: QueueTypes | None = None,
    ) -> None:
        self._parts = parts
        self._control = control
        self._listen = as_addresses(listen)
        self._advertise = None if advertise is None else as_addresses(advertise)
        self._score = score
        self._queue_types = queue_types

    async def start(self) -> None:
        """Open the store, check it, listen, tell the broker its role, answer operators, join the cluster.

        Raises:
            StoreError: The store may not serve.
            ClusterError: The cluster manager cannot be reached.
            AddressUnavailable: It cannot listen on an address. An OSError.
            OSError: The control socket cannot be made.
        """
        parts, runtime = self._parts, self._parts.runtime
        runtime.enter_loop()
        runtime.stalls.start()
        await self._load()
        bound = await parts.links.listen(self._listen)
        parts.notifier.start()
        if self._control:
            await self._control.start()
        first, *more = self._advertise or bound
        await parts.cluster.start(
            NodeInfo(
                peer=first,
                more=tuple(more),
                client=runtime.client_address,
                boot=runtime.boot,
                score=self._score,
            )
        )
        parts.heartbeat.start()

    async def _load(self) -> None:
        """Open the store, check it against the record, and begin with its content."""
        parts, runtime = self._parts, self._parts.runtime
        effects, freezing = parts.effects, runtime.freezing
        with freezing.loading():
            image = await parts.engine.open()
        parts.presence.succeed(parts.engine.lock_name)
        found = await parts.records.read()
        check_start(image.status, found.record if found else None, runtime.settings).require()
        with freezing.loading():
            replica = runtime.replica = await parts.engine.work(partial(self._replica_of, image))
            del image  # The core has what is in it: it must not be frozen with that.
            replica.record_seen(found, runtime.now())
            parts.engine.start(replica, effects, self._after_run)
            await in_slices(effects.load_all([*replica.queues.values(), *replica.local]))
        freezing.loaded()

    def _replica_of(self, image: StoreImage) -> Replica:
        runtime = self._parts.runtime
        return Replica(
            node=runtime.id,
            boot=runtime.boot,
            image=image,
            settings=runtime.settings,
            now=runtime.now(),
            types=self._queue_types,
            secret=token_bytes(SECRET_BYTES),
            read=self._parts.engine.read,
            read_staged=self._parts.engine.read_staged,
        )

    def _after_run(self) -> None:
        self._parts.effects.count_queues()
        self._parts.runtime.waits.look()
