#!/usr/bin/env python3
"""A replicated queue of lines over TCP. It is yours to change: qpidha does the replication, this file is the broker.

    qpidha init                     # writes qpidha.toml: nodes a, b and c on this machine
    python broker.py a              # each in a terminal of its own
    python broker.py b
    python broker.py c
    nc 127.0.0.1 5681               # or 5682, 5683: only the primary keeps a connection open

A client sends one line and waits for the answer:

    PUT text        OK id           each node in sync has it on disk
                    DOUBT           this node is not primary any more; the next one may have it, or not
                    BUSY reason     nothing was stored
    TAKE            LINE id text    given to this client alone, until it says DONE or its connection ends
                    EMPTY
    DONE id         OK id           no node in sync has it any more
"""

from __future__ import annotations

import asyncio
import logging
import sys
from asyncio import StreamReader, StreamWriter
from collections.abc import Sequence

from qpidha import (
    Discarded,
    InDoubt,
    Node,
    NotEnoughMembers,
    NotPrimary,
    Op,
    QpidhaError,
    Queue,
    SequenceSet,
    Settle,
)
from qpidha.clusterfile import find_cluster_file
from qpidha.queues import FifoQueue
from qpidha.service import run_node

LINE_BYTES_MAX = 64 * 1024
BACKLOG = 1024
"""Connections that may wait to be accepted. After a failover all clients connect at once; one that finds the list full
tries again a second later.
"""
log = logging.getLogger("broker")


class Broker:
    """The three methods that begin with ``on_`` are called by the library, one at a time."""

    node: Node
    queue: Queue
    fifo: FifoQueue[Op]

    def __init__(self) -> None:
        self.serving = False
        self.clients: list[StreamWriter] = []

    async def on_promote(self, generation: int) -> None:
        """This node is primary now. It has everything that was ever confirmed."""
        self.queue = self.node.declare("lines", settle=Settle.REPLICATED)
        self.fifo = FifoQueue(self.queue)
        self.serving = True
        log.info("primary, with %d lines", self.queue.depth)

    async def on_demote(self, generation: int) -> None:
        """It is not primary any more. Drop the clients: they look for the next one."""
        self.serving = False
        for client in list(self.clients):
            client.transport.abort()

    async def on_discarded(self, messages: Sequence[Discarded]) -> None:
        """This node alone had these lines, and they were never confirmed. Publish them again, keep them, or drop them."""
        for message in messages:
            log.warning("undone: %r", bytes(message.data))

    # --- clients ---------------------------------------------------------------------------------

    async def serve(self, reader: StreamReader, writer: StreamWriter) -> None:
        """One connection, from its beginning to its end."""
        if not self.serving:
            writer.close()
            return
        self.clients.append(writer)
        fifo, taken = self.fifo, SequenceSet()
        try:
            while line := await reader.readline():
                writer.write(await self.answer(line.rstrip(b"\r\n"), taken) + b"\n")
                await writer.drain()
        except (ConnectionError, NotPrimary, ValueError) as error:  # The last: a line that is too long.
            log.info("client dropped: %s", error)
        finally:
            self.clients.remove(writer)
            fifo.release(taken)  # In their old places, for the next one who takes.
            writer.transport.abort()

    async def answer(self, line: bytes, taken: SequenceSet) -> bytes:
        """Do what a line asks for. ``taken``: the ids that this client has, and has not done."""
        word, _, rest = line.partition(b" ")
        try:
            if word == b"PUT":
                return await self.put(rest)
            if word == b"TAKE":
                return self.take(taken)
            if word == b"DONE" and rest.isdigit() and int(rest) in taken:
                return await self.done(int(rest), taken)
        except InDoubt:
            return b"DOUBT"
        except NotEnoughMembers as error:
            return b"BUSY " + str(error).encode()
        return b"WHAT PUT text, TAKE, or DONE id of what was taken"

    async def put(self, text: bytes) -> bytes:
        """Answer when the line is safe, and not before."""
        op = self.queue.enqueue(text)
        await op
        return b"OK %d" % op.ids[0]

    def take(self, taken: SequenceSet) -> bytes:
        """Give out the oldest line that nobody has."""
        got = self.fifo.acquire(1)
        if got is None:
            return b"EMPTY"
        ids, batch = got
        taken |= ids
        return b"LINE %d %s" % (ids.first, bytes(batch.data(0)))

    async def done(self, id: int, taken: SequenceSet) -> bytes:
        """Answer when the line is gone on each node in sync: the next primary will not give it out again."""
        taken.discard(id)
        await self.fifo.accept(SequenceSet([id]))
        return b"OK %d" % id


async def main(name: str) -> None:
    """Run one node until it is told to stop, or cannot go on."""
    file = find_cluster_file()
    if file is None:
        sys.exit("broker: there is no qpidha.toml here: qpidha init writes one")
    broker = Broker()
    broker.node = node = Node(name, broker=broker, **file.arguments(name))
    address = file.client_address(name)
    port = await asyncio.start_server(broker.serve, *address, limit=LINE_BYTES_MAX, backlog=BACKLOG)
    async with port:
        await run_node(node)  # Until SIGTERM, which hands over first. It tells systemd how the node is.


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(name)s: %(message)s")
    if len(sys.argv) != 2:
        sys.exit("usage: python broker.py NODE")
    try:
        asyncio.run(main(sys.argv[1]))
    except QpidhaError as error:
        sys.exit(f"broker: {error}")
    except OSError as error:  # The port for clients is in use: does this node run already?
        sys.exit(f"broker: {error.strerror or error}")
