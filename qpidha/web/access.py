"""Who may ask what on the HTTP port: tokens of viewers and operators, in a private file, and certificates with roles."""

from __future__ import annotations

import hmac
from collections.abc import Mapping
from enum import IntEnum
from pathlib import Path
from typing import Any

from qpidha.checks import PATH, instance_of, optional
from qpidha.errors import SettingsError
from qpidha.system.keyfiles import file_stamp, require_private_file
from qpidha.system.roles import OPERATOR, VIEWER, roles_of
from qpidha.system.words import in_words

TOKEN_CHARACTERS_MIN = 16


class Access(IntEnum):
    """What the holder of a token or a certificate may do."""

    NOTHING = 0
    VIEWER = 1
    """Read metrics, status and history."""
    OPERATOR = 2
    """Also promote and demote."""


def access_of(certificate: Mapping[str, Any] | None) -> Access:
    """What a client's verified certificate allows. One without a role, or of a peer: nothing."""
    roles = roles_of(certificate)
    if OPERATOR in roles:
        return Access.OPERATOR
    return Access.VIEWER if VIEWER in roles else Access.NOTHING


class Tokens:
    """A file of tokens: one a line, as ``viewer TOKEN`` or ``operator TOKEN``; ``#`` begins a comment.

    The file is read again when it changes. If it cannot be used then, what was read before goes on being valid, and
    ``fault`` says why.
    """

    def __init__(self, path: str | Path) -> None:
        """Read the file.

        Raises:
            SettingsError: It cannot be read, others than its owner can read it, or a line is wrong.
        """
        PATH("tokens", path, SettingsError)
        self._path = Path(path)
        self._stamp = file_stamp(self._path)
        self._known = self._read()
        self.fault = ""
        """Why a file that has changed is not used; "": it is used."""

    def __repr__(self) -> str:
        return f"Tokens({str(self._path)!r})"

    def refresh(self) -> None:
        """Read the file again if it has changed. O(1) if it has not."""
        stamp = file_stamp(self._path)
        if stamp == self._stamp and not self.fault:
            return
        try:
            self._known, self._stamp, self.fault = self._read(), stamp, ""
        except SettingsError as error:
            self.fault = str(error)

    def access(self, header: str | None) -> Access:
        """What an ``Authorization`` header allows. Takes the same time for every wrong token of one length."""
        optional(instance_of(str))("header", header)
        kind, _, token = (header or "").partition(" ")
        given = token.strip().encode(errors="surrogatepass")
        found = Access.NOTHING
        for known, access in self._known:
            if hmac.compare_digest(known, given):
                found = access
        return found if kind.lower() == "bearer" else Access.NOTHING

    def _read(self) -> list[tuple[bytes, Access]]:
        try:
            require_private_file(self._path)
            lines = self._path.read_text().splitlines()
        except (OSError, ValueError) as error:
            raise SettingsError(f"cannot read the tokens in {self._path}: {in_words(error)}") from error
        found = [
            self._parsed(number, line)
            for number, line in enumerate(lines, 1)
            if line.strip() and not line.lstrip().startswith("#")
        ]
        if not found:
            raise SettingsError(f"{self._path} has no token: write a line such as 'operator TOKEN'")
        return found

    def _parsed(self, number: int, line: str) -> tuple[bytes, Access]:
        """The message never shows the line: it may be a secret."""
        role, *rest = line.split()
        if role not in ("viewer", "operator") or len(rest) != 1:
            raise SettingsError(f"{self._path}, line {number}: expected 'viewer TOKEN' or 'operator TOKEN'")
        if len(rest[0]) < TOKEN_CHARACTERS_MIN:
            raise SettingsError(
                f"{self._path}, line {number}: a token needs at least {TOKEN_CHARACTERS_MIN} characters; "
                "'openssl rand -hex 32' makes one"
            )
        return rest[0].encode(), Access[role.upper()]
