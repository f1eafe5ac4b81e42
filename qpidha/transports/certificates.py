"""The certificate files of one node: load them, reload them when they change, warn before they expire."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

from qpidha.errors import SettingsError
from qpidha.events import CertificateExpires, RenewedCertificateUnusable
from qpidha.interfaces import TroubleSink
from qpidha.system.keyfiles import file_stamp
from qpidha.system.roles import PEER, not_for, role_names
from qpidha.transports.tls import client_context, server_context
from qpidha.transports.x509 import read_facts

WARN_DAYS = (30, 7, 1)
"""A warning is reported this many days before a certificate expires."""
WARN_SHARE = 1 / 3
"""No warning while more than this share of its life is left: a certificate for one day is renewed every day."""


class Certificates:
    """The files and the TLS contexts made of them.

    Invariants:
      - `server` and `client` are made of the same files, which were valid when they were read
      - files that have changed and cannot be used change nothing; they are read again until they can be used
    """

    def __init__(
        self,
        ca: str | Path,
        certificate: str | Path,
        key: str | Path | None,
        crl: str | Path | None = None,
        *,
        roles_required: bool = False,
        now: Callable[[], float] = time.time,
    ) -> None:
        """Raises `SettingsError` if a file cannot be used. ``now``: seconds since 1970."""
        self._ca, self._certificate, self._key, self._crl = ca, certificate, key, crl
        self._roles_required = roles_required
        self._now = now
        self._seen = self._look()
        self._read()
        self._warned: int | None = None
        self.version = 1
        """Counts the files that were used."""
        self.fault = ""
        """Why files that have changed are not used."""

    def _read(self) -> None:
        server = server_context(self._ca, self._certificate, self._key, self._crl)
        client = client_context(self._ca, self._certificate, self._key, self._crl)
        found = read_facts(self._certificate)
        roles = role_names(found.uris)
        if PEER not in roles and (roles or self._roles_required):  # Each of its links would be refused.
            raise SettingsError(f"certificate {self._certificate} {not_for(PEER, roles)}")
        self.not_before, self.not_after = found.not_before, found.not_after
        self.server, self.client = server, client

    def _look(self) -> list[tuple[int, ...] | None]:
        """What changes when a file is replaced or written to. Links are followed."""
        files = self._ca, self._certificate, self._key, self._crl
        return [file_stamp(path) for path in files if path is not None]

    def refresh(self) -> None:
        """Use the current files if they have changed and are valid. Takes some microseconds if they have not changed."""
        seen = self._look()
        if seen == self._seen and not self.fault:
            return
        try:
            self._read()
        except SettingsError as error:
            self.fault = f"{error}; the certificate that was read before is still used"
        else:
            self._seen, self.fault = seen, ""
            self.version += 1

    @property
    def days_left(self) -> float:
        """Time until this node's certificate expires; negative: time since it did."""
        return (self.not_after.timestamp() - self._now()) / 86_400

    def _threshold(self) -> int | None:
        """The least of WARN_DAYS that has been reached; 0: it has expired; None: there is time."""
        left = self.days_left
        if left <= 0:
            return 0
        if left >= WARN_SHARE * (self.not_after - self.not_before).total_seconds() / 86_400:
            return None
        return min((days for days in WARN_DAYS if left < days), default=None)

    def tell(self, troubles: TroubleSink) -> None:
        """Report what is wrong with the files, and that the certificate is about to expire: once for each threshold."""
        if self.fault:
            troubles.report(RenewedCertificateUnusable(self.fault))
        else:
            troubles.clear(RenewedCertificateUnusable)
        reached = self._threshold()
        if reached == self._warned:
            return
        self._warned = reached
        when = self.not_after.strftime("%Y-%m-%d %H:%M:%S UTC")
        if reached is None:
            troubles.clear(CertificateExpires)
        else:
            troubles.report(CertificateExpires(str(self._certificate), reached, when))
