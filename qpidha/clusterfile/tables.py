"""Tables of a TOML file: each value is checked when it is taken, and a key that nobody takes is an error."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable
from difflib import get_close_matches
from pathlib import Path
from typing import Any, NoReturn

from qpidha.checks import Rule, shown
from qpidha.clusterfile.errors import ClusterFileError

if sys.version_info >= (3, 11):
    import tomllib
else:  # pragma: no cover - the same under its older name
    import tomli as tomllib

FILE_BYTES_MAX = 1024 * 1024
MISSING = object()


def read_table(path: Path) -> Table:
    """The outermost table of a file.

    Raises:
        ClusterFileError: It cannot be read, or is no TOML.
    """
    try:
        with open(path, "rb") as file:
            content = file.read(FILE_BYTES_MAX + 1)
    except OSError as error:
        raise ClusterFileError(f"cannot read {path}: {error.strerror}", path=str(path)) from error
    if len(content) > FILE_BYTES_MAX:
        raise ClusterFileError(
            f"{path} has more than {FILE_BYTES_MAX} bytes: this is no cluster file", path=str(path)
        )
    try:
        text = content.decode()
        return Table(path, "", tomllib.loads(text), text)
    except (ValueError, RecursionError) as error:
        raise ClusterFileError(f"{path} is not valid TOML: {error}", path=str(path)) from error


class Table:
    """One table. Take its values, then call `require_all_taken`. Every method raises `ClusterFileError`."""

    def __init__(self, path: Path, name: str, values: dict[str, Any], text: str = "") -> None:
        """``text``: of the file."""
        self.path = path
        self._text = text
        self.name = name
        self.values = values
        self._known: list[str] = []

    def key(self, name: str) -> str:
        """A key of this table as it is written in an error: ``nodes.a.store``."""
        return f"{self.name}.{name}" if self.name else name

    def fail(self, name: str, what: str) -> NoReturn:
        """Raise the error of a key; "" for the table itself."""
        key = self.key(name) if name else self.name
        line = line_of(self._text, key)
        place = "" if line is None else f", line {line}"
        raise ClusterFileError(f"{self.path}{place}: {key}: {what}", path=str(self.path), key=key, line=line)

    def take(self, name: str, rule: Rule, default: Any = MISSING) -> Any:
        """A value that a rule allows. Without a default the key must be there."""
        self._known.append(name)
        if name not in self.values:
            if default is MISSING:
                likely = get_close_matches(name, self.values.keys() - set(self._known), n=1)
                hint = f"; is {likely[0]!r} a slip of it?" if likely else ""
                self.fail(name, f"this key is missing; it must be {rule.allowed}{hint}")
            return default
        value = self.values[name]
        if not rule.fits(value):
            self.fail(name, f"it must be {rule.allowed}, not {shown(value)}")
        return value

    def table(self, name: str, *, required: bool = False) -> Table | None:
        """A table in this one. None: it is not there."""
        self._known.append(name)
        value = self.values.get(name)
        if value is None and not required:
            return None
        if not isinstance(value, dict):
            self.fail(name, f"this must be a table: write [{self.key(name)}] and its keys below it")
        return Table(self.path, self.key(name), value, self._text)

    def require_all_taken(self) -> None:
        """Refuse a key that this version does not know, and name the nearest one that it does."""
        for name in self.values:
            if name not in self._known:
                self.fail(name, f"there is no such key here{nearest(name, self._known)}")


def line_of(text: str, key: str) -> int | None:
    """The line in which a key or table such as ``nodes.a.store`` is written; None: it is not, or in another way."""
    table = ""
    for number, line in enumerate(text.splitlines(), 1):
        if head := re.match(r"\s*\[([^\[\]]+)\]", line):
            table = found = plain_key(head[1])
        elif name := re.match(r"\s*([^=#\s][^=#]*?)\s*=", line):
            found = f"{table}.{plain_key(name[1])}" if table else plain_key(name[1])
        else:
            continue
        if found == key:
            return number
    return None


def plain_key(written: str) -> str:
    """A key without quotes and spaces."""
    return ".".join(part.strip().strip("\"'") for part in written.split("."))


def nearest(given: str, known: Iterable[str]) -> str:
    """What may have been meant, and what is known, for the end of an error."""
    known = sorted(known)
    likely = get_close_matches(given, known, n=1)
    hint = f"; did you mean {likely[0]!r}?" if likely else ""
    return f"{hint}; known: {', '.join(known)}"
