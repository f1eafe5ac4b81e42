"""The other node of a loop under trial."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from uuid import UUID

from qpidha.core import CloseLink, Completion, Notice, Replica, Request
from qpidha.driver import Driver
from qpidha.journal import StoreImage, StoreStatus
from qpidha.types import Member, Versioned
from qpidha.wire import Frame

B = Member("b", UUID(int=5))
LINK = 1
"""The link that b opens to a."""


class Peer:
    """Node b: a core and a driver on a disk that takes no time."""

    def __init__(
        self, record: Versioned, say: Callable[[Iterable[Frame]], None], clock: Callable[[], float]
    ) -> None:
        self._say = say
        self._clock = clock
        status = StoreStatus(node="b", epoch=B.epoch)
        self.replica = Replica(node="b", boot=UUID(int=6), image=StoreImage(status), now=clock())
        self.driver = Driver(self.replica, lambda changes, done: done(None), self, clock)
        self.open_link = False
        self.show_record(record)

    def show_record(self, record: Versioned) -> None:
        """Show b the record."""
        self.replica.record_seen(record, self._clock())
        self.driver.run()

    def open(self) -> None:
        """Open the link to a."""
        self.open_link = True
        self.replica.link_opened(LINK, to="a")
        self.driver.run()

    def received(self, frame: Frame) -> None:
        """Take a frame from a, unless the link is closed."""
        if self.open_link:
            self.replica.received(LINK, frame, self._clock())
            self.driver.run()

    def send(self, frames: Iterable[tuple[int, Frame]]) -> None:
        """Send frames to a."""
        self._say(frame for _, frame in frames)

    def request(self, request: Request) -> None:
        """Do nothing: a backup only reads, and the bench shows it every record."""

    def complete(self, completion: Completion) -> None:
        """Do nothing: a backup has no clients."""

    def notify(self, notice: Notice) -> None:
        """Close the link if the core asks for it."""
        if isinstance(notice, CloseLink):
            self.open_link = False

    def store_failed(self, error: BaseException) -> None:
        """Raise the error: b has no disk that may fail."""
        raise error
