"""Keeps the file of the write-ahead log longer than the log, so that most commits overwrite what is there.

An fsync of a file that has grown also writes the journal of the file system: a commit of one message then takes 1.3 ms
where it takes 0.2 otherwise. SQLite uses the file again after a checkpoint, so only the first log in a life of the store
grows: 16 MiB, several hundred such commits. Before one of these would write behind the end, zeros are written
there, in larger steps; the fsync of the commit covers them.

To SQLite a frame of zeros is the end of the log, like the frame of an older log: its salts are not those of the header.
"""

from __future__ import annotations

import os
from contextlib import suppress
from typing import Final

from qpidha.stores.synced import frames_of
from qpidha.stores.wal import HEADER, STEP

STEP_MIN: Final = 256 * 1024
STEP_MAX: Final = 512 * 1024
"""Each step doubles the file, within these bounds. A store that is open for a moment writes little, and the commit that
waits for a step takes 0.3 ms longer; with steps of 2 MiB three stores on one disk took 7 to 13 ms for it.
"""
ZEROS: Final = bytes(STEP_MAX)


class LogRoom:
    """The room for frames in one log. Used by the thread that commits."""

    def __init__(self, log_fd: int, index_fd: int) -> None:
        """Nothing is written yet.

        Args:
            log_fd: Of the log, for writing.
            index_fd: Of its index; -1: SQLite keeps the index elsewhere, and there will be no room.
        """
        self._log_fd = log_fd
        self._index_fd = index_fd

    def provide(self, nbytes: int, size: int) -> None:
        """Make room for a commit of about so many bytes in a log file of this size. One system call if there is room.

        Does nothing for a commit that is larger than a step: its own writes take longer. A disk that has no room for the
        zeros may have some for the commit, and says so itself if not.
        """
        if self._index_fd < 0 or nbytes > STEP_MAX:
            return
        end = HEADER.size + frames_of(self._index_fd) * STEP + nbytes
        if end > size:
            step = min(max(size, STEP_MIN), STEP_MAX)
            with suppress(OSError):
                os.pwrite(self._log_fd, memoryview(ZEROS)[:step], size)
