"""What a node reads in its own certificate: until when it is valid, and its URIs.

The `ssl` module tells it of peers and authorities only.
"""

from __future__ import annotations

import re
import ssl
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path

from qpidha.errors import SettingsError
from qpidha.system.words import in_words

_PEM = re.compile(r"-----BEGIN CERTIFICATE-----.*?-----END CERTIFICATE-----", re.DOTALL)
ALTERNATIVE_NAMES = bytes((0x55, 0x1D, 0x11))
"""The object id of subjectAltName, 2.5.29.17."""
VERSION, EXTENSIONS, URI = 0xA0, 0xA3, 0x86
"""Tags of what a certificate may have, and of one kind of name."""


@dataclass(frozen=True, slots=True)
class Facts:
    """Facts of one certificate."""

    not_before: datetime
    not_after: datetime
    uris: tuple[str, ...]


def read_facts(certificate: str | Path) -> Facts:
    """Of the first certificate in this PEM file. Raises `SettingsError`."""
    try:
        found = _PEM.search(Path(certificate).read_text("utf-8", "replace"))
        return facts(ssl.PEM_cert_to_DER_cert(found.group()) if found else b"")
    except (OSError, ValueError) as error:
        raise SettingsError(f"cannot use certificate {certificate}: {in_words(error)}") from error


def facts(der: bytes) -> Facts:
    """Of an X.509 certificate. Raises `ValueError` if it is none.

    Certificate, TBSCertificate: an optional version, the serial number, the algorithm, the issuer, then the validity: two
    times; the subject, its key, and what is optional (RFC 5280, section 4.1).
    """
    tbs = _elements(_elements(_elements(der)[0][1])[0][1])
    at = 1 if tbs and tbs[0][0] == VERSION else 0
    if len(tbs) < at + 4:
        raise ValueError("it is no X.509 certificate")
    times = _elements(tbs[at + 3][1])
    if len(times) != 2:
        raise ValueError("its validity is not two times")
    extensions = [content for tag, content in tbs[at + 4 :] if tag == EXTENSIONS]
    return Facts(_time(*times[0]), _time(*times[1]), tuple(_uris(extensions[0])) if extensions else ())


def _uris(extensions: bytes) -> list[str]:
    """Each extension: its object id, perhaps whether it is critical, then its value in an octet string."""
    found: list[str] = []
    for _, extension in _elements(_elements(extensions)[0][1]):
        id, *_, value = (content for _, content in _elements(extension))
        if id == ALTERNATIVE_NAMES:
            names = _elements(_elements(value)[0][1])
            found += [name.decode("ascii", "replace") for tag, name in names if tag == URI]
    return found


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
