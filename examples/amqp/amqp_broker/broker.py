"""The broker of one node: what the library calls, and the port for clients, which is open on the primary only."""

from __future__ import annotations

import asyncio
import logging
import ssl
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from proton import Receiver

from amqp_broker.connection import ClientConnection, Served
from amqp_broker.management import Management
from amqp_broker.queues import EXPIRE_INTERVAL_S, BrokerQueue
from amqp_broker.refusals import Refused
from amqp_broker.sasl import Users
from amqp_broker.term import Term
from qpidha import Discarded, Node, QpidhaError, Settings
from qpidha.types import Address

log = logging.getLogger("amqp")
BACKLOG = 1024
"""Connections that may wait to be accepted. After a failover all clients connect at once; one that finds the list full
tries again a second later.
"""
BIND_RETRY_S = 0.05
BIND_RETRIES = 100
RELEASED_MAX = 50
"""Temporary queues that are deleted in one turn of the event loop."""


@dataclass(frozen=True)
class Access:
    """Who may connect, and how."""

    users: Users = field(default_factory=Users)
    anonymous: bool = True
    tls: ssl.SSLContext | None = None
    idle_timeout_s: float = 30.0


def tls_context(certificate: Path, key: Path, ca: Path | None) -> ssl.SSLContext:
    """TLS for clients. With an authority, a client that shows a certificate of it may use EXTERNAL."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate, key)
    if ca is not None:
        context.load_verify_locations(ca)
        context.verify_mode = ssl.CERT_OPTIONAL
    return context


class Broker:
    """Queues, exchanges and clients of one node. The library calls the three methods that begin with ``on_``."""

    node: Node
    term: Term

    def __init__(self, name: str, address: Address, settings: Settings, access: Access | None = None) -> None:
        self.name = name
        self.address = address
        self.settings = settings
        self.access = access or Access()
        self.connections: set[ClientConnection] = set()
        self.port: asyncio.Server | None = None
        self._expiring: asyncio.Task[None] | None = None

    # --- what the library calls ------------------------------------------------------------------

    async def on_promote(self, generation: int) -> None:
        """This node is primary now: open the port. It was closed, so that clients went on to the next address."""
        self.term = Term(self.node, self.settings)
        loop = asyncio.get_running_loop()
        self._expiring = loop.create_task(self._expire())
        self.term.transfers.begin()
        for attempt in range(BIND_RETRIES):
            try:
                self.port = await loop.create_server(
                    lambda: ClientConnection(self),
                    *self.address,
                    ssl=self.access.tls,
                    reuse_address=True,
                    backlog=BACKLOG,
                )
                break
            except OSError:
                if attempt == BIND_RETRIES - 1:
                    raise
                await asyncio.sleep(BIND_RETRY_S)
        log.info("primary of generation %d, %d queues", generation, len(self.node.queues))

    async def on_demote(self, generation: int) -> None:
        """This node is not primary any more: close the port, and every connection without another frame."""
        if self.port is not None:
            self.port.close()
            self.port = None
        if self._expiring is not None:
            self._expiring.cancel()
        for connection in list(self.connections):
            connection.abort()
        await self.term.transfers.end()
        log.info("not primary any more")

    async def on_discarded(self, messages: Sequence[Discarded]) -> None:
        """Messages that no client was told to be accepted. Their publishers do not know what became of them."""
        log.info("%d unconfirmed messages discarded", len(messages))

    # --- the work of a term ----------------------------------------------------------------------

    async def _expire(self) -> None:
        while True:
            await asyncio.sleep(EXPIRE_INTERVAL_S)
            try:
                self.term.queues.expire()
            except QpidhaError as error:
                log.debug("nothing expires now: %s", error)

    def release(self, connection: ClientConnection, only: BrokerQueue | None = None) -> None:
        """A connection is lost, or a link of it: its temporary queues end, or only that of the link."""
        term = connection.term
        owned = [each for each in term.queues if each.owner is connection] if only is None else [only]
        self._release(term, owned)

    def _release(self, term: Term, owned: list[BrokerQueue]) -> None:
        """Delete some queues, and the others in the next turns: a connection may have had very many."""
        if len(owned) > RELEASED_MAX:
            asyncio.get_running_loop().call_soon(self._release, term, owned[RELEASED_MAX:])
        for queue in owned[:RELEASED_MAX]:
            try:
                _ = term.delete_queue(queue.name)
            except (QpidhaError, Refused) as error:
                # The term is over: they end when the next one begins here. Or it is not there any more, or in use.
                log.debug("queue %s: %s", queue.name, error)

    def management(self, connection: ClientConnection, link: Receiver) -> Served:
        """The broker's side of a link to ``$management``."""
        return Management(connection, link)
