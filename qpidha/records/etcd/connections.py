"""HTTP connections to the members of an etcd ensemble, made by aiohttp."""

from __future__ import annotations

import asyncio
import contextlib
import io
import json
import socket
import ssl
import time
import weakref
from collections.abc import AsyncGenerator, Callable, Iterable, Mapping
from dataclasses import dataclass
from types import ModuleType
from typing import TYPE_CHECKING, Any

from qpidha.errors import SettingsError
from qpidha.records.addresses import Address as Endpoint
from qpidha.records.etcd.failures import AttemptFailed, answered, broken
from qpidha.system import forks

if TYPE_CHECKING:
    import aiohttp

ANSWER_BYTES_MAX = 32 * 1024 * 1024
"""Longer answers are refused: a record and a few hundred sessions take less than a tenth of it."""

LARGE_BYTES = 256 * 1024
"""A longer request is sent in pieces."""
CLOSE_TIMEOUT_S = 0.5
CLOSE_LOOK_S = 0.002


@dataclass(eq=False, slots=True)
class Attempt:
    """One request to one endpoint."""

    endpoint: Endpoint
    connected: bool = False
    """There was a connection for it, so that it may have been sent."""


def require_aiohttp() -> ModuleType:
    """The module. Raises `SettingsError` if it is not installed."""
    try:
        import aiohttp
    except ImportError as error:
        raise SettingsError(
            f"etcd needs aiohttp 3.12 or later: pip install 'qpidha[etcd]' ({error})"
        ) from error
    return aiohttp


class Connections:
    """Connections that are used again. They belong to the event loop of the first request."""

    def __init__(self, tls: Callable[[], ssl.SSLContext] | None) -> None:
        """``tls`` returns the context for new connections. None: plain text."""
        self._aiohttp = require_aiohttp()
        self._tls = tls
        self._session: aiohttp.ClientSession | None = None
        self._sockets: weakref.WeakSet[socket.socket] = weakref.WeakSet()
        self._forked = False

    # --- requests ----------------------------------------------------------------------------------

    async def post(
        self, attempt: Attempt, path: str, body: Mapping[str, Any], token: str | None, timeout_s: float
    ) -> dict[str, Any]:
        """Send one request. Returns its answer.

        Raises:
            AttemptFailed, TokenRefused, Refusal: See `qpidha.records.etcd.failures`.
        """
        data = json.dumps(body).encode()
        timeout = self._aiohttp.ClientTimeout(total=timeout_s)
        async with self._sent(attempt, path, data, token, timeout) as response:
            return self._opened(response.status, await _whole(attempt, response), attempt)

    async def lines(
        self, attempt: Attempt, path: str, data: bytes, token: str | None, timeout_s: float
    ) -> AsyncGenerator[dict[str, Any], None]:
        """Send one request, and yield each line of its answer. Raises as `post`, also when the connection ends.

        ``timeout_s`` is for the connection and the first line.
        """
        timeout = self._aiohttp.ClientTimeout(total=None, connect=timeout_s)
        async with self._sent(attempt, path, data, token, timeout) as response:
            if response.status != 200:
                self._opened(response.status, await _whole(attempt, response), attempt)
            rest = bytearray()
            while chunk := await response.content.readany():
                rest += chunk
                *complete, tail = rest.split(b"\n")
                rest = bytearray(tail)
                if len(rest) > ANSWER_BYTES_MAX:
                    raise AttemptFailed(f"{attempt.endpoint}: its answer is too long", sent=True)
                for line in filter(None, complete):
                    yield self._opened(200, bytes(line), attempt)
            raise AttemptFailed(f"{attempt.endpoint}: it has ended the watch", sent=True)

    @contextlib.asynccontextmanager
    async def _sent(
        self, attempt: Attempt, path: str, data: bytes, token: str | None, timeout: aiohttp.ClientTimeout
    ) -> AsyncGenerator[aiohttp.ClientResponse, None]:
        """Send a request; the answer is read inside of the context. Failures of aiohttp become `AttemptFailed`."""
        if self._forked:
            raise forks.forked_error("this record store")
        session = self._session or self._open()
        tls = None if self._tls is None else self._tls()
        url = f"{'http' if tls is None else 'https'}://{attempt.endpoint}{path}"
        try:
            async with session.post(
                url,
                data=data if len(data) < LARGE_BYTES else io.BytesIO(data),
                headers={} if token is None else {"Authorization": token},
                ssl=True if tls is None else tls,
                timeout=timeout,
                allow_redirects=False,
                trace_request_ctx=attempt,
            ) as response:
                yield response
        except (self._aiohttp.ClientError, asyncio.TimeoutError, OSError, ValueError) as error:
            raise broken(error, str(attempt.endpoint), connected=attempt.connected) from error

    def _opened(self, status: int, content: bytes, attempt: Attempt) -> dict[str, Any]:
        """What an answer says. The gateway wraps answers of streams in ``result``, and errors of streams in ``error``."""
        try:
            found = json.loads(content)
        except (ValueError, RecursionError):
            found = None
        if not isinstance(found, dict):
            found = {"error": f"HTTP status {status}, and no JSON"}
            status = status if status != 200 else 502
        wrong = found.get("error")
        if status == 200 and wrong is None:
            result = found.get("result", found)
            if isinstance(result, dict):
                return result
        if isinstance(wrong, dict):
            raise answered(status, wrong.get("grpc_code"), wrong.get("message", ""), str(attempt.endpoint))
        raise answered(status, found.get("code"), wrong or found.get("message", ""), str(attempt.endpoint))

    # --- life --------------------------------------------------------------------------------------

    def _open(self) -> aiohttp.ClientSession:
        http = self._aiohttp
        trace = http.TraceConfig()
        trace.on_connection_create_end.append(_connected)
        trace.on_connection_reuseconn.append(_connected)
        forks.watch(self)
        self._session = http.ClientSession(
            connector=http.TCPConnector(limit=0, socket_factory=self._socket),
            cookie_jar=http.DummyCookieJar(),
            trace_configs=[trace],
        )
        return self._session

    def _socket(self, info: tuple[Any, ...]) -> socket.socket:
        family, kind, protocol, *_ = info
        made = socket.socket(family=family, type=kind, proto=protocol)
        made.setblocking(False)
        self._sockets.add(made)
        return made

    def forked(self) -> Iterable[int]:
        """In a child: the connections are the parent's."""
        self._forked = True
        return [found.fileno() for found in self._sockets]

    async def close(self) -> None:
        """Close all connections. May be called twice; a later request opens one again."""
        session, self._session = self._session, None
        forks.release(self)
        if session is not None and not self._forked:
            await session.close()
            until = time.monotonic() + CLOSE_TIMEOUT_S
            while any(found.fileno() >= 0 for found in self._sockets) and time.monotonic() < until:  # noqa: ASYNC110
                await asyncio.sleep(
                    CLOSE_LOOK_S
                )  # asyncio closes what was given up in a later turn of the loop.


async def _connected(session: aiohttp.ClientSession, context: Any, params: Any) -> None:
    context.trace_request_ctx.connected = True


async def _whole(attempt: Attempt, response: aiohttp.ClientResponse) -> bytes:
    content = bytearray()
    while chunk := await response.content.readany():
        content += chunk
        if len(content) > ANSWER_BYTES_MAX:
            raise AttemptFailed(f"{attempt.endpoint}: its answer is too long", sent=True)
    return bytes(content)
