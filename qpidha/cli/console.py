"""Shared by the commands: exit codes, printing, and error messages."""

from __future__ import annotations

import argparse
import dataclasses
import io
import json
import math
import os
import sys
from collections.abc import Iterable
from contextlib import suppress
from enum import Enum
from pathlib import Path
from typing import Any, TextIO
from uuid import UUID

from qpidha.cli.text import name, one_line, printable
from qpidha.errors import InvariantError, QpidhaError
from qpidha.system.texts import plain_text
from qpidha.system.words import in_words

OK, PROBLEM, USAGE, UNREACHABLE, PARTLY = range(5)
FAILED = 70
INTERRUPTED = 130
"""See `qpidha.cli`."""

EXIT_CODES = """\
exit codes:
  0    done, or everything is in order
  1    done, and something is wrong: a refusal, a damaged store, a stopped node, a demo that lost something
  2    wrong usage: nothing was done
  3    nothing that was asked for could be reached or read in time
  4    some of it could not be reached or read in time; the rest is shown
  70   the command itself failed: an error in qpidha, or its output could not be written
  130  interrupted
"""
"""They stay in later releases (V5)."""

INDENTED_CHARS_MAX = 1024 * 1024
TRACEBACK = "QPIDHA_TRACEBACK"
"""Environment variable: if set, errors in qpidha are printed with their traceback."""


class OutputFailed(Exception):
    """The standard output cannot be written: its disk is full, say."""


class Output(io.FileIO):
    """The standard output, whose errors can be told from those of other files: no command has to look at them itself."""

    def write(self, data: Any) -> int:
        """Raises `OutputFailed`; BrokenPipeError if the reader has gone."""
        try:
            return super().write(data)
        except BrokenPipeError:
            raise
        except OSError as error:
            raise OutputFailed(f"the output cannot be written: {in_words(error)}") from error


def prepare_streams() -> None:
    """Escape everything that the terminal cannot show; replace a closed stream by one that discards its output."""
    for stream in ("stdout", "stderr"):
        found = getattr(sys, stream)
        if found is None:
            setattr(sys, stream, open(os.devnull, "w", encoding="utf-8"))  # noqa: SIM115 - it stays open
        elif isinstance(found, io.TextIOWrapper):
            found.reconfigure(errors="backslashreplace")
    if sys.stdout is sys.__stdout__ and isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout = own_output(sys.stdout)


def own_output(found: io.TextIOWrapper) -> io.TextIOWrapper:
    """The same stream, with errors of its own."""
    found.flush()
    return io.TextIOWrapper(
        io.BufferedWriter(Output(found.fileno(), "wb", closefd=False)),
        encoding=found.encoding,
        errors=found.errors,
        line_buffering=found.line_buffering,
        write_through=found.write_through,
    )


def silence(stream: TextIO) -> None:
    """Discard the buffered and all further output: the reader has closed the pipe, or writing fails."""
    with suppress(OSError, ValueError):
        fd = os.open(os.devnull, os.O_WRONLY)
        os.dup2(fd, stream.fileno())
        os.close(fd)


def say(line: str) -> None:
    """Print one line on the standard output."""
    sys.stdout.write(one_line(line) + "\n")


def complain(line: str) -> None:
    """One line on the standard error, after what was said so far."""
    with suppress(OSError, OutputFailed):
        sys.stdout.flush()
    try:
        sys.stderr.write(f"qpidha: {one_line(line)}\n")
        sys.stderr.flush()
    except OSError:
        silence(sys.stderr)


def fail(line: str, code: int = UNREACHABLE) -> int:
    """Print one line on the standard error; returns the exit code."""
    complain(line)
    return code


def deliver(args: argparse.Namespace, code: int, document: object, lines: Iterable[str]) -> int:
    """Print the document or the lines, whichever was asked for. Returns the code, also if the reader has gone."""
    try:
        if args.json:
            sys.stdout.write(to_json(document) + "\n")
            args.delivered = True
        else:
            for line in lines:
                say(line)
        sys.stdout.flush()
    except BrokenPipeError:
        silence(sys.stdout)
    return code


def to_json(value: object) -> str:
    """One document, in ASCII: any terminal can show it, and any reader of JSON can read it."""
    found = plain(value)
    text = json.dumps(found, allow_nan=False)
    # Indenting is for people, and takes ten times as long.
    return text if len(text) > INDENTED_CHARS_MAX else json.dumps(found, indent=2, allow_nan=False)


def plain(value: object) -> Any:
    """A value of ours as JSON knows it."""
    if isinstance(value, str) and not isinstance(value, Enum):
        return plain_text(value)
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {f.name: plain(getattr(value, f.name)) for f in dataclasses.fields(value)}
    if isinstance(value, Enum):
        return plain(value.value)
    if isinstance(value, dict):
        return {plain_text(str(k)): plain(v) for k, v in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [plain(v) for v in value]
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, (UUID, Path)):
        return plain_text(str(value))
    return value


def words(error: BaseException) -> str:
    """The message of an error. An error that is neither of this library nor of the system is reported as a bug."""
    if isinstance(error, (QpidhaError, OSError)) and not isinstance(error, InvariantError):
        return in_words(error)
    return f"error in qpidha, please report it ({TRACEBACK}=1 shows where): {type(error).__name__}: {error}"


def why(error: BaseException) -> str:
    """An error in words, for one line."""
    return printable(words(error))


def about(place: Path | str, error: BaseException) -> str:
    """An error about a directory, which is named once."""
    text = why(error)
    named = os.sep in str(place) and printable(place) in text
    return text if named else f"{name(place)}: {text}"


def lines_of_record(found: Any) -> list[str]:
    """The lines that show a cluster record."""
    record = found.record
    primary = name(record.primary[0]) if record.primary else "none"
    members = ", ".join(name(node) for node in sorted(m.node for m in record.members))
    return [
        f"record: version {found.version}, generation {record.generation}, primary {primary}",
        f"  members {members or 'none'}; cluster {record.cluster}",
    ]


def lines_of_place(place: Any) -> list[str]:
    """One store of a ranking, with the reasons for its place."""
    return [
        f"{place.place or '-'}  {name(place.name)}",
        *(f"     {printable(finding)}" for finding in place.findings),
    ]
