"""Decides which requests are answered: by their token, the certificate of their connection, and where they come from."""

from __future__ import annotations

import ipaddress
import time

from aiohttp import web

from qpidha.system.roles import OPERATOR, VIEWER, not_for, roles_of
from qpidha.web.access import Access, Tokens, access_of
from qpidha.web.serverfiles import ServerFiles

ROLES = {Access.VIEWER: VIEWER, Access.OPERATOR: OPERATOR}


class Gate:
    """The rules of one port."""

    def __init__(self, tls: ServerFiles | None, tokens: Tokens | None) -> None:
        self._tls, self._tokens = tls, tokens
        self._open = tokens is None and (tls is None or not tls.asks_clients)
        """Clients have nothing to show: on a loopback address they are viewers."""

    def refusal(self, request: web.Request, needed: Access) -> web.Response | None:
        """Why a request is not answered; None: it is."""
        if self._open:
            return self._not_local(request, needed)
        by_token = Access.NOTHING
        if self._tokens is not None:
            by_token = self._tokens.access(request.headers.get("Authorization"))
        if by_token >= needed:
            return None
        transport = request.transport
        connection = None if transport is None else transport.get_extra_info("ssl_object")
        certificate = None if self._tls is None else self._tls.shown(connection, time.time())
        if access_of(certificate) >= needed:
            return _from_elsewhere(request)
        if certificate is not None and not by_token:
            text = f"this certificate {not_for(ROLES[needed], roles_of(certificate))}\n"
            return web.Response(status=403, text=text)
        return self._unknown() if not by_token else self._too_little()

    def _not_local(self, request: web.Request, needed: Access) -> web.Response | None:
        # A page of elsewhere whose name is made to resolve to 127.0.0.1 comes with that name.
        if not is_loopback(request.url.host or ""):
            return web.Response(status=403, text="without tokens, only 127.0.0.1 and localhost are served\n")
        return None if needed is Access.VIEWER else self._too_little()

    def _too_little(self) -> web.Response:
        return web.Response(status=403, text="an operator's token is needed\n")

    def _unknown(self) -> web.Response:
        ways = ["a token (Authorization: Bearer TOKEN)"] if self._tokens is not None else []
        if self._tls is not None and self._tls.asks_clients:
            ways.append(
                f"a certificate for {VIEWER} or {OPERATOR}, on a new connection if it has been renewed"
            )
        answer = web.Response(status=401, text=f"show {' or '.join(ways)}\n")
        if self._tokens is not None:
            answer.headers["WWW-Authenticate"] = "Bearer"
        answer.force_close()  # A client that connects again is asked for its certificate again.
        return answer


def _from_elsewhere(request: web.Request) -> web.Response | None:
    """A browser shows its certificate for any page that asks it to; but it says which page that was."""
    origin = request.headers.get("Origin")
    if origin is None or origin == f"{request.url.scheme}://{request.headers.get('Host')}":
        return None
    return web.Response(
        status=403, text="a certificate is not enough for a page from elsewhere: show a token\n"
    )


def is_loopback(host: str) -> bool:
    """Whether an address, or the name ``localhost``, stays on this machine."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
