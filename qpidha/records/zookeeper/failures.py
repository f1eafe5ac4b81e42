"""Failures of requests to ZooKeeper: what each one means for the request, who is at fault, and what to do."""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from dataclasses import dataclass
from types import ModuleType

from qpidha.errors import ManagerRefused, SettingsError
from qpidha.system.words import in_words

RESET = "Stop all nodes, then rebuild the record with `qpidha record rebuild`"
"""What to do when ZooKeeper lost what was written."""


class AttemptFailed(Exception):
    """A connection did not bring an answer. The next one may."""

    def __init__(self, reason: str, *, sent: bool) -> None:
        super().__init__(reason)
        self.sent = sent
        """It may have been done, or be done later."""


@dataclass(frozen=True, slots=True)
class Caller:
    """What error messages say of the caller."""

    user: str | None
    prefix: str


def require_kazoo() -> ModuleType:
    """The module `kazoo.exceptions`. Raises `SettingsError` if kazoo is not installed."""
    try:
        import kazoo.exceptions
    except ImportError as error:
        raise SettingsError(
            f"ZooKeeper needs kazoo 2.11 or later: pip install 'qpidha[zookeeper]' ({error})"
        ) from error
    found: ModuleType = kazoo.exceptions
    return found


def is_lost(error: Exception) -> bool:
    """Whether the connection ended before an answer, so that the request may have been done."""
    exceptions = require_kazoo()
    return isinstance(
        error,
        (
            exceptions.ConnectionLoss,
            exceptions.ConnectionClosedError,
            exceptions.SessionExpiredError,
            exceptions.SessionMovedError,
            exceptions.OperationTimeoutError,
        ),
    )


def explained(error: Exception, caller: Caller) -> ManagerRefused:
    """The error for an answer that ZooKeeper does not do it, with what to do."""
    exceptions, what = require_kazoo(), ""
    if isinstance(error, exceptions.NoAuthError):
        who = f"user {caller.user!r} with this password" if caller.user else "everybody"
        what = (
            f"let an administrator create {caller.prefix} with an ACL that gives all permissions to {who}, and below it "
            "what is there already"
        )
        if caller.user is None:
            what += "; or give a user and a password"
    elif isinstance(error, exceptions.AuthFailedError):
        what = f"user {caller.user!r} or the password is wrong"
    elif isinstance(error, exceptions.InvalidACLError):
        what = "enable the authentication provider 'digest' of ZooKeeper, or give no user"
    reason = f"{type(error).__name__} {error}".strip()
    return ManagerRefused(f"ZooKeeper refuses: {reason}" + (f". What to do: {what}" if what else ""))


def reason(error: BaseException, endpoint: str) -> str:
    """Why there is no connection to an endpoint."""
    for cause in _causes(error):
        if isinstance(cause, ssl.SSLCertVerificationError):
            return (
                f"{endpoint}: its certificate is not accepted ({cause.verify_message}): check the authority, and that "
                "the certificate names this host"
            )
        if isinstance(cause, ssl.SSLError) and "ALERT" in (cause.reason or ""):
            return f"{endpoint}: it does not accept the certificate of this node ({cause.reason})"
    if "socket connection broken" in str(error):
        return f"{endpoint}: it has ended the connection: it has no majority, refuses this certificate, or wants TLS"
    if isinstance(error, TimeoutError) or type(error).__name__ == "KazooTimeoutError":
        return f"{endpoint}: no connection in time"
    return f"{endpoint}: {in_words(error)}"


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        yield error
        error = error.__cause__ or error.__context__
