"""Values of the command line: each function makes one from a word, or says what is wrong with it."""

from __future__ import annotations

import argparse
import math
from pathlib import Path

from qpidha.checks import QUEUE_NAME
from qpidha.cli.text import name
from qpidha.types import GENERATION_MAX, MESSAGE_ID_MAX

TIMEOUT_S_MAX = 7 * 24 * 3600.0


def directory(text: str) -> Path:
    """A path that was given. An empty one, as of an unset variable, would be the current directory."""
    if not text:
        raise argparse.ArgumentTypeError("an empty path")
    if "\0" in text:
        raise argparse.ArgumentTypeError("a path has no null characters")
    return Path(text)


def cluster(text: str) -> Path | str:
    """Where the record is kept: a directory, or the URL of an engine. That of a directory becomes its path."""
    from qpidha.errors import SettingsError
    from qpidha.records.url import directory_of, is_url, open_records

    if not is_url(text):
        return directory(text)
    named = directory_of(text)
    if named is not None:
        return named
    try:
        open_records(text)
    except SettingsError as error:
        raise argparse.ArgumentTypeError(str(error)) from error
    return text


def seconds(text: str) -> float:
    """A time limit."""
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 < value <= TIMEOUT_S_MAX:
        raise argparse.ArgumentTypeError(
            f"{name(text)} is not a number of seconds above 0 and up to {TIMEOUT_S_MAX:.0f}"
        )
    return value


def natural(text: str) -> int:
    """A number of things, perhaps none."""
    if not (text.isascii() and text.isdigit() and len(text) <= 9):
        raise argparse.ArgumentTypeError(f"{name(text)} is not a whole number from 0 to 999999999")
    return int(text)


def message_id(text: str) -> int:
    """The id of a message."""
    return _number(text, MESSAGE_ID_MAX)


def generation(text: str) -> int:
    """A generation."""
    return _number(text, GENERATION_MAX)


def _number(text: str, high: int) -> int:
    value = int(text) if text.isascii() and text.isdigit() and len(text) <= 20 else -1
    if not 0 <= value <= high:
        raise argparse.ArgumentTypeError(f"{name(text)} is not a whole number from 0 to {high}")
    return value


def queue(text: str) -> str:
    """The name of a queue from the command line."""
    if not QUEUE_NAME.fits(text):
        raise argparse.ArgumentTypeError(
            f"{name(text)} cannot be the name of a queue: it is empty, or no valid text"
        )
    return text


def node(text: str) -> str:
    """A node id from the command line."""
    if not text:
        raise argparse.ArgumentTypeError("an empty node id")
    return text
