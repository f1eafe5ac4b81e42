#!/usr/bin/env python3
"""A small message broker, made highly available by embedding qpidha. Read it from top to bottom.

Start three of them, in three terminals, in any order, after ``qpidha init`` has written their cluster file:

    python examples/simple/broker.py --cluster qpidha.toml --node a
    python examples/simple/broker.py --cluster qpidha.toml --node b
    python examples/simple/broker.py --cluster qpidha.toml --node c

The library does the replication, the elections and the storing. What is left for a broker is what makes
it a broker: a port for clients (`protocol.py`), what a publish and an accept mean, and three methods that
the library calls: `Broker.on_promote`, `on_demote` and `on_discarded`.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import gc
import logging
import sys
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager

import protocol
from options import node_arguments, parse_arguments, web_files
from protocol import U16, U32, U64, Address, Framed, ProtocolError
from topology import Topology

from qpidha import Batch, Discarded, Node, Op, QpidhaError, Queue, Role, SequenceSet, Settle, logs
from qpidha.events import NodeEvent
from qpidha.queues import FifoQueue
from qpidha.service import run_node

QUEUE = "work"
DELIVER_MESSAGES_MAX = 1000
DELIVER_BYTES_MAX = 256 * 1024
KNOWN_S_MAX = 0.5
"""A client may wait so long at a broker that does not know the primary: the next one is probably being promoted."""
LOOK_S = 0.005
BACKLOG = 1024
"""Connections that may wait to be accepted. After a failover all clients connect at once; one that finds the list full
tries again a second later.
"""
SILENCE_MAX_S = 5.0
"""A client that is silent for this long, PING included, is dropped, and other consumers get its messages."""
UNREAD_BYTES_MAX = 2 * protocol.FRAME_BYTES_MAX
"""A client that has not read so much and asks for more is dropped: answers wait in memory."""

log = logging.getLogger("broker")


class Broker:
    """One queue and the clients that use it. The library calls the three methods that begin with ``on_``."""

    node: Node
    queue: Queue
    fifo: FifoQueue[Op]
    topology: Topology

    def __init__(self, window: int) -> None:
        self.window = window
        """A client with more unconfirmed messages than this is not read from."""
        self.serving = False
        self.clients: dict[Client, None] = {}
        """In the order in which they came; a set has another order in each process."""
        self.waiting: dict[Client, None] = {}
        """Clients that know neither that this is the primary nor where it is."""
        self._deliver_scheduled = False

    # --- what the library calls ------------------------------------------------------------------

    async def on_promote(self, generation: int) -> None:
        """This node is primary now. The queue holds every message that earlier primaries confirmed."""
        self.queue = self.node.declare(QUEUE, settle=Settle.REPLICATED)
        self.queue.on_safe_upto(self._confirm)
        self.fifo = FifoQueue(self.queue)
        self.fifo.on_available(self.deliver_soon)
        self.topology = Topology(self.node, without=QUEUE)
        self.serving = True
        for client in list(self.waiting):
            client.greet()
        log.info("primary of generation %d, %d messages", generation, self.queue.depth)

    async def on_demote(self, generation: int) -> None:
        """This node is not primary any more. Drop all clients: they look for the next primary."""
        self.serving = False
        for client in list(self.clients):
            client.transport.abort()
        log.info("not primary any more")

    async def on_discarded(self, messages: Sequence[Discarded]) -> None:
        """Messages that this node had stored and the cluster never confirmed.

        The publishers of this broker send unconfirmed messages again, so there is nothing to do here. A broker
        whose publishers do not do that would publish them again, or store them for an operator.
        """
        log.info("%d unconfirmed messages discarded", len(messages))

    # --- what clients cause ----------------------------------------------------------------------

    @property
    def primary(self) -> Address | None:
        """Where clients find the primary; None unless this node follows it: what was known before may be over."""
        return self.node.primary_client_address if self.node.role is Role.READY else None

    def _confirm(self, upto: int) -> None:
        """Confirm to publishers: every member has all messages up to this id."""
        for client in list(self.clients):
            client.confirm(upto)

    def deliver_soon(self) -> None:
        """Deliver at the end of this turn of the loop, once for all calls in it."""
        if self.serving and not self._deliver_scheduled:
            self._deliver_scheduled = True
            asyncio.get_running_loop().call_soon(self._deliver)

    def _deliver(self) -> None:
        """Deliver one batch to each consumer in turn, until the queue is empty or no consumer has credit."""
        self._deliver_scheduled = False
        hungry = [client for client in self.clients if client.hungry]
        while hungry and self.serving:
            hungry = [client for client in hungry if client.deliver() and client.hungry]


class Client(Framed):
    """One client's connection: a publisher, a consumer, or both. One method call per batch."""

    fifo: FifoQueue[Op]

    def __init__(self, broker: Broker) -> None:
        super().__init__()
        self.broker = broker
        self.unconfirmed: deque[tuple[int, int, int]] = deque()
        """(last id, sequence, messages) of publishes that are not safe yet, in order."""
        self.pending = 0
        self.credit = 0
        self.acquired = SequenceSet()
        """Delivered to this client and not accepted. They go back to the queue when its connection is lost."""
        self.heard = True

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self._greet_by = asyncio.get_running_loop().time() + KNOWN_S_MAX
        self.broker.waiting[self] = None
        self.greet()

    def greet(self) -> None:
        """Let the client go ahead, or tell it where the primary is. If that is not known, look again soon."""
        broker, loop = self.broker, asyncio.get_running_loop()
        if self not in broker.waiting:
            return
        if broker.serving and broker.node.role.is_primary:  # Else it is about to be demoted.
            self.fifo = broker.fifo
            broker.clients[self] = None
            self._listen()
            self.send(protocol.WELCOME, U64.pack(broker.node.generation))
        elif (known := broker.primary) or loop.time() > self._greet_by:
            host, port = known or broker.node.primary_client_address or ("", 0)  # Port 0: not known.
            self.send(protocol.REDIRECT, U16.pack(port), host.encode())
            self.transport.close()
        else:
            loop.call_later(LOOK_S, self.greet)
            return
        broker.waiting.pop(self, None)

    def _listen(self) -> None:
        """Drop a client that was silent since the last call. A broken network does not report its end."""
        if not self.heard:
            self.failed(ProtocolError(f"nothing heard for {SILENCE_MAX_S:.0f} s"))
        elif not self.transport.is_closing():
            self.heard = not self.transport.is_reading()  # While reading is paused, silence means nothing.
            asyncio.get_running_loop().call_later(SILENCE_MAX_S, self._listen)

    def connection_lost(self, error: Exception | None) -> None:
        self.broker.clients.pop(self, None)
        self.broker.waiting.pop(self, None)
        if self.acquired:
            self.fifo.release(self.acquired)

    def frames(self, kind: int, bodies: Sequence[memoryview | bytes]) -> None:
        self.heard = True
        if not self.broker.serving:
            return
        if kind == protocol.PUBLISH:
            self._publish(bodies)
        else:
            super().frames(kind, bodies)

    def frame(self, kind: int, body: memoryview | bytes) -> None:
        if self.transport.get_write_buffer_size() > UNREAD_BYTES_MAX:
            raise ProtocolError("it does not read what it asks for")
        if kind == protocol.ACCEPT:
            self._accept(bytes(body))
        elif kind == protocol.SUBSCRIBE:
            self.credit += U32.unpack(body)[0]
            self.broker.deliver_soon()
        elif kind == protocol.PING:
            self.send(protocol.PING, body)
        elif kind in (protocol.REGISTER, protocol.CHANGE, protocol.DESCRIBE):
            self._change(kind, body)
        else:
            raise ProtocolError(f"frame of kind {kind} from a client")

    def failed(self, error: Exception) -> None:
        log.warning("client dropped: %s", error)
        self.transport.abort()

    def drained(self) -> None:
        self.broker.deliver_soon()

    # --- publishing ------------------------------------------------------------------------------

    def _publish(self, bodies: Sequence[memoryview | bytes]) -> None:
        """Publish what was received together as one batch: give out ids now; confirm when every member has it."""
        batches = [Batch.parse(body, U64.size) for body in bodies]
        batch = batches[0] if len(batches) == 1 else Batch.join(batches)
        (sequence,) = U64.unpack_from(bodies[-1])
        op = self.broker.queue.enqueue_many(batch)
        self.unconfirmed.append((op.ids[-1], sequence, len(batch)))
        self.pending += len(batch)
        if self.pending > self.broker.window:
            self.transport.pause_reading()  # TCP tells the publisher to slow down.

    def confirm(self, upto: int) -> None:
        """Send one CONFIRM for all publishes that became safe together."""
        sequence = None
        while self.unconfirmed and self.unconfirmed[0][0] <= upto:
            _, sequence, messages = self.unconfirmed.popleft()
            self.pending -= messages
        if sequence is not None:
            self.send(protocol.CONFIRM, U64.pack(sequence))
            if self.pending <= self.broker.window:
                self.transport.resume_reading()

    # --- the topology ----------------------------------------------------------------------------

    def _change(self, kind: int, body: memoryview | bytes) -> None:
        """Change queues and objects, or describe them. Answer when what the answer says is safe."""
        topology = self.broker.topology
        if kind == protocol.REGISTER:
            epoch, op = topology.register(str(body, "utf-8"))
            self._answer(op, protocol.REGISTERED, epoch)
        elif kind == protocol.CHANGE:
            number, op = topology.change(body)
            self._answer(op, protocol.CHANGED, U64.pack(number))
        else:  # What is there now is safe when everything before now is.
            self._answer(topology.now(), protocol.DESCRIBED, topology.describe())

    def _answer(self, op: Op, kind: int, body: bytes) -> None:
        def safe(op: Op, error: QpidhaError | None) -> None:
            if error is None and not self.transport.is_closing():
                self.send(kind, body)

        op.add_safe_callback(safe)

    # --- consuming -------------------------------------------------------------------------------

    @property
    def hungry(self) -> bool:
        return self.credit > 0 and not self.congested and not self.transport.is_closing()

    def deliver(self) -> bool:
        """Deliver one batch, as its publisher packed it. Returns False if there is none."""
        got = self.fifo.acquire(min(self.credit, DELIVER_MESSAGES_MAX), DELIVER_BYTES_MAX)
        if got is None:
            return False
        ids, batch = got
        self.acquired |= ids
        self.credit -= len(batch)
        encoded = ids.encode()
        self.send(protocol.DELIVER, U32.pack(len(encoded)), encoded, batch.chunk)
        return True

    def _accept(self, encoded: bytes) -> None:
        """Dequeue accepted messages on every node, then tell the consumer."""
        ids = SequenceSet.decode(encoded)
        if not ids.issubset(self.acquired):
            raise ProtocolError("accepts what was not delivered to it")
        self.acquired -= ids
        self.credit += len(ids)

        def settled(op: Op, error: QpidhaError | None) -> None:
            if error is None and not self.transport.is_closing():
                self.send(protocol.SETTLED, encoded)

        self.fifo.accept(ids).add_safe_callback(settled)
        self.broker.deliver_soon()


# --- the process -----------------------------------------------------------------------------------


def monitoring(
    args: argparse.Namespace,
) -> tuple[Callable[[NodeEvent], None] | None, Callable[[Node], AbstractAsyncContextManager[object]]]:
    """Where a node's events go, and its HTTP port for operators: neither of both without ``--web``."""
    if args.web is None:
        return None, lambda _: contextlib.nullcontext()
    from qpidha.web import EventLog, NodeServer, ServerFiles  # Needs pip install 'qpidha[prometheus]'.

    events, files = EventLog(), web_files(args)
    tls = None
    if files:
        tls = ServerFiles(files["certificate"], files.get("key"), clients=files["ca"], crl=files.get("crl"))
    return events, lambda node: NodeServer(node, args.web, tls=tls, events=events)


async def run(args: argparse.Namespace) -> None:
    broker = Broker(args.window)
    arguments = node_arguments(args)
    client = arguments["client_address"]
    assert client is not None
    events, web_port = monitoring(args)
    broker.node = node = Node(args.id, broker=broker, on_event=events, **arguments)
    port = await asyncio.get_running_loop().create_server(
        lambda: Client(broker), *(args.client_listen or client), backlog=BACKLOG
    )
    try:
        async with web_port(node):
            await run_node(node, until_eof=args.until_eof)
    finally:
        port.close()


if __name__ == "__main__":
    args = parse_arguments()
    logs.configure(args.log_format, node=args.id)
    gc.freeze()  # What was imported stays: full collections, of 15 to 45 ms without this, need not visit it.
    try:
        from uvloop import run as run_loop
    except ImportError:
        from asyncio import run as run_loop
    try:
        run_loop(run(args))
    except KeyboardInterrupt:
        pass
    except (QpidhaError, OSError) as error:
        sys.exit(f"broker: {getattr(error, 'strerror', None) or error}")
