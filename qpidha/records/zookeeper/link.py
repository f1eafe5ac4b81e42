"""One connection to a ZooKeeper ensemble, with one ZooKeeper session, made by kazoo.

kazoo works in threads. Requests are its ``*_async`` calls; their answers, and changes of the connection, come to the
event loop by ``call_soon_threadsafe``. What a `Link` says of itself changes only in the event loop.

Four things are done otherwise than kazoo does them by itself:

    TLS                the context is that of `TlsFiles`, which follows renewed files and checks host names
    time-outs          the time-out that the server grants, and why a connection fails, are taken from its connect call
    an expired session the link is over: kazoo would begin another session, and send there what waits
    pings              a link of a node's session sends none: the node's event loop keeps it alive, or it expires
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

from qpidha.records.addresses import Address, read_password
from qpidha.records.zookeeper.failures import AttemptFailed, is_lost, reason, require_kazoo
from qpidha.system import forks

Request: TypeAlias = tuple[str, Sequence[Any], dict[str, Any]]
"""The name of a call of kazoo without ``_async``, its arguments, and those with a keyword."""
RETRY = {"max_tries": -1, "delay": 0.02, "backoff": 2, "max_jitter": 0.1, "max_delay": 0.2}
CLOSE_TIMEOUT_S = 2.0
GONE_TIMEOUT_S = 5.0
"""For the threads of a link to end."""


@dataclass(frozen=True)
class Access:
    """Which servers there are, and how to connect to them."""

    addresses: Sequence[Address]
    context: Callable[[], ssl.SSLContext] | None
    user: str | None
    password: str | Path | None
    attempt_timeout_s: float


def quiet() -> logging.Logger:
    """A logger that drops what kazoo says: what counts is told by errors and events."""
    logger = logging.Logger("qpidha-kazoo")  # noqa: LOG001 - it belongs to nobody else
    logger.disabled = True
    return logger


class Link:
    """A ZooKeeper session. It begins to connect at once."""

    def __init__(
        self, access: Access, ttl_s: float, *, pings: bool, changed: Callable[[], None] = lambda: None
    ) -> None:
        """``changed`` is called when the connection comes or goes. Raises `Unavailable` for a password file.

        ``pings``: it is for reads and writes, and is over with its first connection. Else it is that of a node's session.
        """
        require_kazoo()
        self._access = access
        self._loop = asyncio.get_running_loop()
        self._pings = pings
        self._changed = changed
        self._ready = asyncio.Event()
        self.over = ""
        """Why the session has expired or was closed; "": it has not."""
        self.granted_ttl_s = ttl_s
        self.endpoint: Address | None = None
        """The server that it is connected to, or was last."""
        self.reasons: dict[Address, str] = {}
        """Why there is no connection."""
        self._socket: socket.socket | None = None
        self._dead = False
        self._forked = False
        self._end: threading.Thread | None = None
        self._client = self._make(ttl_s, pings=pings)
        forks.watch(self)
        self._client.start_async()

    def _make(self, ttl_s: float, *, pings: bool) -> Any:
        from kazoo.client import KazooClient
        from kazoo.handlers.threading import SequentialThreadingHandler
        from kazoo.security import make_digest_acl

        access, handler = self._access, SequentialThreadingHandler()
        handler.create_connection = self._dial
        login = {}
        if access.user is not None:
            secret = read_password(access.password, "ZooKeeper")
            # Not kazoo's CREATOR_ALL_ACL: that lets in everybody with the certificate of this node as well.
            acl = make_digest_acl(access.user, secret, all=True)
            login = {"auth_data": [("digest", f"{access.user}:{secret}")], "default_acl": [acl]}
        client = KazooClient(
            ",".join(map(str, access.addresses)),
            timeout=ttl_s,
            handler=handler,
            randomize_hosts=False,
            connection_retry=RETRY,
            logger=quiet(),
            **login,
        )
        client.add_listener(self._listen)
        connection = client._connection
        connection._connect = self._connect(connection._connect)
        if not pings:
            connection._send_ping = lambda timeout: None
        return client

    # --- called by kazoo's threads -----------------------------------------------------------------

    def _dial(self, address: tuple[str, int], hostname: str, **_: object) -> socket.socket:
        """A connection to a server, for kazoo. Raises `OSError`."""
        if self._dead:
            raise ConnectionAbortedError("the session is over")
        raw = socket.create_connection(address[:2], self._access.attempt_timeout_s)
        try:
            raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if self._access.context is not None:
                raw = self._access.context().wrap_socket(raw, server_hostname=hostname)
        except BaseException:
            raw.close()
            raise
        self._socket = raw
        return raw

    def _connect(self, original: Callable[..., Any]) -> Callable[..., Any]:
        def connect(host: str, ip: str, port: int) -> Any:
            endpoint = Address(host, port)
            try:
                read_timeout_ms, connect_timeout_ms = original(host, ip, port)
            except Exception as error:
                self._post(self._failed, endpoint, reason(error, str(endpoint)))
                raise
            self._post(
                self._opened, endpoint, read_timeout_ms * 1.5 / 1000
            )  # kazoo reads for 2/3 of the time-out.
            return read_timeout_ms, connect_timeout_ms

        return connect

    def _listen(self, state: str) -> None:
        from kazoo.protocol.states import KazooState

        if state == KazooState.LOST:
            self._dead = True
            self._post(self._lost, "its ZooKeeper session has expired")
        elif state == KazooState.SUSPENDED:
            self._post(self._suspended)

    def _post(self, call: Callable[..., None], *args: object) -> None:
        with contextlib.suppress(RuntimeError):  # The event loop is closed.
            self._loop.call_soon_threadsafe(call, *args)

    # --- the connection ----------------------------------------------------------------------------

    def _failed(self, endpoint: Address, why: str) -> None:
        self.reasons[endpoint] = why

    def _opened(self, endpoint: Address, granted_ttl_s: float) -> None:
        if not self.over:
            self.endpoint, self.granted_ttl_s = endpoint, granted_ttl_s
            self.reasons.clear()
            self._ready.set()
            self._changed()

    def _suspended(self) -> None:
        if self._pings and self.endpoint is not None:
            self._lost("the connection was lost")
            return
        self._ready.clear()
        if self.endpoint is not None:
            self.reasons.setdefault(self.endpoint, f"{self.endpoint}: the connection has ended")
        self._changed()

    def _lost(self, why: str) -> None:
        self.over = self.over or why
        self._ready.set()  # It ends `wait_connected`.
        self._changed()

    @property
    def connected(self) -> bool:
        """Whether requests can be sent."""
        return self._ready.is_set() and not self.over

    async def wait_connected(self, timeout_s: float) -> bool:
        """Return True when it is connected, False after the time or when it is over. Raises `ForkedError`."""
        if self._forked:
            raise forks.forked_error("this record store")
        waiter = asyncio.ensure_future(self._ready.wait())
        try:
            await asyncio.wait({waiter}, timeout=max(0.0, timeout_s))
        finally:
            waiter.cancel()
        return self.connected

    @property
    def session_id(self) -> int:
        """ZooKeeper's number of the session."""
        return int(self._client._session_id or 0)

    @property
    def zxid(self) -> int:
        """The newest transaction that the answers so far have named."""
        return int(self._client.last_zxid)

    def drop(self) -> None:
        """End the connection, which is silent: kazoo connects to the next server."""
        self._ready.clear()
        if self._socket is not None:
            # That of the class `ssl.SSLSocket` would take the TLS state away from the thread that reads.
            with contextlib.suppress(OSError):
                socket.socket.shutdown(self._socket, socket.SHUT_RDWR)

    # --- requests ----------------------------------------------------------------------------------

    async def ask(self, name: str, *args: Any, timeout_s: float, **keywords: Any) -> Any:
        """Make one request. Raises `AttemptFailed`, and the errors of kazoo that are answers."""
        [found] = await self.batch([(name, args, keywords)], timeout_s)
        if isinstance(found, Exception):
            raise found
        return found

    async def batch(self, requests: Iterable[Request], timeout_s: float) -> list[Any]:
        """Send requests in one go, which ZooKeeper does in this order, and return their answers or errors.

        Raises:
            AttemptFailed: There is no answer for one of them. After a silence the connection is ended.
        """
        if self._forked:
            raise forks.forked_error("this record store")
        if not self.connected:
            raise AttemptFailed(self.over or "; ".join(self.reasons.values()) or "no connection", sent=False)
        futures = [self._submit(*request) for request in requests]
        if not futures:
            return []
        try:
            _, silent = await asyncio.wait(futures, timeout=max(0.0, timeout_s))
        finally:
            for future in futures:
                future.cancel()
        if silent:
            self.drop()
            raise AttemptFailed(f"{self.endpoint}: no answer in {timeout_s:.3g} s", sent=True)
        answers = [future.exception() or future.result() for future in futures]
        for answer in answers:
            if isinstance(answer, Exception) and is_lost(answer):
                why = f"{self.endpoint}: the connection ended before the answer ({type(answer).__name__})"
                raise AttemptFailed(why, sent=True)
        return answers

    def _submit(self, name: str, args: Sequence[Any], keywords: dict[str, Any]) -> asyncio.Future[Any]:
        future: asyncio.Future[Any] = self._loop.create_future()
        getattr(self._client, f"{name}_async")(*args, **keywords).rawlink(
            lambda done: self._post(_settle, future, done)
        )
        return future

    # --- the end -----------------------------------------------------------------------------------

    def dismiss(self, why: str = "closed") -> None:
        """End the session and the connection, without waiting. May be called twice."""
        self.over = self.over or why
        self._ready.set()
        if self._end is None and not self._forked:
            self._end = threading.Thread(target=self._stop, name="qpidha-zookeeper-close", daemon=True)
            self._end.start()

    def _stop(self) -> None:
        timer = threading.Timer(CLOSE_TIMEOUT_S, self.drop)
        timer.daemon = True
        timer.start()
        try:
            self._client.stop()
            self._client.close()
        finally:
            timer.cancel()

    @property
    def ending(self) -> bool:
        """Whether its threads have not ended yet."""
        return self._end is not None and self._end.is_alive()

    async def close(self) -> None:
        """End it, and wait until its threads have ended."""
        self.dismiss()
        until = time.monotonic() + GONE_TIMEOUT_S
        while self.ending and time.monotonic() < until:  # noqa: ASYNC110
            await asyncio.sleep(0.005)

    def forked(self) -> Iterable[int]:
        """The descriptors that a child gives up."""
        self._forked = True
        connection = self._client._connection
        held = (self._socket, connection._read_sock, connection._write_sock)
        return [one.fileno() for one in held if one is not None and one.fileno() >= 0]


def _settle(future: asyncio.Future[Any], done: Any) -> None:
    if future.done():
        return
    if done.exception is not None:
        future.set_exception(done.exception)
    else:
        future.set_result(done.value)
