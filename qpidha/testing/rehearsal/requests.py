"""What a broker offers besides publish and accept, as the clients of a rehearsal ask for it.

An embedder writes one class of clients. The methods that it has say what the broker has: each of these protocols is an
optional ability. A call returns when the broker told the client that it is done, in words that last: after a
failover, too. It may raise:

    RequestRefused      the broker said that nothing was changed
    OSError, EOFError, TimeoutError, RequestUnknown      no answer came: it was done, or not, or is done later

A call that takes longer than `REQUEST_S` is cancelled; the client must then close its connection, or ignore the late
answer. The next call looks for the primary again.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Protocol, TypeAlias, runtime_checkable

from qpidha.types import Address

REQUEST_S = 10.0
"""Virtual seconds after which a request without an answer is cancelled."""


class RequestRefused(Exception):
    """The broker said that it changed nothing."""


class RequestUnknown(Exception):
    """The client does not know whether the broker did it."""


NO_ANSWER = (OSError, EOFError, asyncio.TimeoutError, TimeoutError, RequestUnknown)
"""What a client raises that does not know the outcome."""


class Requests(Protocol):
    """One client. It has the methods of any of the protocols below; nothing else is asked of it."""

    async def close(self) -> None:
        """Close the connection. Called once, at the end."""


MakeRequests: TypeAlias = Callable[[Sequence[Address], int], Requests]
"""Makes the client with this number, given the addresses of all nodes. It connects when it is asked for something."""


@runtime_checkable
class KeepsObjects(Protocol):
    """The broker has objects: exchanges, bindings, users, policies."""

    async def put_object(self, name: str, value: bytes) -> None:
        """Create or replace an object."""

    async def delete_object(self, name: str) -> None:
        """Delete an object. One that is not there is fine."""

    async def get_object(self, name: str) -> bytes | None:
        """Read an object, as a client that relies on the answer: see `Node.barrier`. None: there is none."""


@runtime_checkable
class KeepsKeys(Protocol):
    """The broker has a table: retained messages, offsets, sessions."""

    async def put_key(self, name: str, value: bytes) -> None:
        """Set a key."""

    async def remove_key(self, name: str) -> None:
        """Remove a key. One that is not there is fine."""

    async def get_key(self, name: str) -> bytes | None:
        """Read a key, as a client that relies on the answer. None: it is not set."""


@runtime_checkable
class DeclaresQueues(Protocol):
    """Clients declare and delete queues."""

    async def declare_queue(self, name: str) -> None:
        """Declare a queue. One that is there is fine."""

    async def delete_queue(self, name: str) -> None:
        """Delete a queue. One that is not there is fine."""

    async def has_queue(self, name: str) -> bool:
        """Tell whether there is such a queue, as a client that relies on the answer."""


@runtime_checkable
class CommitsMessages(Protocol):
    """The broker has transactions."""

    async def commit(self, messages: Sequence[bytes]) -> None:
        """Publish all of these to the queue of the consumers, or none."""


@runtime_checkable
class PublishesOnce(Protocol):
    """The broker recognises a publish that is repeated."""

    async def publish_once(self, sequence: int, message: bytes) -> None:
        """Publish a message to the queue of the consumers. It is called again with the same sequence until it returns.

        Sequences of one client begin at 1, without gaps. The client keeps what identifies it to the broker.
        """
