"""Chunks of a catch-up that are under way: sent, and not staged by the backup yet."""

from __future__ import annotations

from collections import deque

from qpidha.errors import RemoteProtocolError
from qpidha.settings import Settings


class InFlight:
    """Flow control of one catch-up."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._chunks: deque[int] = deque()
        """Bytes of each."""
        self.bytes = 0
        """Sum of ``_chunks``."""
        self._staged = 0
        """How many chunks the backup has staged."""
        self.staged_bytes = 0
        """The bytes of those. A chunk counts as ``chunk_min`` at least, for its round trip."""
        self.chunk_min = settings.window_bytes_max // 4 // settings.plan_chunks_in_flight_max
        self.wanted = 0
        """This many may be under way even if the settings allow fewer, so that copying keeps up with changes."""

    @property
    def is_full(self) -> bool:
        """Whether as many are under way as the limits allow; a single one is always allowed.

        The chunks and the window of the stream after them must together fit the buffer of a link. Otherwise a plan
        would fill that buffer, the link would be closed, and the same would happen to the next session.
        """
        many = len(self._chunks) >= max(self._settings.plan_chunks_in_flight_max, self.wanted)
        return many or self.bytes >= self._settings.window_bytes_max // 4

    def sent(self, nbytes: int) -> None:
        """One more is under way."""
        self._chunks.append(nbytes)
        self.bytes += nbytes

    def progress(self, chunks: int) -> None:
        """The backup has staged so many in all. Raises `RemoteProtocolError` if fewer were sent."""
        sent = self._staged + len(self._chunks)
        if not self._staged <= chunks <= sent:
            raise RemoteProtocolError(f"Progress of {chunks} chunks, {sent} were sent")
        for _ in range(chunks - self._staged):
            nbytes = self._chunks.popleft()
            self.bytes -= nbytes
            self.staged_bytes += max(self.chunk_min, nbytes)
        self._staged = chunks
