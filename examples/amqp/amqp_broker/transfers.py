"""Links to other brokers: objects of the configuration, which the primary opens, and its successor opens again.

A link pulls messages from a queue of another AMQP 1.0 broker into a queue of this one, or pushes them from here to there.
A message is accepted at its source when it is safe at its target. So a failover on either side loses none; one that was
on its way then comes twice.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, cast

from proton import Delivery, Event

from amqp_broker.engine import Engine
from amqp_broker.outgoing import content
from amqp_broker.publishing import Target, publish
from amqp_broker.refusals import INVALID, Refused
from qpidha import Level, Op, QpidhaError, SequenceSet
from qpidha.addresses import parse_address

if TYPE_CHECKING:
    from amqp_broker.term import Term

KIND = "link"
RETRY_S = 0.2
WINDOW = 500
IDLE_TIMEOUT_S = 10.0
log = logging.getLogger("amqp")


@dataclass(frozen=True)
class TransferDefinition:
    """The value of an object of the kind "link"."""

    address: str
    """Of the other broker: host:port, or several with commas between them; the first that answers is used."""
    source: str
    """The queue that messages come from: there, or here if they are pushed."""
    target: str
    """The queue or exchange that they go to."""
    direction: str = "pull"
    user: str = ""
    password: str = ""
    """For PLAIN; without a user ANONYMOUS."""

    def __post_init__(self) -> None:
        if self.direction not in ("pull", "push"):
            raise Refused(INVALID, "the direction of a link is pull or push")
        try:
            for each in self.addresses:
                parse_address(each)
        except QpidhaError as error:
            raise Refused(INVALID, str(error)) from error

    @property
    def addresses(self) -> list[str]:
        return self.address.split(",")

    def encode(self) -> bytes:
        return json.dumps(asdict(self)).encode()

    @classmethod
    def decode(cls, value: bytes) -> TransferDefinition:
        return cls(**json.loads(value))


class Transfers:
    """The open links of one term."""

    def __init__(self, term: Term) -> None:
        self._term = term
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._definitions: dict[str, TransferDefinition] = {}

    def begin(self) -> None:
        """Open all links of the configuration."""
        for _, name, value in self._term.node.configuration.objects(KIND):
            self._open(name, TransferDefinition.decode(value))

    @property
    def definitions(self) -> dict[str, TransferDefinition]:
        return self._definitions

    def create(self, name: str, definition: TransferDefinition, replicate: Level | None = None) -> Op:
        """Create a link, or change it."""
        if definition.direction == "push":
            self._term.queues.require(definition.source)
        else:
            Target(self._term, definition.target)
        op = self._term.node.configuration.put(KIND, name, definition.encode(), replicate=replicate)
        self._close(name)
        self._open(name, definition)
        return op

    def delete(self, name: str) -> Op:
        """Delete a link."""
        op = self._term.node.configuration.delete(KIND, name)
        self._close(name)
        return op

    def _open(self, name: str, definition: TransferDefinition) -> None:
        self._definitions[name] = definition
        self._tasks[name] = asyncio.get_running_loop().create_task(self._run(name, definition))

    def _close(self, name: str) -> None:
        self._definitions.pop(name, None)
        if (task := self._tasks.pop(name, None)) is not None:
            task.cancel()

    async def end(self) -> None:
        """Close all links: when this returns, none is open."""
        tasks, self._tasks = list(self._tasks.values()), {}
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)

    async def _run(self, name: str, definition: TransferDefinition) -> None:
        loop = asyncio.get_running_loop()
        while True:
            for each in definition.addresses:
                made = Push if definition.direction == "push" else Pull
                transfer = made(self._term, name, definition)
                try:
                    await loop.create_connection(lambda t=transfer: t, *parse_address(each))  # type: ignore[misc]
                    await transfer.over
                except (OSError, ValueError) as error:  # ValueError: no name that could be looked up.
                    log.debug("link %s to %s: %s", name, each, error)
                except (QpidhaError, Refused) as error:
                    log.warning("link %s to %s: %s", name, each, error)
                finally:
                    transfer.close()
            await asyncio.sleep(RETRY_S)


class Transfer(asyncio.Protocol):
    """One connection to the other broker, with one link."""

    def __init__(self, term: Term, name: str, definition: TransferDefinition) -> None:
        self._term = term
        self._name = name
        self._definition = definition
        self._out: asyncio.Transport | None = None
        self.over: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._engine = Engine(self._event, server=False, idle_timeout_s=IDLE_TIMEOUT_S)
        self._lost = False
        self._calls: list[Callable[[], None]] = []

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._out = cast(asyncio.Transport, transport)
        connection: Any = self._engine.connection
        connection.container = f"{self._term.node.id}.{self._name}"
        self._engine.authenticate(self._definition.user, self._definition.password)
        connection.open()
        session = connection.session()
        session.open()
        self._attach(session)
        self._engine.begin(self._out)

    def data_received(self, data: bytes) -> None:
        try:
            self._engine.received(data)
            calls, self._calls = self._calls, []
            for call in calls:
                call()
        except QpidhaError as error:
            log.info("link %s ends: %s", self._name, error)
            self.close()

    def connection_lost(self, error: Exception | None) -> None:
        self._lost = True
        self._engine.end()
        self._ended()
        if not self.over.done():
            self.over.set_result(None)

    def close(self) -> None:
        """End it, also before its connection is there."""
        if self._out is not None and not self._lost:
            self._out.abort()
            self._lost = True
            self._ended()

    def _event(self, event: Any) -> None:
        if self._lost:
            return
        if event.type is Event.DELIVERY:
            self._delivery(event.delivery)
        elif event.type is Event.LINK_FLOW:
            self._flow()
        elif event.type in (Event.LINK_REMOTE_CLOSE, Event.CONNECTION_REMOTE_CLOSE, Event.LINK_REMOTE_DETACH):
            condition = event.context.remote_condition
            log.warning("link %s was closed by the other broker: %s", self._name, condition)
            assert self._out is not None
            self._out.abort()

    def _attach(self, session: Any) -> None:
        raise NotImplementedError

    def _delivery(self, delivery: Delivery) -> None:
        raise NotImplementedError

    def _flow(self) -> None:
        """The other side has given credit."""

    def _ended(self) -> None:
        """The connection is lost."""


class Pull(Transfer):
    """Takes messages there, and accepts them when they are safe here."""

    def _attach(self, session: Any) -> None:
        self._link = session.receiver(f"{self._name}.pull")
        self._link.source.address = self._definition.source
        self._link.open()
        self._link.flow(WINDOW)
        self._target = Target(self._term, self._definition.target)
        self._parts: list[bytes] = []

    def _delivery(self, delivery: Delivery) -> None:
        if not delivery.readable:
            return
        self._parts.append(self._link.recv(delivery.pending) or b"")
        if delivery.partial:
            return
        data, self._parts = b"".join(self._parts), []
        self._link.advance()

        def safe() -> None:
            if not self._lost:
                delivery.update(Delivery.ACCEPTED)
                delivery.settle()
                self._link.flow(1)
                self._engine.flush_soon()

        try:
            publish(self._term, self._target, data, safe)
        except Refused as refused:
            log.warning("link %s: a message is given back: %s", self._name, refused)
            delivery.update(Delivery.MODIFIED)
            delivery.settle()
            asyncio.get_running_loop().call_later(RETRY_S, lambda: None if self._lost else self._link.flow(1))


class Push(Transfer):
    """Takes messages here, and dequeues them when the other broker has accepted them."""

    def _attach(self, session: Any) -> None:
        self._queue = self._term.queues.require(self._definition.source)
        self._link = session.sender(f"{self._name}.push")
        self._link.target.address = self._definition.target
        self._link.open()
        self._consumer = self._queue.delivery.consumer(on_available=self._flow)
        self._ids: dict[str, int] = {}
        self._tag = 0
        self._accepted = SequenceSet()

    def _flow(self) -> None:
        while not self._lost and self._link.credit > 0 and len(self._ids) < WINDOW:
            got = self._consumer.acquire(min(self._link.credit, WINDOW))
            if got is None:
                break
            ids, batch = got
            for n, id in enumerate(ids):
                self._tag += 1
                self._ids[str(self._tag)] = id
                self._link.delivery(str(self._tag))
                self._link.stream(content(batch.data(n), batch.props(n)))
                self._link.advance()
        if not self._lost:
            self._engine.flush_soon()

    def _delivery(self, delivery: Delivery) -> None:
        if not delivery.updated or (id := self._ids.pop(delivery.tag, None)) is None:
            return
        if delivery.remote_state == Delivery.ACCEPTED:
            if not self._accepted:
                self._calls.append(self._accept)
            self._accepted.add(id)
        elif delivery.remote_state == Delivery.REJECTED:
            _ = self._consumer.reject(SequenceSet([id]))
        else:
            self._consumer.release(SequenceSet([id]))
        delivery.settle()

    def _accept(self) -> None:
        accepted, self._accepted = self._accepted, SequenceSet()
        _ = self._consumer.accept(accepted)
        self._flow()

    def _ended(self) -> None:
        if hasattr(self, "_consumer"):
            self._consumer.close()
