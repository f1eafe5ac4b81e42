"""Where the core's parts put their effects until the driver takes them as one `Ready`."""

from __future__ import annotations

from typing import Final

from qpidha.core.ready import CloseLink, Completion, Notice, Ready, Request, needs_no_disk, without_disk
from qpidha.journal import Change
from qpidha.wire.events import Acknowledged, Frame

NOTHING: Final = Ready()
"""The shared empty `Ready`. Never changed: the outbox makes a new one before it adds anything."""


class Outbox:
    """Collects one `Ready`. Order within a kind is the order of the calls; between kinds it is `Ready`'s."""

    __slots__ = ("_ready", "closing")

    def __init__(self) -> None:
        self._ready = Ready()
        self.closing: set[int] = set()
        """Links that a `CloseLink` names and that are still open: frames that arrive on them are ignored (C1, P3)."""

    def persist(self, *changes: Change) -> None:
        """Add changes to the next commit of the store."""
        self._ready.persist.extend(changes)

    def send(self, link: int, frame: Frame) -> None:
        """Send a frame over a link, after the frames added before."""
        self._ready.send.append((link, frame))

    def acknowledge(self, link: int, frame: Frame) -> None:
        """Send a cumulative acknowledgement; a later one in the same `Ready` replaces it."""
        send = self._ready.send
        if send:
            last_link, last = send[-1]
            if last_link == link and last.session == frame.session and isinstance(last.event, Acknowledged):
                send.pop()
        send.append((link, frame))

    def request(self, request: Request) -> None:
        """Ask the cluster manager."""
        self._ready.request = request

    def complete(self, completion: Completion) -> None:
        """Report that operations are safe or failed."""
        self._ready.complete.append(completion)

    def notify(self, notice: Notice) -> None:
        """Report something that happened to the node."""
        self._ready.notify.append(notice)

    def close(self, link: int, reason: str) -> None:
        """Close this link, after what was sent before."""
        self.closing.add(link)
        self._ready.notify.append(CloseLink(link, reason))

    @property
    def empty(self) -> bool:
        """Whether `take` would return an empty `Ready`."""
        return not self._ready

    def take_without_disk(self) -> Ready:
        """Take the effects of an ended role that need no disk. Changes for the store, and what depends on them, stay."""
        ready = self._ready
        last = without_disk(ready)
        ready.complete = []
        ready.notify = [notice for notice in ready.notify if not needs_no_disk(notice)]
        return last

    def take(self) -> Ready:
        """Return everything that was added since the last call, as one `Ready`."""
        if not self._ready:
            return NOTHING
        ready, self._ready = self._ready, Ready()
        return ready
