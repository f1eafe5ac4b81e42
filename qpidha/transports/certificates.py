"""The certificate files of one node: load them, reload them when they change, warn before they expire."""

from __future__ import annotations

import re
import ssl
import time
from collections.abc import Callable
from datetime import datetime, timezone
from pathlib import Path

from qpidha.errors import SettingsError
from qpidha.events import CertificateExpires, RenewedCertificateUnusable
from qpidha.interfaces import TroubleSink
from qpidha.system.keyfiles import file_stamp
from qpidha.transports.tls import client_context, server_context

WARN_DAYS = (30, 7, 1)
"""A warning is reported this many days before a certificate expires."""
WARN_SHARE = 1 / 3
"""No warning while more than this share of its life is left: a certificate for one day is renewed every day."""

_PEM = re.compile(r"-----BEGIN CERTIFICATE-----.*?-----END CERTIFICATE-----", re.DOTALL)


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
        now: Callable[[], float] = time.time,
    ) -> None:
        """Raises `SettingsError` if a file cannot be used. ``now``: seconds since 1970."""
        self._ca, self._certificate, self._key, self._crl = ca, certificate, key, crl
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
        self.not_before, self.not_after = validity_of(self._certificate)
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


def validity_of(certificate: str | Path) -> tuple[datetime, datetime]:
    """From when until when the first certificate in this PEM file is valid. Raises `SettingsError`."""
    try:
        found = _PEM.search(Path(certificate).read_text("utf-8", "replace"))
        return validity(ssl.PEM_cert_to_DER_cert(found.group()) if found else b"")
    except (OSError, ValueError) as error:
        raise SettingsError(f"cannot use certificate {certificate}: {error}") from error


def validity(der: bytes) -> tuple[datetime, datetime]:
    """From when until when an X.509 certificate is valid. Raises `ValueError` if it is none.

    The `ssl` module tells it of peers and authorities only. Certificate, TBSCertificate: an optional version, the
    serial number, the algorithm, the issuer, then the validity: two times (RFC 5280, section 4.1).
    """
    tbs = _elements(_elements(_elements(der)[0][1])[0][1])
    at = 1 if tbs and tbs[0][0] == 0xA0 else 0
    if len(tbs) < at + 4:
        raise ValueError("it is no X.509 certificate")
    times = _elements(tbs[at + 3][1])
    if len(times) != 2:
        raise ValueError("its validity is not two times")
    return _time(*times[0]), _time(*times[1])


def _time(tag: int, content: bytes) -> datetime:
    text = content.decode("utf-8", "replace")
    if tag == 0x17:  # UTCTime has two digits of the year: 1950 to 2049.
        text = ("19" if text[:2] >= "50" else "20") + text
    if len(text) != 15 or not (text[:14].isascii() and text[:14].isdigit() and text[14] == "Z"):
        raise ValueError(f"{text!r} is not a time")
    year, month, day, hour, minute, second = (
        int(text[:4]),
        *(int(text[at : at + 2]) for at in range(4, 14, 2)),
    )
    return datetime(year, month, day, hour, minute, second, tzinfo=timezone.utc)


def _elements(der: bytes) -> list[tuple[int, bytes]]:
    """The tags and contents of consecutive DER elements."""
    found, at = [], 0
    while at < len(der):
        if at + 2 > len(der):
            raise ValueError("it ends within a field")
        tag, size = der[at], der[at + 1]
        at += 2
        if size & 0x80:
            count = size & 0x7F
            size = int.from_bytes(der[at : at + count], "big")
            at += count
        if at + size > len(der):
            raise ValueError("it ends within a field")
        found.append((tag, der[at : at + size]))
        at += size
    if not found:
        raise ValueError("it is empty")
    return found
