"""TLS as nodes use it: both ends show a certificate of one private authority, nothing older than 1.2.

The names in a verified certificate are compared with node ids, not with host names: a node keeps its
name when it moves. So host name checks are off here and the link is refused by `TcpTransport` instead.
"""

from __future__ import annotations

import ssl
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from qpidha.errors import SettingsError
from qpidha.system.handshake import TellingContext
from qpidha.system.keyfiles import require_private_file
from qpidha.system.roles import is_role
from qpidha.system.words import in_words


def server_context(
    ca: str | Path, certificate: str | Path, key: str | Path | None, crl: str | Path | None = None
) -> ssl.SSLContext:
    """For accepting links. ``crl``: the authority's list of revoked certificates; None: none is asked for.

    Raises:
        SettingsError: A file cannot be read or used, or the key is not private.
    """
    context = TellingContext(ssl.PROTOCOL_TLS_SERVER)
    context.num_tickets = 0  # Resumption would let a link outlive the revocation of its certificate.
    return _prepare(context, ca, certificate, key, crl)


def client_context(
    ca: str | Path, certificate: str | Path, key: str | Path | None, crl: str | Path | None = None
) -> ssl.SSLContext:
    """For opening links. Raises the same as `server_context`."""
    context = TellingContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False  # `peer_names` is checked against the node id.
    return _prepare(context, ca, certificate, key, crl)


def _prepare(
    context: ssl.SSLContext,
    ca: str | Path,
    certificate: str | Path,
    key: str | Path | None,
    crl: str | Path | None,
) -> ssl.SSLContext:
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.verify_mode = ssl.CERT_REQUIRED
    context.options |= ssl.OP_NO_TICKET | ssl.OP_NO_COMPRESSION | ssl.OP_NO_RENEGOTIATION
    require_private_file(certificate if key is None else key)
    try:
        context.load_verify_locations(cafile=ca)
        # An empty password makes an encrypted key an error; without one OpenSSL would ask at the terminal.
        context.load_cert_chain(certificate, key, password="")
    except (OSError, ValueError) as error:
        raise SettingsError(
            f"cannot use certificate {certificate} with authority {ca}: {in_words(error)}"
        ) from error
    if crl is not None:
        _refuse_revoked(context, crl)
    return context


def _refuse_revoked(context: ssl.SSLContext, crl: str | Path) -> None:
    """Ask for a list that is of the authority and not out of date, and refuse the certificates that are in it."""
    try:
        there = b"-----BEGIN X509 CRL-----" in Path(crl).read_bytes()
        context.load_verify_locations(cafile=crl)
    except (OSError, ValueError) as error:
        raise SettingsError(f"cannot use the revocation list {crl}: {in_words(error)}") from error
    if not there:
        raise SettingsError(f"cannot use the revocation list {crl}: there is none in PEM in it")
    context.verify_flags |= ssl.VERIFY_CRL_CHECK_LEAF


def require_verifying(context: ssl.SSLContext, what: str) -> None:
    """Raise `SettingsError` if this context would accept a peer without a valid certificate."""
    if context.verify_mode is not ssl.CERT_REQUIRED:
        raise SettingsError(f"{what} does not verify the peer: its verify_mode is not CERT_REQUIRED")


def peer_names(certificate: Mapping[str, Any] | None) -> frozenset[str] | None:
    """DNS and URI names and the common name in ``SSLObject.getpeercert()``, without roles. None: nothing was verified."""
    if not certificate:
        return None
    alternative = certificate.get("subjectAltName", ())
    names = {value for kind, value in alternative if kind in ("DNS", "URI") and not is_role(value)}
    for relative_name in certificate.get("subject", ()):
        names.update(value for kind, value in relative_name if kind == "commonName")
    return frozenset(names)
