"""A disk after a trace of calls: what is durable, and what a power cut may lose.

The model is that of POSIX, stricter than any file system: each write to a file since its last fsync, and each
change of a directory's names since the last fsync of that directory, independently remains or is lost.
"""

from __future__ import annotations

import os
import posixpath
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeAlias

from tests.storage.shim import Call, Op

Image: TypeAlias = dict[str, "bytes | None"]
"""The files of one state, by name; None stands for a directory."""


@dataclass(frozen=True, slots=True)
class Write:
    """A write of bytes to one file."""

    file: int
    offset: int
    data: bytes

    def apply(self, content: bytearray) -> None:
        if self.offset > len(content):
            content.extend(bytes(self.offset - len(content)))
        content[self.offset : self.offset + len(self.data)] = self.data


@dataclass(frozen=True, slots=True)
class Truncate:
    """A change of the length of one file."""

    file: int
    size: int

    def apply(self, content: bytearray) -> None:
        del content[self.size :]
        content.extend(bytes(self.size - len(content)))


@dataclass(frozen=True, slots=True)
class Names:
    """One change of names in a directory; atomic, as on every journalling file system."""

    directory: str
    gone: str | None
    new: str | None
    file: int | None
    """The file of the new name; None stands for a directory."""


Pending: TypeAlias = "Write | Truncate | Names"


class Disk:
    """State of the disk, updated call by call from a trace."""

    def __init__(self, start: Path | None = None) -> None:
        self.pending: list[Pending] = []
        """Changes that are not durable yet, in the order of their calls."""
        self._durable: list[bytes] = []
        self._durable_names: dict[str, int | None] = {".": None}
        self._names: dict[str, int | None] = {".": None}
        self._by_inode: dict[int, int] = {}
        for path in sorted(start.rglob("*")) if start else ():
            self._found(path, os.path.relpath(path, start))

    def _found(self, path: Path, name: str) -> None:
        number = None if path.is_dir() else self._file(path.stat().st_ino, path.read_bytes())
        self._durable_names[name] = self._names[name] = number

    def _file(self, inode: int, content: bytes = b"") -> int:
        self._durable.append(content)
        self._by_inode[inode] = len(self._durable) - 1
        return len(self._durable) - 1

    def follow(self, call: Call) -> None:
        if call.op is Op.SYNC and call.error and not self._is_directory(call.name):
            # After a failed write the page cache marks the page clean, so the next fsync does not retry it.
            # (A directory is metadata: a file system that cannot write its journal stops, or tries again.)
            covered = self._covered(call)
            self.pending = [p for p in self.pending if p not in covered]
        if not call.happened:
            return
        match call.op:
            case Op.OPEN:
                self._open(call)
            case Op.WRITE:
                self.pending.append(Write(self._by_inode[call.inode], call.offset, call.data))
            case Op.TRUNCATE:
                self.pending.append(Truncate(self._by_inode[call.inode], call.size))
            case Op.MKDIR:
                self._rename(None, call.name, None)
            case Op.UNLINK:
                self._rename(call.name, None, None)
            case Op.RENAME:
                self._rename(call.name, call.name2, self._names[call.name])
            case Op.SYNC:
                self._sync(call)

    def _open(self, call: Call) -> None:
        if call.offset & os.O_CREAT and not call.existed:
            self._rename(None, call.name, self._file(call.inode))
        elif call.offset & os.O_TRUNC:
            self.pending.append(Truncate(self._by_inode[call.inode], 0))

    def _rename(self, gone: str | None, new: str | None, file: int | None) -> None:
        directory = posixpath.dirname(new or gone or "") or "."
        self.pending.append(Names(directory, gone, new, file))
        if gone is not None:
            del self._names[gone]
        if new is not None:
            self._names[new] = file

    def _is_directory(self, name: str) -> bool:
        return name in self._names and self._names[name] is None

    def _covered(self, call: Call) -> list[Pending]:
        """Return the pending changes that this fsync makes durable."""
        if self._is_directory(call.name):
            return [p for p in self.pending if isinstance(p, Names) and p.directory == call.name]
        file = self._by_inode[call.inode]
        return [p for p in self.pending if not isinstance(p, Names) and p.file == file]

    def _sync(self, call: Call) -> None:
        done = self._covered(call)
        for change in done[:1]:
            if isinstance(change, Names):
                _rename_all(self._durable_names, done)
            else:
                self._durable[change.file] = self._content(change.file, done)
        self.pending = [p for p in self.pending if p not in done]

    def _content(self, file: int, changes: Iterable[Pending]) -> bytes:
        applied = [change for change in changes if not isinstance(change, Names) and change.file == file]
        if not applied:
            return self._durable[file]
        content = bytearray(self._durable[file])
        for change in applied:
            change.apply(content)
        return bytes(content)

    def size(self, file: int) -> int:
        """Durable length of a file."""
        return len(self._durable[file])

    def image(self, kept: Sequence[Pending]) -> Image:
        """Return the files after a power cut that leaves these pending changes, applied in this order."""
        names = dict(self._durable_names)
        _rename_all(names, kept)
        return {
            name: None if file is None else self._content(file, kept)
            for name, file in sorted(names.items())
            if name != "." and _reachable(name, names)
        }


def _rename_all(names: dict[str, int | None], changes: Iterable[Pending]) -> None:
    for change in changes:
        if not isinstance(change, Names):
            continue
        if change.gone is not None:
            names.pop(change.gone, None)
        if change.new is not None:
            names[change.new] = change.file


def _reachable(name: str, names: dict[str, int | None]) -> bool:
    parent = posixpath.dirname(name)
    return not parent or (parent in names and _reachable(parent, names))


def torn(write: Write, present: Sequence[bool], sector_bytes: int) -> list[Pending]:
    """Return the parts of a torn write that reached the disk, by sectors of the file."""
    parts: list[Pending] = []
    first = write.offset // sector_bytes
    for number, here in enumerate(present, first):
        start = max(write.offset, number * sector_bytes)
        end = min(write.offset + len(write.data), (number + 1) * sector_bytes)
        if here and start < end:
            data = write.data[start - write.offset : end - write.offset]
            parts.append(replace(write, offset=start, data=data))
    return parts


def sectors(write: Write, sector_bytes: int) -> int:
    last = write.offset + max(len(write.data), 1) - 1
    return last // sector_bytes - write.offset // sector_bytes + 1


def put(image: Image, directory: Path) -> None:
    """Write a state into a directory. Names are sorted, so a directory comes before its content."""
    for name, content in image.items():
        if content is None:
            (directory / name).mkdir()
        else:
            (directory / name).write_bytes(content)
