"""TLS of the HTTP port: a certificate that browsers and Prometheus verify, renewed in place."""

from __future__ import annotations

import ssl
from pathlib import Path

from qpidha.checks import PATH, optional
from qpidha.errors import SettingsError
from qpidha.system.keyfiles import file_stamp, require_private_file


class ServerFiles:
    """PEM files of an HTTPS server. Renew them in place: new connections use what is valid in them.

    Clients show tokens (`Tokens`), not certificates.
    """

    def __init__(self, certificate: str | Path, key: str | Path | None = None) -> None:
        """Read the files.

        Args:
            certificate: The server's chain.
            key: Its private key, readable by its owner only. None: it is in ``certificate``.

        Raises:
            SettingsError: A file cannot be read or used, or the key is not private.
        """
        PATH("certificate", certificate, SettingsError)
        optional(PATH)("key", key, SettingsError)
        self._certificate, self._key = certificate, key
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        """For all connections; a renewed certificate is loaded into it."""
        self.context.minimum_version = ssl.TLSVersion.TLSv1_2
        self._seen = self._look()
        self._load(self.context)
        self.fault = ""
        """Why files that have changed are not used; "": they are used."""

    def __repr__(self) -> str:
        return f"ServerFiles({str(self._certificate)!r})"

    def refresh(self) -> None:
        """Load the files again if they have changed. If they cannot be used, the old ones go on being used."""
        seen = self._look()
        if seen == self._seen and not self.fault:
            return
        try:
            self._load(
                ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            )  # A failure must not leave half a pair in ours.
            self._load(self.context)
            self._seen, self.fault = seen, ""
        except SettingsError as error:
            self.fault = str(error)

    def _look(self) -> list[tuple[int, ...] | None]:
        return [file_stamp(path) for path in (self._certificate, self._key) if path is not None]

    def _load(self, context: ssl.SSLContext) -> None:
        require_private_file(self._certificate if self._key is None else self._key)
        try:
            context.load_cert_chain(self._certificate, self._key, password="")
        except (OSError, ValueError) as error:
            raise SettingsError(f"cannot use certificate {self._certificate}: {error}") from error
