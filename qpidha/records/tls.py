"""TLS to an engine that keeps the record: an authority and a certificate, from files that are renewed in place."""

from __future__ import annotations

import ssl
import time
from pathlib import Path

from qpidha.checks import PATH, optional
from qpidha.errors import SettingsError
from qpidha.system.keyfiles import file_stamp, require_private_file
from qpidha.system.words import in_words

LOOK_INTERVAL_S = 1.0
"""Files are looked at this often at most."""


class TlsFiles:
    """PEM files for connections to an engine. Renew them in place: new connections use what is valid in them."""

    def __init__(
        self, *, ca: str | Path, certificate: str | Path | None = None, key: str | Path | None = None
    ) -> None:
        """Read the files.

        Args:
            ca: The authority that signed the certificates of the engine's servers. Their host names are verified.
            certificate: This node's chain, for engines that want one.
            key: Its private key, readable by its owner only. None: it is in ``certificate``.

        Raises:
            SettingsError: A file cannot be read or used, or the key is not private.
        """
        PATH("ca", ca, SettingsError)
        optional(PATH)("certificate", certificate, SettingsError)
        optional(PATH)("key", key, SettingsError)
        if key is not None and certificate is None:
            raise SettingsError("key was given without the certificate that it belongs to")
        self._ca, self._certificate, self._key = ca, certificate, key
        self._looked_at = time.monotonic()
        self._seen = self._look()
        self._context = self._read()
        self.fault = ""
        """Why files that have changed are not used; "": they are used."""

    def __repr__(self) -> str:
        return f"TlsFiles(ca={str(self._ca)!r}, certificate={str(self._certificate)!r})"

    def context(self) -> ssl.SSLContext:
        """The context for new connections: another object once the files have changed and are valid."""
        if time.monotonic() - self._looked_at >= LOOK_INTERVAL_S:
            self._looked_at = time.monotonic()
            seen = self._look()
            if seen != self._seen or self.fault:
                self._use(seen)
        return self._context

    def _use(self, seen: list[tuple[int, ...] | None]) -> None:
        try:
            self._context = self._read()
        except SettingsError as error:
            self.fault = f"{error}; the files that were read before are still used"
        else:
            self._seen, self.fault = seen, ""

    def _look(self) -> list[tuple[int, ...] | None]:
        return [file_stamp(path) for path in (self._ca, self._certificate, self._key) if path is not None]

    def _read(self) -> ssl.SSLContext:
        if self._certificate is not None:
            require_private_file(self._certificate if self._key is None else self._key)
        try:
            context = ssl.create_default_context(cafile=self._ca)
            context.minimum_version = ssl.TLSVersion.TLSv1_2
            if self._certificate is not None:
                # An empty password makes an encrypted key an error; without one OpenSSL would ask at the terminal.
                context.load_cert_chain(self._certificate, self._key, password="")
        except (OSError, ValueError) as error:
            raise SettingsError(
                f"cannot use authority {self._ca} and certificate {self._certificate}: {in_words(error)}"
            ) from error
        return context
