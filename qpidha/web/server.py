"""The HTTP server of one node, in the node's event loop."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable
from importlib import resources
from typing import TYPE_CHECKING

from qpidha.checks import ADDRESS, instance_of, optional
from qpidha.errors import CallerError, LocalProtocolError, QpidhaError, SettingsError
from qpidha.node import Node
from qpidha.node.health import Health, liveness, readiness, serving
from qpidha.system.texts import json_text, plain_text
from qpidha.web.access import Access, Tokens
from qpidha.web.gate import Gate, is_loopback
from qpidha.web.history import EventLog, History
from qpidha.web.metrics import QUEUES_MAX, NodeCollector
from qpidha.web.serverfiles import ServerFiles

try:
    from aiohttp import web
    from prometheus_client import CollectorRegistry
    from prometheus_client.exposition import choose_encoder
except ImportError as error:  # pragma: no cover - the tests have it.
    raise SettingsError(f"the HTTP port needs aiohttp: pip install 'qpidha[prometheus]' ({error})") from error

if TYPE_CHECKING:
    from qpidha.types import Address

SAMPLE_INTERVAL_S = 1.0
SHUTDOWN_S = 1.0
"""Requests under way have so much time when the server stops."""
HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'self'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; "
    "frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
}
"""The page shows names that peers and clients chose: nothing from elsewhere is loaded, no page may frame it."""

log = logging.getLogger("qpidha.web")

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class NodeServer:
    """Answers HTTP for one node. Start it after the node was made; it may run before the node's start and after its stop.

        request                 needs        answer
        GET /live               -            200, or 503 if the process should be started again
        GET /ready              -            200 if the node serves or can take over without a loss, else 503
        GET /serving            -            200 on the node that serves clients, else 503
        GET /metrics            a viewer     metrics of Prometheus
        GET /status             a viewer     `NodeStatus` as JSON; ?queues=N names at most N queues
        GET /history            a viewer     the last ten minutes as JSON
        GET /                   -            a page that shows them; it asks for a token
        POST /promote, /demote  an operator  200, or 409 with the reason

    A viewer or an operator shows a token, or a certificate with this role if ``tls`` asks for one. Without both kinds
    everybody who reaches the port is a viewer, and there are no operators.
    """

    def __init__(
        self,
        node: Node,
        address: Address = ("127.0.0.1", 0),
        *,
        tls: ServerFiles | None = None,
        tokens: Tokens | None = None,
        events: EventLog | None = None,
        queues_max: int = QUEUES_MAX,
    ) -> None:
        """Nothing happens before `start`.

        Args:
            node: The node to show.
            address: Where to listen; port 0 picks one.
            tls: Without it, only on a loopback address.
            tokens: Without it, and without ``tls`` that asks clients for certificates, only on a loopback address.
            events: What the node has as ``on_event``: the page shows them.
            queues_max: So many queues have metrics and pictures of their own.

        Raises:
            SettingsError: A wrong argument, or the address can be reached from other machines and there is no ``tls``,
                or nothing that clients could show.
        """
        instance_of(Node)("node", node, SettingsError)
        ADDRESS("address", address, SettingsError)
        optional(instance_of(ServerFiles))("tls", tls, SettingsError)
        optional(instance_of(Tokens))("tokens", tokens, SettingsError)
        optional(instance_of(EventLog))("events", events, SettingsError)
        if not is_loopback(address[0]) and (tls is None or not (tokens or tls.asks_clients)):
            raise SettingsError(
                f"{address[0]} can be reached from other machines: give tls, and tokens or the authority of clients; "
                "or use 127.0.0.1"
            )
        self._node, self._address = node, address
        self._tls, self._tokens = tls, tokens
        self._queues_max = queues_max
        self._registry = CollectorRegistry()
        self._registry.register(NodeCollector(node, queues_max=queues_max))
        self._history = History(events)
        self._runner: web.AppRunner | None = None
        self._sampler: asyncio.Task[None] | None = None
        self._faults: list[str] = []
        self._gate = Gate(tls, tokens)

    # --- life ------------------------------------------------------------------------------------

    async def start(self) -> None:
        """Listen.

        Raises:
            OSError: The address cannot be bound.
            LocalProtocolError: It runs already.
        """
        if self._runner is not None:
            raise LocalProtocolError("this server runs already")
        runner = self._runner = web.AppRunner(
            self._application(), access_log=None, handle_signals=False, shutdown_timeout=SHUTDOWN_S
        )
        try:
            await runner.setup()
            context = None if self._tls is None else self._tls.context
            await web.TCPSite(runner, *self._address, ssl_context=context).start()
        except BaseException:
            await self.stop()
            raise
        self._sampler = asyncio.create_task(self._sample(), name="qpidha-web")

    async def stop(self) -> None:
        """Close the port. Again: nothing happens."""
        sampler, self._sampler = self._sampler, None
        if sampler is not None:
            sampler.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await sampler
        runner, self._runner = self._runner, None
        if runner is not None:
            await runner.cleanup()

    async def __aenter__(self) -> NodeServer:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    @property
    def address(self) -> Address:
        """Where it listens. Raises `LocalProtocolError` before the start and after the stop."""
        if self._runner is None or not self._runner.addresses:
            raise LocalProtocolError("this server does not run")
        host, port = self._runner.addresses[0][:2]
        return host, port

    async def _sample(self) -> None:
        while True:
            self._history.sample(self._node.status(queues_max=self._queues_max))
            for files in (self._tls, self._tokens):
                if files is not None:
                    files.refresh()
            self._log_faults()
            await asyncio.sleep(SAMPLE_INTERVAL_S)

    def _log_faults(self) -> None:
        """Each once: files that were renewed and cannot be used."""
        faults = [files.fault for files in (self._tls, self._tokens) if files is not None and files.fault]
        for fault in faults:
            if fault not in self._faults:
                log.warning("the old file goes on being used: %s", fault)
        self._faults = faults

    # --- requests --------------------------------------------------------------------------------

    def _application(self) -> web.Application:
        application = web.Application(middlewares=[_guarded], client_max_size=4096)
        add = application.router.add_get
        add("/", self._page)
        for path, asked in (("/live", liveness), ("/ready", readiness), ("/serving", serving)):
            add(path, self._health(asked))
        add("/metrics", self._for(Access.VIEWER, self._metrics))
        add("/status", self._for(Access.VIEWER, self._status))
        add("/history", self._for(Access.VIEWER, self._recent))
        post = application.router.add_post
        post("/promote", self._for(Access.OPERATOR, self._promote))
        post("/demote", self._for(Access.OPERATOR, self._demote))
        return application

    def _for(self, needed: Access, handler: Handler) -> Handler:
        async def checked(request: web.Request) -> web.StreamResponse:
            refusal = self._gate.refusal(request, needed)
            return await handler(request) if refusal is None else refusal

        return checked

    def _health(self, asked: Callable[..., Health]) -> Handler:
        async def answer(_: web.Request) -> web.StreamResponse:
            health = asked(self._node.status(queues_max=0))
            return _said(health.why, status=200 if health.ok else 503)

        return answer

    async def _page(self, _: web.Request) -> web.StreamResponse:
        text = resources.files("qpidha.web").joinpath("page.html").read_text()
        return web.Response(text=text, content_type="text/html")

    async def _metrics(self, request: web.Request) -> web.StreamResponse:
        encode, content_type = choose_encoder(request.headers.get("Accept", ""))
        return web.Response(body=encode(self._registry), headers={"Content-Type": content_type})

    async def _status(self, request: web.Request) -> web.StreamResponse:
        try:
            queues = int(request.query.get("queues", self._queues_max))
            status = self._node.status(queues_max=queues)
        except (ValueError, CallerError) as error:
            return _said(f"queues: {error}", status=400)
        return web.json_response(status.to_dict(), dumps=json_text)

    async def _recent(self, _: web.Request) -> web.StreamResponse:
        return web.json_response(self._history.to_dict(), dumps=json_text)

    async def _promote(self, _: web.Request) -> web.StreamResponse:
        await self._node.promote()
        return _said(f"primary of generation {self._node.generation}")

    async def _demote(self, _: web.Request) -> web.StreamResponse:
        await self._node.demote()
        return _said("not primary any more")


def _said(text: str, *, status: int = 200) -> web.Response:
    """One line of text; a path in it need not be UTF-8."""
    return web.Response(status=status, text=f"{plain_text(text)}\n")


@web.middleware
async def _guarded(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Every answer has the headers, and a refusal of the node is an answer."""
    try:
        response = await handler(request)
    except web.HTTPException as refusal:
        response = _said(refusal.reason, status=refusal.status)
    except QpidhaError as refusal:
        response = _said(str(refusal), status=409)
    response.headers.update(HEADERS)
    return response
