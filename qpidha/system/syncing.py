"""Makes files and names durable (fsync)."""

from __future__ import annotations

import os
from pathlib import Path


def sync_file(path: Path) -> None:
    """Make the content of a file durable. Blocks. Raises `OSError` if the disk failed."""
    _sync(path, os.O_RDONLY)


def sync_directory(path: Path) -> None:
    """Make names in a directory durable: without it, what was created or renamed may be gone after a power cut.

    Blocks. Raises `OSError` if the disk failed.
    """
    _sync(path, os.O_RDONLY | os.O_DIRECTORY)


def _sync(path: Path, flags: int) -> None:
    fd = os.open(path, flags | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
