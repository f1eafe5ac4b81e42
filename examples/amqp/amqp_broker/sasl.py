"""Who a client is: the server's side of SASL (AMQP 1.0, 5.3), before the engine sees a byte.

ANONYMOUS   no name, if the broker permits that
PLAIN       a name and a password, of the file of users
EXTERNAL    the name in the certificate that the client has shown for TLS
"""

from __future__ import annotations

import hashlib
import hmac
import re
from pathlib import Path

from amqp_broker.codec import DecodeError, Described, array_of_symbols, decode, described, listed, ubyte

SASL_HEADER = b"AMQP\x03\x01\x00\x00"
AMQP_HEADER = b"AMQP\x00\x01\x00\x00"
MECHANISMS, INIT, OUTCOME = 0x40, 0x41, 0x44
NAMES = {"amqp:sasl-init:list": INIT}
OK, AUTH = 0, 1
FRAME_BYTES_MAX = 512
"""What the specification allows before the client is known."""
LINE = re.compile(r"([^:\s]+):((?:[0-9a-f]{2})+):([0-9a-f]{64})")
"""Of the file of users. What is not of this form is no user."""
ROUNDS = 20_000
"""About ten milliseconds, in which the broker does nothing else. Passwords should be long and random anyway."""


class SaslError(Exception):
    """The client does not speak SASL."""


class UsersError(OSError):
    """The file of users cannot be read: no client can log in with a password."""


class Users:
    """Names and passwords: a file with lines of the form ``name:salt:hash``, as `line_of` makes them."""

    def __init__(self, path: Path | None = None) -> None:
        """Raises `UsersError`."""
        self._path = path
        self._lines()

    def check(self, name: str, password: str) -> bool:
        """Whether this is the password of this user. The file is read each time: a change needs no restart.

        Raises:
            UsersError: It cannot be read now.
        """
        salt, wanted = "00", ""
        for line in self._lines():
            said = LINE.fullmatch(line)
            if said is not None and said[1] == name:
                salt, wanted = said[2], said[3]
        found = _hash(password, salt)  # Also for a name that is not there: the time must not tell.
        return hmac.compare_digest(found, wanted)

    def _lines(self) -> list[str]:
        if self._path is None:
            return []
        try:
            return self._path.read_text(encoding="utf-8").split()
        except OSError as error:
            why = error.strerror
        except UnicodeDecodeError:
            why = "it is no text in UTF-8"
        raise UsersError(f"the file of users {self._path} cannot be read: {why}")


def line_of(name: str, password: str, salt: str) -> str:
    """The line of one user."""
    if not name or not set(name).isdisjoint(": \t\r\n"):
        raise ValueError("the name of a user has no spaces or colons")
    return f"{name}:{salt}:{_hash(password, salt)}"


def _hash(password: str, salt: str) -> str:
    return hashlib.pbkdf2_hmac("sha256", password.encode(), bytes.fromhex(salt), ROUNDS).hex()


def frame(body: bytes) -> bytes:
    """One frame of SASL."""
    return (8 + len(body)).to_bytes(4, "big") + b"\x02\x01\x00\x00" + body


class Sasl:
    """The exchange with one client. Give it bytes until it is `done`; what is left then is for the engine."""

    def __init__(self, users: Users, *, anonymous: bool, certificate_name: str | None) -> None:
        self._users = users
        self._certificate_name = certificate_name
        self.mechanisms = ["EXTERNAL"] if certificate_name is not None else []
        self.mechanisms += ["PLAIN"] if users._path is not None else []
        self.mechanisms += ["ANONYMOUS"] if anonymous else []
        self._data = b""
        self._greeted = False
        self.done = False
        self.user: str | None = None
        """The name of the client; None: it has none, or is not known."""
        self.failed = False
        """It is not who it says to be: end the connection after the answer."""

    def received(self, data: bytes) -> tuple[bytes, bytes]:
        """Take bytes. Returns what to answer, and what is left for the engine.

        Raises:
            SaslError: This is no client of AMQP 1.0.
            UsersError: Its password cannot be checked.
        """
        self._data += data
        answer = b""
        if not self._greeted:
            if len(self._data) < 8:
                return b"", b""
            header, self._data = self._data[:8], self._data[8:]
            if header == AMQP_HEADER and "ANONYMOUS" in self.mechanisms:
                self.done = True
                return b"", header + self._data
            self._greeted = True
            answer = SASL_HEADER
            if header != SASL_HEADER:
                self.failed = self.done = True  # The answer says what the broker speaks.
                return answer, b""
            answer += frame(described(MECHANISMS, listed(array_of_symbols(self.mechanisms))))
        reply, rest = self._frame()
        return answer + reply, rest

    def _frame(self) -> tuple[bytes, bytes]:
        if len(self._data) < 8:
            return b"", b""
        size = int.from_bytes(self._data[:4], "big")
        if not 8 <= size <= FRAME_BYTES_MAX or self._data[5] != 1:
            raise SaslError("no frame of SASL")
        if len(self._data) < size:
            return b"", b""
        body, rest = self._data[4 * self._data[4] : size], self._data[size:]
        code = OK if self._authenticated(body) else AUTH
        self.done, self.failed = True, code != OK
        return frame(described(OUTCOME, listed(ubyte(code)))), rest

    def _authenticated(self, body: bytes) -> bool:
        try:
            value, _ = decode(body)
        except DecodeError as error:
            raise SaslError(f"no frame of SASL: {error}") from error
        if not isinstance(value, Described) or not isinstance(value.value, list) or not value.value:
            raise SaslError("no frame of SASL: it is no sasl-init")
        code = NAMES.get(str(value.descriptor), value.descriptor)
        mechanism, response = str(value.value[0]), ([*value.value, b""])[1] or b""
        if code != INIT or mechanism not in self.mechanisms or not isinstance(response, bytes):
            return False
        if mechanism == "ANONYMOUS":
            return True
        if mechanism == "EXTERNAL":
            self.user = self._certificate_name
            return True
        return self._plain(response)

    def _plain(self, response: bytes) -> bool:
        try:
            _, name, password = response.decode().split("\0")
        except ValueError:
            return False
        if not self._users.check(name, password):
            return False
        self.user = name
        return True
