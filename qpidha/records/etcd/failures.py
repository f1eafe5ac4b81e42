"""Failures of requests to etcd: what each one means for the request, who is at fault, and what to do."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Iterator
from dataclasses import dataclass

from qpidha.errors import ManagerRefused
from qpidha.system.words import in_words

TOKEN_FAULTS = ("invalid auth token", "revision of auth store is old")
REFUSALS = frozenset({3, 5, 6, 7, 8, 9, 11, 12, 16})
"""Status codes of gRPC with which etcd says that it has not done what was asked: a wrong argument, not found, exists
already, no permission, no space, wrong state, out of range, not implemented, not authenticated. The others (time-out,
not available, internal) leave it open."""


class AttemptFailed(Exception):
    """One endpoint did not do what was asked, or has not said so. Another one may."""

    def __init__(self, reason: str, *, sent: bool) -> None:
        super().__init__(reason)
        self.sent = sent
        """It may have been done, or be done later."""


class TokenRefused(Exception):
    """The token of the login is not valid any more. Nothing was done."""


class Refusal(Exception):
    """etcd has answered that it does not do this. Nothing was done."""

    def __init__(self, code: int, reason: str) -> None:
        super().__init__(reason)
        self.code = code


@dataclass(frozen=True, slots=True)
class Caller:
    """What error messages say of the caller."""

    user: str | None
    prefix: str


def explained(refusal: Refusal, endpoint: str, caller: Caller) -> ManagerRefused:
    """The error for a refusal, with what to do."""
    reason, what = str(refusal), ""
    if "authentication failed" in reason:
        what = f"user {caller.user!r} or the password is wrong"
    elif "authentication is not enabled" in reason:
        what = (
            f"a user {caller.user!r} was given, and etcd has authentication switched off. If it was reset, restore it; "
            "else enable authentication, or give no user"
        )
    elif "user name is empty" in reason or "invalid auth token" in reason:
        what = "authentication is enabled: give a user and a password"
    elif refusal.code == 7:
        what = (
            f"grant user {caller.user!r} a role with readwrite permission for the keys from {caller.prefix}/ to "
            f"{caller.prefix}0"
        )
    elif "database space exceeded" in reason:
        what = "etcd is full: compact and defragment it, and disarm its alarm"
    elif "request is too large" in reason or "larger than max" in reason:
        what = "the record does not fit: raise --max-request-bytes of etcd"
    return ManagerRefused(f"etcd at {endpoint} refuses: {reason}" + (f". What to do: {what}" if what else ""))


def answered(status: int, code: object, reason: object, endpoint: str) -> Exception:
    """The error for an answer that is not a success."""
    words = str(reason).removeprefix("etcdserver: ")
    if any(fault in words for fault in TOKEN_FAULTS):
        return TokenRefused(words)
    if isinstance(code, int) and code in REFUSALS:
        return Refusal(code, words)
    if code is None and status == 404:
        return AttemptFailed(f"{endpoint} answers, and is not etcd 3.4 or later", sent=True)
    return AttemptFailed(f"{endpoint}: {words or f'HTTP status {status}'}", sent=True)


def causes(error: BaseException | None) -> Iterator[BaseException]:
    """An error, and what it came from."""
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        yield error
        error = error.__cause__ or error.__context__


def broken(error: Exception, endpoint: str, *, connected: bool) -> AttemptFailed:
    """The error for a connection that failed. ``connected``: bytes of the request may have been sent."""
    for cause in causes(error):
        if isinstance(cause, ssl.SSLCertVerificationError) and (
            found := getattr(cause, "verify_message", None)
        ):
            why = (
                f"{endpoint}: its certificate is not accepted ({found}): check the authority, and that "
                "the certificate names this host"
            )
            return AttemptFailed(why, sent=False)
        if isinstance(cause, ssl.SSLError) and "ALERT" in (reason := getattr(cause, "reason", None) or ""):
            # The alert of a handshake: the server has read no request. With TLS 1.3 it comes after ours is written.
            why = f"{endpoint}: it does not accept the certificate of this node ({reason})"
            return AttemptFailed(why, sent=False)
    if isinstance(error, asyncio.TimeoutError):
        what = "no answer in time" if connected else "no connection in time"
    else:
        what = in_words(error)
    return AttemptFailed(f"{endpoint}: {what}", sent=connected)
