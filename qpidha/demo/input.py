"""What the demo streams: the lines of files, one message each, every byte as it is in the file.

Joined together, the messages are the files, one after the other: ``cat FILES | sha256sum`` gives the sum
that the demo reports, whatever is in them.
"""

from __future__ import annotations

import shutil
import sys
import sysconfig
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import BinaryIO

LINE_BYTES_MAX = 1 << 20
"""A longer line becomes several messages, which only their joint content shows."""
BATCH_MESSAGES_MAX = 500
BATCH_BYTES_MAX = 256 * 1024


class InputError(Exception):
    """The input cannot be read: wrong usage."""


@dataclass(frozen=True, slots=True)
class Input:
    """Files that were looked at once, and how much of them is streamed."""

    name: str
    files: tuple[Path, ...]
    messages: int
    nbytes: int
    limit: int | None = None
    """Only so many messages, from the first file on."""
    batch: int = BATCH_MESSAGES_MAX
    """At most so many messages are published together."""

    def batches(self) -> Iterator[list[bytes]]:
        """All messages in order, in batches."""
        return in_batches(islice(messages(self.files), self.limit), self.batch)


def lines(file: BinaryIO) -> Iterator[bytes]:
    """The lines of a binary file with their ends; the last may have none, and an empty file has no line."""
    while line := file.readline(LINE_BYTES_MAX):
        yield line


def messages(files: Iterable[Path]) -> Iterator[bytes]:
    """The lines of all files, in order."""
    for path in files:
        with open(path, "rb") as file:
            yield from lines(file)


def in_batches(
    source: Iterable[bytes], messages_max: int = BATCH_MESSAGES_MAX, bytes_max: int = BATCH_BYTES_MAX
) -> Iterator[list[bytes]]:
    """Cut a stream into lists of bounded length and size. A message larger than the bound goes alone."""
    batch: list[bytes] = []
    nbytes = 0
    for message in source:
        if batch and (len(batch) >= messages_max or nbytes + len(message) > bytes_max):
            yield batch
            batch, nbytes = [], 0
        batch.append(message)
        nbytes += len(message)
    if batch:
        yield batch


def library_files() -> list[Path]:
    """The source of the running Python's standard library: on every machine, and large enough."""
    root = Path(sysconfig.get_path("stdlib"))
    found = (p for p in root.rglob("*.py") if p.is_file())
    return sorted(p for p in found if not {"site-packages", "dist-packages"} & set(p.parts))


def look_at(name: str, files: Sequence[Path], limit: int | None = None) -> Input:
    """Read everything once: how much is there, and can it be read at all.

    Raises:
        InputError: A file is missing, is a directory, or may not be read.
    """
    count = nbytes = 0
    try:
        for message in islice(messages(files), limit):
            count += 1
            nbytes += len(message)
    except OSError as error:
        raise InputError(f"cannot read {error.filename}: {error.strerror}") from error
    return Input(name, tuple(files), count, nbytes, limit)


def from_library(limit: int | None = None) -> Input:
    """The default input."""
    version = ".".join(map(str, sys.version_info[:3]))
    files = library_files()
    if not files:
        raise InputError("this Python has no library sources: name files with --input")
    return look_at(f"the standard library of Python {version}", files, limit)


def from_files(names: Sequence[str], spool: Path, limit: int | None = None) -> Input:
    """The user's files. ``-``, pipes and devices can be read only once, so they are copied to ``spool``."""
    files = []
    for number, name in enumerate(names):
        path = Path(name)
        if name == "-" or (path.exists() and not path.is_file() and not path.is_dir()):
            path = spool / f"input-{number}"
            copy_once(name, path)
        files.append(path)
    label = names[0] if len(names) == 1 else f"{len(names)} files"
    return look_at("standard input" if label == "-" else label, files, limit)


def copy_once(name: str, to: Path) -> None:
    """Everything that can be read from a stream, to a file. Raises `InputError`."""
    try:
        with open(to, "wb") as copy:
            if name == "-":
                shutil.copyfileobj(sys.stdin.buffer, copy)
            else:
                with open(name, "rb") as stream:
                    shutil.copyfileobj(stream, copy)
    except OSError as error:
        raise InputError(f"cannot read {name}: {error.strerror}") from error
