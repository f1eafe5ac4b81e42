"""The state that the parts of one node share: its identity, its core, its clock, its role.

`Runtime` is the bottom of this package. Every part gets it, and otherwise only the parts that it uses; none knows the
public `Node`. Who writes which field:

    replica                             `Starter`, once the store is open
    thread, loop                        `Starter`, and a forked child
    serving_generation, settled, …      `NodeEffects`, when the core tells of a role
    broker_generation                   `BrokerNotifier`
    running, stop_reason, store_error   `Life`
    live                                `Cluster`
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Iterable
from threading import get_ident
from typing import Protocol, TypeAlias
from uuid import UUID, uuid4

from qpidha.core.refusals import not_primary_text
from qpidha.core.replica import Replica
from qpidha.errors import NotPrimary
from qpidha.events import NodeEvent
from qpidha.journal import StoreImage, StoreStatus
from qpidha.node.callbacks import call
from qpidha.node.caller import FORKED, wrong_thread
from qpidha.node.freezing import Freezing
from qpidha.node.home import Home
from qpidha.node.ledger import Ledger, Outcome
from qpidha.node.live import LiveNodes
from qpidha.node.op import Op
from qpidha.node.opdeadlines import OpDeadlines
from qpidha.node.stalls import Stalls
from qpidha.node.troubles import Troubles
from qpidha.node.waits import Waits
from qpidha.settings import Settings
from qpidha.system import forks
from qpidha.types import Address, Generation, NodeId, Position, Role

logger = logging.getLogger("qpidha")

OnEvent: TypeAlias = Callable[[NodeEvent], None]
"""Called in the event loop of the node with each event. What it raises is logged."""


class Flushable(Protocol):
    """Something that collects publishes during a turn of the event loop."""

    def flush(self) -> None:
        """Publish what was collected."""

    def end_of_turn(self) -> None:
        """Called once for each `Runtime.flush_later`."""


class CoreDriver(Protocol):
    """What takes the effects of the core: the `Engine`."""

    def poke(self) -> None:
        """Take effects of the core at the end of this turn."""

    def act(self) -> None:
        """Take effects of the core now, unless `poke` was called in this turn."""

    def flush_later(self, queue: Flushable) -> None:
        """Call ``end_of_turn`` of a queue at the end of this turn."""

    def broken(self, error: BaseException) -> None:
        """Stop because of a bug."""


class Runtime:
    """The shared state of one node. It belongs to the thread of the event loop in which the node was started."""

    def __init__(
        self, id: NodeId, settings: Settings, client_address: Address | None, on_event: OnEvent | None = None
    ) -> None:
        self.id = id
        self._on_event = on_event
        self.settings = settings
        self.client_address = client_address
        self.boot: UUID = uuid4()
        """Of this process: a node that is started again has another one (P2)."""
        self.replica = Replica(
            node=id, boot=self.boot, image=StoreImage(StoreStatus(node=id, epoch=UUID(int=0)))
        )
        """The protocol. Empty and stopped until the store is open."""
        self.replica.stop()
        self.thread = 0
        """Of the event loop that this node belongs to; 0: it was not started; `FORKED`: it belongs to the parent."""
        self.loop: asyncio.AbstractEventLoop | None = None
        """The event loop; None: the node was not started."""
        self.running = False
        """The start has succeeded and the stop has not begun."""
        self.stop_reason: str | None = None
        """Why this node stops or has stopped; None while it does not."""
        self.store_error: BaseException | None = None
        self.serving_generation: Generation = 0
        """The generation in which this node takes publishes; 0 while it is not primary."""
        self.broker_generation: Generation = 0
        """The generation for which ``on_promote`` was called and has not failed; 0 otherwise."""
        self.home = Home()
        """The same thread, for the ledgers of this node."""
        self.settled = Ledger(0)
        """Completes accepts, moves and barriers of this term: by position."""
        self.immediate = Ledger(0)
        """Completes accepts that are safe at once (`Settle.IMMEDIATE`)."""
        self.stored = Ledger(0)
        """Completes what this primary does alone, with messages that are not replicated: by number (LV5)."""
        self.op_deadlines = OpDeadlines(settings.op_timeout_s)
        """The deadlines of waits for ops."""
        self.live = LiveNodes()
        self.freezing = Freezing(enabled=settings.gc_policy == "freeze")
        self.troubles = Troubles(
            self._write_line,
            self._call_back,
            self.now,
            reminder_s=settings.log_reminder_s,
            fade_s=max(settings.log_reminder_s, 3 * settings.reconnect_interval_max_s),
        )
        self.stalls = Stalls(self.tell, self.now)
        self.waits = Waits(self.now)
        self.clock: Callable[[], float] = time.monotonic
        """What `now` returns, in fewer steps, for what is asked with every message: not to be kept before the start."""

    def connect(self, engine: CoreDriver) -> None:
        """Have the parts reach this engine by `poke`, `act`, `flush_later` and `broken`. Called once, when it is made."""
        self.poke = engine.poke
        """Take effects of the core at the end of this turn, once for everything that went into it."""
        self.act = engine.act
        """Take effects of the core now, unless that is to be done at the end of this turn anyway."""
        self.flush_later = engine.flush_later
        """Call ``end_of_turn`` of a queue at the end of this turn."""
        self.broken = engine.broken
        """Stop serving because of a bug, ours or an adapter's, so that another node takes over."""

    def enter_loop(self) -> None:
        """Belong to the running event loop from now on, and use its clock."""
        self.thread = get_ident()
        self.home.enter(self.thread)
        forks.watch(self)
        self.loop = asyncio.get_running_loop()
        plain = type(self.loop).time is asyncio.BaseEventLoop.time
        self.clock = time.monotonic if plain else self.loop.time

    def forked(self) -> Iterable[int]:
        """In a child: this node lives in the parent. Calls here raise `ForkedError`."""
        self.thread, self.running, self.serving_generation = FORKED, False, 0
        return ()

    def now(self) -> float:
        """Monotonic seconds: the clock of the event loop."""
        return self.clock()

    def require_thread(self, what: str) -> None:
        """Raise `CallerError` unless called in the node's event loop."""
        if get_ident() != self.thread:
            raise wrong_thread(what, self.thread)

    def tell(self, event: NodeEvent, *, logged: bool = True) -> None:
        """Log something that happened and is over, and tell the embedder. What is still wrong: ``troubles.report``.

        False for ``logged``: the line of another event says the same.
        """
        self.troubles.event(event, logged=logged)

    def _call_back(self, event: NodeEvent) -> None:
        if self._on_event is not None:
            call(self._on_event, event)

    def _write_line(self, event: NodeEvent, line: str) -> None:
        """What reads the record finds the event on it: `qpidha.logs`."""
        logger.log(event.level, "node %s: %s", self.id, line, extra={"node": self.id, "event": event})

    def stored_op(self, position: Position, ids: range) -> Op:
        """An op of what this primary has just done alone: safe when it is on this node's disk, and ``position`` complete.

        If that position is not complete yet, its completion is in a later `Ready` than what was done, or in the same.
        """
        primary = self.replica.primary
        assert primary is not None
        outcome = Outcome()
        if position > primary.safe:
            outcome.nodes = frozenset({self.id})
            return Op(self.settled, position, ids, outcome)
        number = primary.local.stored
        return Op(self.stored, number, ids, self.stored.expect(number, outcome))

    # --- the role --------------------------------------------------------------------------------

    @property
    def role(self) -> Role:
        """`Role.STOPPED` unless the node is running."""
        return self.replica.role if self.running else Role.STOPPED

    def is_current(self, generation: Generation) -> bool:
        """This node is primary of this generation, now."""
        primary = self.replica.primary
        return primary is not None and primary.generation == generation

    @property
    def serving(self) -> bool:
        """This node is primary and takes publishes: ``on_promote`` was called, and has not failed."""
        generation = self.serving_generation
        return generation > 0 and self.is_current(generation) and self.broker_generation == generation

    @property
    def primary(self) -> NodeId | None:
        """The primary that the record names, as far as this node knows; None unless the node is running."""
        record = self.replica.record if self.running else None
        return record.primary[0] if record and record.primary else None

    @property
    def primary_client_address(self) -> Address | None:
        """Where clients of the primary connect; None if there is none that serves, as far as this node knows."""
        primary = self.primary
        if primary == self.id:
            return self.client_address if self.serving else None
        info = self.live.info_of(primary)
        return info.client if info else None

    def not_primary(self) -> NotPrimary:
        """The error for a call that only the primary can serve."""
        return NotPrimary(
            not_primary_text(self.id, self.role, self.primary),
            primary=self.primary,
            address=self.primary_client_address,
        )
