"""TLS handshakes whose failures are explained to both ends, in plain words.

When a handshake fails, asyncio drops the alert that the TLS library still had to send, which tells the peer the reason;
and it does not report a failed handshake on the accepting side. So the objects here keep the error, and fail one step
later, after the alert was sent.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable
from contextvars import ContextVar
from typing import Any

CURRENT: ContextVar[Handshake | None] = ContextVar("qpidha-handshake", default=None)
"""The handshake that the task which opens a connection waits for. asyncio's callbacks inherit it."""


class Handshake:
    """The outcome of one handshake."""

    def __init__(self, on_error: Callable[[], object] | None = None) -> None:
        """``on_error`` is called when it has failed, just before the alert is sent."""
        self.error: ssl.SSLError | None = None
        """Why it failed."""
        self.steps = 0
        """How many steps the handshake took; the first step is before anything was received."""
        self._on_error = on_error

    def failed(self, error: ssl.SSLError) -> None:
        """Keep the error of a handshake that failed, and call ``on_error``."""
        self.error = error
        if self._on_error is not None:
            self._on_error()


class TellingObject(ssl.SSLObject):
    """An `SSLObject` that reports a failed handshake after its alert was sent: see the module."""

    handshake: Handshake | None = None
    writes = 0
    """Counts the calls of `write`."""

    def write(self, data: Any) -> int:
        """As its base class."""
        self.writes += 1
        return super().write(data)

    def do_handshake(self) -> None:
        """As its base class, but a failure is raised by the next call: asyncio sends the alert in between."""
        told = self.handshake
        if told is None:
            super().do_handshake()
            return
        if told.error is not None:
            raise told.error
        told.steps += 1
        try:
            super().do_handshake()
        except (ssl.SSLWantReadError, ssl.SSLWantWriteError):
            raise
        except ssl.SSLError as error:
            told.failed(error)
            raise ssl.SSLWantReadError(ssl.SSL_ERROR_WANT_READ, "the alert is sent first") from None


class TellingContext(ssl.SSLContext):
    """An `SSLContext` whose handshakes are reported to `CURRENT`."""

    sslobject_class = TellingObject

    def wrap_bio(self, *args: Any, **options: Any) -> ssl.SSLObject:
        """As its base class."""
        made = super().wrap_bio(*args, **options)
        if isinstance(made, TellingObject):
            made.handshake = CURRENT.get()
        return made


def counting_object(transport: asyncio.Transport) -> TellingObject | None:
    """The TLS object of a connection whose loop does not say that the peer has closed. None: its loop says so.

    While bytes wait for a peer that has closed, uvloop drops what is written, and says nothing before those are sent:
    only that the object is not called shows it.
    """
    made = transport.get_extra_info("ssl_object")
    of_asyncio = type(transport).__module__.startswith("asyncio.")
    return made if isinstance(made, TellingObject) and not of_asyncio else None


# --- words ---------------------------------------------------------------------------------------

OURS = "the other end refuses this node's certificate: "
NO_TLS = "the other end does not speak TLS, or not this one"
UNVERIFIED: dict[int, str] = {
    3: "there is no revocation list of the authority of its certificate in this node's file",
    8: "this node's revocation list is not signed by the authority that it names",
    9: "its certificate is not valid yet: is a clock wrong?",
    10: "its certificate has expired",
    11: "this node's revocation list is not valid yet: is a clock wrong?",
    12: "this node's revocation list is out of date: renew it",
    18: "its certificate is not signed by an authority that this node knows",
    19: "its certificate is of an authority that this node does not know",
    20: "its certificate is of an authority that this node does not know",
    21: "its certificate is of an authority that this node does not know",
    23: "its certificate was revoked",
}
"""By the code of X509_verify_cert: why this node refuses the certificate of the other end."""
REASONS: dict[str, str] = {
    "TLSV1_ALERT_UNKNOWN_CA": OURS + "it is of an authority that the other end does not know",
    "SSLV3_ALERT_CERTIFICATE_EXPIRED": OURS + "it has expired, or a clock is wrong",
    "SSLV3_ALERT_CERTIFICATE_REVOKED": OURS + "it was revoked",
    "SSLV3_ALERT_BAD_CERTIFICATE": OURS + "it cannot be used",
    "SSLV3_ALERT_CERTIFICATE_UNKNOWN": OURS + "for a reason that it does not tell",
    "SSLV3_ALERT_UNSUPPORTED_CERTIFICATE": OURS + "it is of a kind that it does not support",
    "TLSV13_ALERT_CERTIFICATE_REQUIRED": OURS + "none was shown",
    "PEER_DID_NOT_RETURN_A_CERTIFICATE": "the other end shows no certificate",
    "TLSV1_ALERT_PROTOCOL_VERSION": "the two ends have no TLS version in common",
    "UNSUPPORTED_PROTOCOL": "the two ends have no TLS version in common",
    "NO_SHARED_CIPHER": "the two ends have no cipher in common",
    "SSLV3_ALERT_HANDSHAKE_FAILURE": "the other end refuses the handshake: a cipher, or a certificate that is missing",
    "WRONG_VERSION_NUMBER": NO_TLS,
    "UNKNOWN_PROTOCOL": NO_TLS,
    "HTTP_REQUEST": NO_TLS,
    "PACKET_LENGTH_TOO_LONG": NO_TLS,
    "RECORD_LAYER_FAILURE": NO_TLS,
}
"""By what OpenSSL calls the error."""


def plain_words(error: BaseException) -> str | None:
    """What a TLS error means; None if it is none, or one without words here. What OpenSSL calls it is added."""
    if isinstance(error, ssl.SSLCertVerificationError):
        words = UNVERIFIED.get(error.verify_code)
        return f"{words} ({error.verify_message})" if words else None
    reason = getattr(error, "reason", None) if isinstance(error, ssl.SSLError) else None
    return f"{REASONS[reason]} ({reason})" if reason in REASONS else None
