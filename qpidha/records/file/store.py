"""The record store for the nodes of one machine: a directory that they share. The default.

    record.json  record.lock     the record (`qpidha.records.file.recordfile`)
    sessions/                    who is alive (`qpidha.records.file.sessionfile`)

Files are accessed in two threads: one for the record, where an fsync may take long, and one for sessions and
watches, which must not wait for it. All watches share one task (`qpidha.records.file.poller`).
"""

from __future__ import annotations

import asyncio
import os
import stat
import time
from collections.abc import AsyncIterator, Mapping
from pathlib import Path

from qpidha.checks import PATH, SECONDS, SECONDS_OR_ZERO, optional
from qpidha.errors import ClusterError, Conflict, SettingsError, Unavailable
from qpidha.records.file.poller import Poller
from qpidha.records.file.recordfile import LockHeldError, RecordFile, load
from qpidha.records.file.session import FileSession
from qpidha.records.file.sessionfile import SessionFile, SessionInfo, live_sessions
from qpidha.records.file.sessionlock import SessionHeldError
from qpidha.records.file.worker import Worker
from qpidha.records.format import VERSION, check_record, check_session
from qpidha.system import mounts
from qpidha.system.ownership import make_directories
from qpidha.system.syncing import sync_directory
from qpidha.system.words import in_words
from qpidha.types import NodeId, Record, Versioned

DEFAULT_TIMEOUT_S = 5.0
"""Time-out of the operations that have no argument for it."""
LOCK_RETRY_S = 0.002
SESSION_RETRY_S = 0.2
"""How long a session's lock must be held by others before it is a `Conflict`: on systems with flock only, observers
hold it for a moment."""


class FileRecordStore:
    """A `RecordStore` for one process; each process opens its own on the same directory."""

    def __init__(
        self, directory: str | Path, *, poll_interval_s: float = 0.02, calm_interval_s: float = 0.2
    ) -> None:
        """Create the directory (mode 0700) if there is none.

        Args:
            poll_interval_s: Seconds between two polls of the record and the sessions, while something goes on.
            calm_interval_s: The same when nothing has changed for a second; not less than ``poll_interval_s``.
                `poll_soon` goes back to the shorter interval.

        Raises:
            SettingsError: It cannot be created, others may write to it, it is on a network file system, or it
                is the directory of a store; or an argument has a wrong type or value.
        """
        PATH("directory", directory, SettingsError)
        SECONDS("poll_interval_s", poll_interval_s, SettingsError)
        SECONDS("calm_interval_s", calm_interval_s, SettingsError)
        self.directory = Path(directory)
        self._sessions = self.directory / "sessions"
        for path in (self.directory, self._sessions):
            _prepare(path)
        _require_no_store(self.directory)
        self._file = RecordFile(self.directory)
        self._record_worker = Worker("qpidha-record")
        self._session_worker = Worker("qpidha-sessions")
        self._poller = Poller(
            self._file,
            self._sessions,
            self._session_worker,
            poll_interval_s=poll_interval_s,
            calm_interval_s=calm_interval_s,
        )

    # --- the record -------------------------------------------------------------------------------

    async def read(self) -> Versioned | None:
        """The record, durable; None: there is none yet.

        Raises:
            Unavailable: The disk failed, or did not answer for DEFAULT_TIMEOUT_S.
            ClusterError: The file is damaged, has a newer format, or went back.
        """
        return await self._record_worker.run(self._file.read, DEFAULT_TIMEOUT_S)

    async def create(self, new: Record) -> Versioned:
        """Raises `Conflict` if there is a record already; else as `compare_and_set`."""
        check_record(new)
        self._poller.poll_soon()
        return await self._write(None, new, DEFAULT_TIMEOUT_S)

    async def compare_and_set(self, expected: int, new: Record, *, timeout_s: float) -> Versioned:
        """Replace the record if its version is still ``expected`` (rule M1).

        If the record is this very one already, nonce included, it was our own write whose answer was
        lost: that is success (rule M2).

        Raises:
            Conflict: There is another record.
            Unavailable: The lock could not be taken in time, or the disk failed before the change.
            OutcomeUnknown: The disk failed, or did not answer in time, during the change.
            ArgumentError: A record that could not be written, or not be read again. Nothing was sent.
            ClusterError: The file is damaged, has a newer format, or went back.
        """
        VERSION("expected", expected)
        check_record(new)
        SECONDS_OR_ZERO("timeout_s", timeout_s)
        self._poller.poll_soon()
        return await self._write(expected, new, timeout_s)

    def watch(self) -> AsyncIterator[Versioned | None]:
        """The current record, then each change. Ends with an error if the record cannot be read."""
        self._poller.poll_soon()
        return self._poller.record.watch()

    async def _write(self, expected: int | None, new: Record, timeout_s: float) -> Versioned:
        """Write; retry while another process holds the lock of the record."""
        until = time.monotonic() + timeout_s
        left_s = timeout_s
        while left_s > LOCK_RETRY_S:  # With less, a job could end too late: an unknown outcome.
            try:
                return await self._record_worker.run(
                    lambda: self._file.write(expected, new), left_s, changes=True
                )
            except LockHeldError:
                await asyncio.sleep(LOCK_RETRY_S)
            left_s = until - time.monotonic()
        raise Unavailable(f"the record was locked by others for {timeout_s} s")

    # --- sessions ---------------------------------------------------------------------------------

    async def open_session(self, node: NodeId, info: bytes, *, ttl_s: float) -> FileSession:
        """Show to others that this node is alive, until the session is closed or lost.

        Raises:
            Conflict: Another process, or this one, holds a session of this node id already (T40).
            Unavailable: The disk failed.
            ArgumentError: Not a node id, not bytes, or a time out of range.
        """
        check_session(node, info, ttl_s)
        content = SessionInfo(node=node, ttl_s=ttl_s, info=info)
        until = time.monotonic() + SESSION_RETRY_S
        while True:
            sent = time.monotonic()
            try:
                file = await self._session_worker.run(lambda: SessionFile(self._sessions, content), None)
            except SessionHeldError:
                if time.monotonic() >= until:
                    message = f"another process holds the session of node {node!r} in {self.directory}"
                    raise Conflict(message, current=None) from None
                await asyncio.sleep(LOCK_RETRY_S)
            except OSError as error:
                raise Unavailable(f"cannot open a session in {self._sessions}: {in_words(error)}") from error
            else:
                return FileSession(file, self._session_worker, ttl_s=ttl_s, opened_at=sent)

    async def live(self) -> Mapping[NodeId, bytes]:
        """The info of every node with a live session, looked up now."""
        try:
            return await self._session_worker.run(lambda: live_sessions(self._sessions), DEFAULT_TIMEOUT_S)
        except OSError as error:
            raise Unavailable(f"cannot read {self._sessions}: {error.strerror}") from error

    def watch_live(self) -> AsyncIterator[Mapping[NodeId, bytes]]:
        """The live nodes, then each change."""
        self._poller.poll_soon()
        return self._poller.live.watch()

    def poll_soon(self) -> None:
        """Poll for changes at once, and often for a while: a link broke or a role changed. Never blocks."""
        self._poller.poll_soon()

    async def close(self) -> None:
        """End all watches, which then stop iterating, and the threads. May be called twice."""
        await self._poller.close()
        await self._record_worker.close()
        await self._session_worker.close()

    # --- for the command line ---------------------------------------------------------------------

    @staticmethod
    def peek(directory: str | Path) -> Versioned | None:
        """The record in a directory, without locking, changing or creating anything. Blocks.

        Raises:
            ClusterError: There is no such directory, or the record is damaged or newer.
            Unavailable: The disk failed.
        """
        PATH("directory", directory)
        if not os.path.isdir(directory):
            raise ClusterError(f"there is no directory {directory}")
        return load(Path(directory) / "record.json")

    @staticmethod
    def put(directory: str | Path, expected: int | None, new: Record, *, timeout_s: float) -> Versioned:
        """`create` if nothing is expected, else `compare_and_set`, without an event loop. Blocks.

        Raises:
            SettingsError: The directory cannot be used.
            ArgumentError: A record that could not be written, or not be read again.
            Conflict, Unavailable, OutcomeUnknown, ClusterError: As for these.
        """
        optional(VERSION)("expected", expected)
        check_record(new)
        SECONDS_OR_ZERO("timeout_s", timeout_s)
        file = FileRecordStore(directory)._file
        until = time.monotonic() + timeout_s
        while True:
            try:
                return file.write(expected, new)
            except LockHeldError:
                if time.monotonic() >= until:
                    raise Unavailable(f"the record was locked by others for {timeout_s} s") from None
                time.sleep(LOCK_RETRY_S)

    @staticmethod
    def peek_live(directory: str | Path) -> Mapping[NodeId, bytes]:
        """The info of every node with a live session in a directory. Blocks. Raises `Unavailable` if the disk failed."""
        PATH("directory", directory)
        try:
            return live_sessions(Path(directory) / "sessions")
        except OSError as error:
            raise Unavailable(f"cannot read the sessions in {directory}: {error.strerror}") from error


def _prepare(directory: Path) -> None:
    try:
        for path in make_directories(directory):
            sync_directory(path.parent)
        mode = directory.stat().st_mode
    except OSError as error:
        raise SettingsError(f"cannot use {directory} for a cluster record: {error.strerror}") from error
    if why := mounts.refusal(directory):
        raise SettingsError(why)
    if mode & (stat.S_IWGRP | stat.S_IWOTH):
        raise SettingsError(
            f"group or others may write to {directory}, and could elect a primary: chmod 700 it"
        )


def _require_no_store(directory: Path) -> None:
    """Both a record and a store lock their directory as a whole."""
    try:
        os.lstat(directory / "store.db")
    except FileNotFoundError:
        return
    except OSError as error:
        raise SettingsError(f"cannot use {directory} for a cluster record: {error.strerror}") from error
    raise SettingsError(f"{directory} is a store: give the record a directory without one")
