"""Both ends of the stream: one publisher and one consumer, and the counts and checksums that are compared afterwards."""

from __future__ import annotations

import asyncio
import hashlib
import struct
import sys
from collections.abc import Iterable, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

from qpidha.demo.input import Input
from qpidha.demo.pace import Pace
from qpidha.types import Address

BACKLOG_MESSAGES_MAX, BACKLOG_BYTES_MAX = 500_000, 64 * 1024 * 1024
BACKLOG_PART = 3
"""The consumer stays a third of the stream behind, so that there is a queue to keep and to resynchronise."""
NAP_S = 0.005


class Tally:
    """Counts messages and digests them: their joint content, and where one ends and the next begins."""

    def __init__(self) -> None:
        self.messages = 0
        self.nbytes = 0
        self._content = hashlib.sha256()
        self._sizes = hashlib.sha256()

    def add(self, messages: Iterable[bytes]) -> None:
        """The next messages, in order."""
        batch = messages if isinstance(messages, list) else list(messages)
        content = b"".join(batch)
        self.messages += len(batch)
        self.nbytes += len(content)
        self._content.update(content)
        self._sizes.update(struct.pack(f"<{len(batch)}Q", *map(len, batch)))

    @property
    def sha256(self) -> str:
        """Of the joint content: what ``cat FILES | sha256sum`` prints."""
        return self._content.hexdigest()

    def same_as(self, other: Tally) -> bool:
        """The same messages in the same order, byte for byte."""
        mine = (self.messages, self._content.digest(), self._sizes.digest())
        return mine == (other.messages, other._content.digest(), other._sizes.digest())


def load_module(broker: Path, name: str) -> Any:
    """A module of the example, which lies beside the broker."""
    folder = str(broker.resolve().parent)
    if folder not in sys.path:
        sys.path.insert(0, folder)
    return import_module(name)


def backlog_of(source: Input) -> int:
    """How many messages are to wait in the queue while the stream runs."""
    average = max(1, source.nbytes // max(1, source.messages))
    return min(source.messages // BACKLOG_PART, BACKLOG_MESSAGES_MAX, BACKLOG_BYTES_MAX // average)


class Traffic:
    """Streams one input through the queue, at a pace that leaves room for the kills."""

    def __init__(
        self, client: Any, addresses: Sequence[Address], source: Input, pace: Pace, backlog: int
    ) -> None:
        self.publisher = client.Publisher(addresses)
        self.consumer = client.Consumer(addresses)
        self.went_in = Tally()
        self.came_out = Tally()
        self.all_published = False
        self._source = source
        self._pace = pace
        self._backlog = backlog

    async def publish(self) -> None:
        """Publish everything, then wait until everything is acknowledged."""
        now = asyncio.get_running_loop().time
        for batch in self._source.batches():
            self.went_in.add(batch)
            at = 0
            while at < len(batch):
                allowed = self._pace.allowance(self.publisher.published, now())
                if allowed > 0:
                    part = batch[at : at + allowed]
                    await self.publisher.publish(part)
                    at += len(part)
                # Slowed down, by fewer batches rather than by smaller ones.
                await asyncio.sleep(0 if at == len(batch) else NAP_S)
        self.all_published = True
        await self.publisher.drain()

    async def consume(self) -> None:
        """Take, check off and accept until as many messages came as went in."""
        while not self.all_published or self.came_out.messages < self.went_in.messages:
            if not self.all_published and self.backlog < self._backlog:
                await asyncio.sleep(NAP_S)
                continue
            delivery = await self.consumer.receive()
            self.came_out.add(self.consumer.fresh(delivery))
            self.consumer.accept(delivery)

    @property
    def backlog(self) -> int:
        """Acknowledged to the publisher and not yet with the consumer."""
        behind: int = self.publisher.confirmed - self.came_out.messages
        return behind

    @property
    def missing(self) -> int:
        """Acknowledged messages that never came out: what must be 0 at the end."""
        publisher = self.publisher
        lost: int = self.consumer.deduplicator.missing(publisher.publisher, publisher.confirmed)
        return lost
