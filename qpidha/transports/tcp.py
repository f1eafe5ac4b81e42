"""Links over TCP: mutually verified TLS, or plain text that does not leave the machine."""

from __future__ import annotations

import asyncio
import socket
import ssl
from pathlib import Path
from typing import cast

from qpidha.addresses import address_text
from qpidha.checks import (
    ADDRESS,
    CALLBACK,
    FLAG,
    PAIR,
    PATH,
    SECONDS_OR_ZERO,
    check_connect,
    instance_of,
    optional,
)
from qpidha.errors import LinkClosed, SettingsError
from qpidha.events import LinkFromPeerFailed
from qpidha.interfaces import Link, LinkFactory, Listener, TroubleSink
from qpidha.system.handshake import CURRENT, Handshake, TellingObject
from qpidha.system.roles import PEER, not_for
from qpidha.transports.certificates import Certificates
from qpidha.transports.sockets import as_link_closed, destination, is_loopback, refuses
from qpidha.transports.stream import TcpLink
from qpidha.transports.tcplistener import TcpListener, guard
from qpidha.transports.tls import require_verifying
from qpidha.transports.tlslistener import BACKLOG, TlsListener
from qpidha.types import Address, PeerInfo

TLS_HANDSHAKE_TIMEOUT_S = 10.0
"""A peer that has not finished the TLS handshake by then is dropped."""
CONTEXT = optional(instance_of(ssl.SSLContext, what="an SSLContext"))


class TcpTransport:
    """A `Transport`. One instance serves a node's listener and all of its outgoing links."""

    def __init__(
        self,
        *,
        ssl_context_server: ssl.SSLContext | None = None,
        ssl_context_client: ssl.SSLContext | None = None,
        insecure: bool = False,
        roles_required: bool = False,
    ) -> None:
        """Without contexts links are plain text, between loopback addresses only.

        Args:
            ssl_context_server: For `listen`. It must require a certificate of the peer.
            ssl_context_client: For `connect`. The same.
            insecure: Allow plain text on any address, and contexts that do not verify the peer. Anyone who
                can reach the port can then read and change every message.
            roles_required: Refuse peers whose certificate has no role. One that has roles must have the one of a peer,
                whatever is given here.

        Raises:
            SettingsError: A context that does not verify the peer, roles without contexts, or a wrong type.
        """
        CONTEXT("ssl_context_server", ssl_context_server, SettingsError)
        CONTEXT("ssl_context_client", ssl_context_client, SettingsError)
        FLAG("insecure", insecure, SettingsError)
        FLAG("roles_required", roles_required, SettingsError)
        if roles_required and ssl_context_server is None and ssl_context_client is None:
            raise SettingsError("roles_required needs TLS: roles are in certificates")
        self._roles_required = roles_required
        self._server = ssl_context_server
        self._client = ssl_context_client
        self._insecure = insecure
        self._certificates: Certificates | None = None
        self._troubles: TroubleSink | None = None
        if not insecure:
            for context, name in ((self._server, "ssl_context_server"), (self._client, "ssl_context_client")):
                if context is not None:
                    require_verifying(context, name)
        for context in (self._server, self._client):
            if context is not None and context.sslobject_class is ssl.SSLObject:
                context.sslobject_class = TellingObject

    @classmethod
    def with_certificates(
        cls,
        *,
        ca: str | Path,
        certificate: str | Path,
        key: str | Path | None = None,
        crl: str | Path | None = None,
        roles_required: bool = False,
    ) -> TcpTransport:
        """TLS with this certificate for both directions; peers must have one signed by ``ca``.

        The files are checked before each new link, and are used from then on if they have changed and are
        valid: renew them in place. Open links are not affected.

        Args:
            ca: PEM file with the authority that signs the nodes' certificates, and nothing else.
            certificate: PEM file with this node's chain. A DNS or URI name, or the common name, is its id. With roles
                (URIs such as ``qpidha:peer``) it must have the one of a peer.
            key: PEM file with the private key, not encrypted; of this user or root, mode 0600, or 0640 with a
                group of this process. None: it is in ``certificate``.
            crl: PEM file with the authority's list of revoked certificates, which must not be out of date: a node
                whose list is opens and accepts no link. None: no certificate is taken for revoked.
            roles_required: Certificates without a role are refused, this node's own, too. Otherwise they count as peers'.

        Raises:
            SettingsError: A file cannot be used, the key is not private, or the certificate is not one for a peer.
        """
        PATH("ca", ca, SettingsError)
        PATH("certificate", certificate, SettingsError)
        optional(PATH)("key", key, SettingsError)
        optional(PATH)("crl", crl, SettingsError)
        FLAG("roles_required", roles_required, SettingsError)
        certificates = Certificates(ca, certificate, key, crl, roles_required=roles_required)
        transport = cls(
            ssl_context_server=certificates.server,
            ssl_context_client=certificates.client,
            roles_required=roles_required,
        )
        transport._certificates = certificates
        return transport

    # --- what it tells ---------------------------------------------------------------------------

    @property
    def credentials(self) -> int:
        """Counts the certificate files that were used."""
        self._refresh()
        return self._certificates.version if self._certificates else 0

    @property
    def certificate_days_left(self) -> float | None:
        """Until this node's certificate expires; negative: since it did. None: it is not read from files."""
        return self._certificates.days_left if self._certificates else None

    def tell_to(self, troubles: TroubleSink) -> None:
        """Report handshakes that fail, and certificates that expire or cannot be read, to this from now on."""
        self._troubles = troubles
        self.tick()

    def tick(self) -> None:
        """Look at the certificate files, and at the time that they have left."""
        self._refresh()
        if self._certificates and self._troubles:
            self._certificates.tell(self._troubles)

    def _refresh(self) -> None:
        if self._certificates:
            self._certificates.refresh()
            self._server, self._client = self._certificates.server, self._certificates.client

    def _not_a_peer(self, peer: PeerInfo) -> str | None:
        """Why the certificate at the other end is not one for links; None: it is."""
        if PEER in peer.roles or not (peer.roles or self._roles_required):
            return None
        return f"its certificate {not_for(PEER, peer.roles)}"

    def _handshake_failed(self, host: str, error: LinkClosed) -> None:
        if self._troubles:
            self._troubles.report(LinkFromPeerFailed(host, str(error)))

    # --- links -----------------------------------------------------------------------------------

    async def listen(self, address: Address, on_link: LinkFactory) -> Listener:
        """Accept links until the listener is closed; see `qpidha.interfaces.Transport`."""
        ADDRESS("address", address)
        CALLBACK("on_link", on_link)
        loop = asyncio.get_running_loop()
        if self._server is None:
            await self._require_loopback(address, "listen on")
        if self._server is not None:
            return await self._listen_tls(address, on_link)
        listener = TcpListener(loop, on_link)
        server = await loop.create_server(listener.accept, *address, backlog=BACKLOG)
        listener.bound(server)
        return listener

    async def _listen_tls(self, address: Address, on_link: LinkFactory) -> TlsListener:
        loop = asyncio.get_running_loop()
        guarded = guard(loop, on_link)

        def context() -> ssl.SSLContext:
            self._refresh()
            assert self._server is not None
            return self._server

        listener = TlsListener(
            lambda check: TcpLink(loop, guarded, check),
            self._not_a_peer,
            context,
            self._handshake_failed,
            handshake_timeout_s=TLS_HANDSHAKE_TIMEOUT_S,
        )
        await listener.listen(address)
        return listener

    async def connect(
        self, address: Address, on_link: LinkFactory, *, timeout_s: float, expect: str | None = None
    ) -> Link:
        """Open a link; see `qpidha.interfaces.Transport`.

        With TLS 1.3 a peer that refuses our certificate says so after its own handshake: the link opens
        and is closed again with that error.
        """
        check_connect(address, on_link, timeout_s, expect)
        self._refresh()
        if self._client is None:
            await self._require_loopback(address, "connect to")
        loop = asyncio.get_running_loop()
        link = TcpLink(loop, on_link, lambda peer: _unexpected(peer, expect) or self._not_a_peer(peer))
        what = f"cannot connect to {address_text(address)}"
        handshake = Handshake()
        try:
            await asyncio.wait_for(self._open(loop, link, address, handshake), timeout_s)
        except asyncio.TimeoutError:
            link.abandon()
            if handshake.error is not None:
                raise cast(LinkClosed, as_link_closed(handshake.error, what)) from handshake.error
            raise LinkClosed(f"{what}: no answer in {timeout_s} s") from None
        except (OSError, ValueError, OverflowError) as error:
            closed = as_link_closed(handshake.error or error, what)
            assert closed is not None
            raise closed from error
        except BaseException:
            link.abandon()
            raise
        if link.refused is not None:
            raise link.refused
        return link

    async def refuses(self, address: Address, *, timeout_s: float) -> bool:
        """See `qpidha.interfaces.ProbingTransport`. Nothing is sent, so it is allowed in plain text to any address."""
        PAIR("address", address)
        SECONDS_OR_ZERO("timeout_s", timeout_s)
        try:
            return await asyncio.wait_for(refuses(asyncio.get_running_loop(), address), timeout_s)
        except (asyncio.TimeoutError, OSError, ValueError, OverflowError):
            return False

    async def _open(
        self, loop: asyncio.AbstractEventLoop, link: TcpLink, address: Address, handshake: Handshake
    ) -> None:
        context = self._client
        where = await destination(loop, address)
        if context is None:
            await loop.create_connection(lambda: link, **where)
            return
        CURRENT.set(handshake)
        await loop.create_connection(
            lambda: link,
            **where,
            ssl=context,
            server_hostname=address[0] if context.check_hostname else "",
            ssl_handshake_timeout=TLS_HANDSHAKE_TIMEOUT_S,
        )

    async def _require_loopback(self, address: Address, doing: str) -> None:
        """Plain text stays on this machine. Every address that the name stands for is looked at."""
        if self._insecure:
            return
        host, port = address
        if self._server is not None or self._client is not None:
            raise SettingsError(
                f"cannot {doing} {address_text(address)}: there is no TLS context for this direction"
            )
        found: set[str] = set()
        if host and not is_loopback(host):
            loop = asyncio.get_running_loop()
            try:
                infos = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
            except (OSError, ValueError, OverflowError):
                return  # The next bind or connect raises the same error, with its own type.
            found = {str(info[4][0]) for info in infos}
        if not (is_loopback(host) or (found and all(is_loopback(each) for each in found))):
            raise SettingsError(
                f"cannot {doing} {address_text(address)} in plain text: it is not a loopback address; "
                "use TcpTransport.with_certificates, or insecure=True"
            )


def _unexpected(peer: PeerInfo, expect: str | None) -> str | None:
    if expect is None or peer.identity is None or expect in peer.identity:
        return None
    names = ", ".join(sorted(peer.identity)) or "no name"
    return f"expected node {expect!r}, but its certificate is for {names}"
