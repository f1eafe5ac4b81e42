"""Addresses of an engine's servers and the login there: the rules that the record stores share."""

from __future__ import annotations

import ipaddress
import re
import ssl
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from qpidha.checks import Rule, instance_of, optional, text
from qpidha.errors import SettingsError, Unavailable
from qpidha.records.tls import TlsFiles
from qpidha.system.keyfiles import require_private_file
from qpidha.system.words import in_words

_ADDRESS = re.compile(r"(?:\[(?P<six>[0-9A-Fa-f:.]+)\]|(?P<host>[A-Za-z0-9._-]+)):(?P<port>\d{1,5})")
ADDRESSES = Rule(
    "a list of addresses, each 'host:port'",
    lambda value: isinstance(value, (list, tuple)) and bool(value) and all(address(one) for one in value),
)
TLS = optional(instance_of(ssl.SSLContext, TlsFiles))
NAME = text(1, 4000)
USER = Rule("None or a name", lambda value: value is None or (NAME.fits(value) and "\0" not in value))


@dataclass(frozen=True, slots=True)
class Address:
    """Where a server listens."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def address(text: object) -> Address | None:
    """The address that a text names; None: it is none."""
    found = _ADDRESS.fullmatch(text) if isinstance(text, str) else None
    if found is None or not 0 < int(found["port"]) <= 65_535:
        return None
    return Address(found["six"] or found["host"], int(found["port"]))


def check_password(user: str | None, password: object) -> None:
    """Raise `SettingsError` if only one of both is given, or the password has a wrong type. It is not shown."""
    if password is not None and not isinstance(password, (str, Path)):
        raise SettingsError(f"password must be text or the Path of a file, not a {type(password).__name__}")
    if (user is None) != (password is None):
        raise SettingsError("user and password belong together: give both or none")


def read_password(password: str | Path | None, engine: str) -> str:
    """The password, from its file if it is a path. Raises `Unavailable` if that cannot be read or is not private."""
    if not isinstance(password, Path):
        return password or ""
    try:
        require_private_file(password)
        return password.read_text("utf-8").rstrip("\r\n")
    except (OSError, ValueError) as error:
        why = in_words(error).replace("key file", "password file", 1)
        raise Unavailable(f"cannot log in to {engine}: {why}") from error


def check_secrecy(addresses: Sequence[Address], tls: object, *, insecure: bool) -> None:
    """Raise `SettingsError` for plain text to other machines and for TLS without verification."""
    if insecure:
        return
    if isinstance(tls, ssl.SSLContext) and tls.verify_mode is not ssl.CERT_REQUIRED:
        raise SettingsError("tls does not verify the peer: its verify_mode is not CERT_REQUIRED")
    if tls is None and (open_ones := [str(one) for one in addresses if not _is_loopback(one.host)]):
        raise SettingsError(
            f"plain text to {', '.join(open_ones)}: give tls, or insecure=True if nobody else can reach that network"
        )


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
