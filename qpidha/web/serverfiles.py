"""TLS of the HTTP port: a certificate that browsers and Prometheus verify, and those of clients; renewed in place."""

from __future__ import annotations

import ssl
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from qpidha.checks import PATH, optional
from qpidha.errors import SettingsError
from qpidha.system.handshake import Handshake, TellingObject
from qpidha.system.keyfiles import file_stamp, require_private_file
from qpidha.system.words import in_words

PEM_CERTIFICATE, PEM_LIST = b"BEGIN CERTIFICATE", b"BEGIN X509 CRL"


class PortContext(ssl.SSLContext):
    """The context of a server that is given only one: each handshake uses the newest of the others."""

    newest: ssl.SSLContext

    def wrap_bio(self, *args: Any, **options: Any) -> ssl.SSLObject:
        """As its base class. A client whose certificate is refused is sent the reason."""
        made = self.newest.wrap_bio(*args, **options)
        assert isinstance(made, TellingObject)
        made.handshake = Handshake()
        return made


class ServerFiles:
    """PEM files of an HTTPS server. Renew them in place: new connections use what is valid in them.

    Clients show tokens (`Tokens`), certificates with a role, or both.
    """

    def __init__(
        self,
        certificate: str | Path,
        key: str | Path | None = None,
        *,
        clients: str | Path | None = None,
        crl: str | Path | None = None,
    ) -> None:
        """Read the files.

        Args:
            certificate: The server's chain.
            key: Its private key, readable by its owner only. None: it is in ``certificate``.
            clients: The authority of certificates that operators and viewers may show. None: nobody is asked for one.
            crl: That authority's list of revoked certificates, which must not be out of date. None: none is revoked.

        Raises:
            SettingsError: A file cannot be read or used, the key is not private, or there is a list without ``clients``.
        """
        PATH("certificate", certificate, SettingsError)
        for name, path in (("key", key), ("clients", clients), ("crl", crl)):
            optional(PATH)(name, path, SettingsError)
        if crl is not None and clients is None:
            raise SettingsError("crl is the list of the authority of clients: give clients, too")
        self._certificate, self._key, self._clients, self._crl = certificate, key, clients, crl
        self.context = PortContext(ssl.PROTOCOL_TLS_SERVER)
        """For all connections: each uses the files that are valid when it begins."""
        self._seen = self._look()
        self.context.newest = self._loaded()
        self.fault = ""
        """Why files that have changed are not used; "": they are used."""

    def __repr__(self) -> str:
        return f"ServerFiles({str(self._certificate)!r})"

    @property
    def asks_clients(self) -> bool:
        """Whether clients are asked for certificates."""
        return self._clients is not None

    def refresh(self) -> None:
        """Load the files again if they have changed. If they cannot be used, the old ones go on being used."""
        seen = self._look()
        if seen == self._seen and not self.fault:
            return
        try:
            self.context.newest = self._loaded()
            self._seen, self.fault = seen, ""
        except SettingsError as error:
            self.fault = str(error)

    def shown(self, connection: object, now: float) -> Mapping[str, Any] | None:
        """The certificate that the client of a connection (its ``ssl_object``) has shown, at this time since 1970.

        None: it has shown none, or it must connect again, because its certificate has expired since, or the files have
        changed and it may be revoked.
        """
        if not isinstance(connection, ssl.SSLObject) or connection.context is not self.context.newest:
            return None
        certificate = connection.getpeercert()
        if not certificate or ssl.cert_time_to_seconds(str(certificate["notAfter"])) <= now:
            return None
        return certificate

    def _look(self) -> list[tuple[int, ...] | None]:
        files = self._certificate, self._key, self._clients, self._crl
        return [file_stamp(path) for path in files if path is not None]

    def _loaded(self) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.sslobject_class = TellingObject
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        require_private_file(self._certificate if self._key is None else self._key)
        try:
            context.load_cert_chain(self._certificate, self._key, password="")
        except (OSError, ValueError) as error:
            raise SettingsError(f"cannot use certificate {self._certificate}: {in_words(error)}") from error
        if self._clients is not None:
            self._ask_clients(context, self._clients)
        return context

    def _ask_clients(self, context: ssl.SSLContext, clients: str | Path) -> None:
        """One that shows a certificate must show a valid one; health and tokens need none."""
        context.verify_mode = ssl.CERT_OPTIONAL
        context.num_tickets = 0  # Resumption would let a client outlive the revocation of its certificate.
        context.options |= ssl.OP_NO_TICKET | ssl.OP_NO_RENEGOTIATION
        for path, kind in ((clients, PEM_CERTIFICATE), (self._crl, PEM_LIST)):
            if path is None:
                continue
            try:
                there = kind in Path(path).read_bytes()
                context.load_verify_locations(cafile=path)
            except (OSError, ValueError) as error:
                raise SettingsError(f"cannot use {path} to verify clients: {in_words(error)}") from error
            if not there:
                raise SettingsError(f"cannot use {path} to verify clients: there is no {kind.decode()} in it")
        if self._crl is not None:
            context.verify_flags |= ssl.VERIFY_CRL_CHECK_LEAF
