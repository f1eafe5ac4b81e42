"""huey's storage for processes without a node: each call goes to the primary, over TCP.

A request is [client, number, method, arguments, named arguments]. A client that got no answer sends the same request to
the next node, until the primary answers: it is made once, because the number of the last one is stored with what it has
changed.
"""

from __future__ import annotations

import logging
import socket
import socketserver
import sys
import threading
import time
import uuid
from collections.abc import Iterator
from typing import Any

import msgpack
from huey.storage import BaseStorage

from huey_ha.storage import ReplicatedStorage, extended, pack
from qpidha import ArgumentError, QpidhaError
from qpidha.clusterfile import find_cluster_file
from qpidha.errors import NotEnoughMembers
from qpidha.types import Address

log = logging.getLogger("huey")
METHODS = frozenset(
    "enqueue dequeue queue_size enqueued_items flush_queue add_to_schedule read_schedule schedule_size scheduled_items "
    "flush_schedule put_data peek_data peek_many pop_data has_data_for_key put_if_empty incr delete_counter "
    "result_store_size result_items flush_results flush_counters".split()
)
REFUSALS = (
    ArgumentError,
    NotEnoughMembers,
    TypeError,
    ValueError,
    AttributeError,
    LookupError,
    ArithmeticError,
)
"""Nothing was changed, and no other node would do it. After all other errors the client asks the next node."""
LIST_MAX = 8192
"""Values in one list or map of a request. Memory for a list is taken when its length is read, before its values come."""
AGAIN_S = 0.1
SILENCE_MAX_S = 30.0
"""A node that does not answer for so long is given up."""


def messages(link: socket.socket, list_max: int = -1) -> Iterator[Any]:
    unpacker = msgpack.Unpacker(
        ext_hook=extended, max_buffer_size=1 << 26, max_array_len=list_max, max_map_len=list_max
    )
    while data := link.recv(1 << 16):
        unpacker.feed(data)
        yield from unpacker


class Port(socketserver.ThreadingTCPServer):
    """A thread for each client. A node that is not primary hangs up, and the client asks the next one."""

    allow_reuse_address = True
    daemon_threads = True
    request_queue_size = 1024  # After a failover all clients connect at once.

    def __init__(self, address: tuple[str, int], storage: ReplicatedStorage) -> None:
        super().__init__(address, Client)
        self.storage = storage
        threading.Thread(target=self.serve_forever, name="huey-port", daemon=True).start()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client is dropped, because of an error that `Client` does not expect or because no thread could begin."""
        log.warning("client dropped: %s", sys.exc_info()[1])


class Client(socketserver.BaseRequestHandler):
    def handle(self) -> None:
        assert isinstance(self.server, Port)
        try:
            for request in messages(self.request, LIST_MAX):
                self.request.sendall(pack(self._answer(self.server.storage, *request)))
        except (QpidhaError, OSError, ValueError, TypeError, msgpack.UnpackException):
            return  # Without an answer: the next primary knows.

    def _answer(
        self, storage: ReplicatedStorage, client: bytes, number: int, method: str, *rest: Any
    ) -> list[Any]:
        if method not in METHODS:
            return [False, f"there is no method {method}"]
        try:
            return [True, storage.answer(client, number, method, *rest)]
        except REFUSALS as error:
            return [False, str(error)]


class Refused(Exception):
    """The primary refuses a call. Nothing was changed."""


class Link:
    """The connection of one thread, to whichever node is primary."""

    def __init__(self, addresses: list[Address], patience: float) -> None:
        self._addresses, self._patience = addresses, patience
        self._client, self._number = uuid.uuid4().bytes, 0
        self._socket: socket.socket | None = None
        self._answers: Iterator[Any] = iter(())
        self._tried = 0

    def call(self, method: str, arguments: tuple[Any, ...], named: dict[str, Any]) -> Any:
        self._number += 1
        request = pack([self._client, self._number, method, arguments, named])
        deadline = time.monotonic() + self._patience
        while True:
            try:
                return self._ask(request)
            except OSError as error:
                self.close()
                if time.monotonic() > deadline:
                    raise ConnectionError(f"huey: no primary answers: {error}") from error
                self._tried += 1
                if self._tried % len(self._addresses) == 0:
                    time.sleep(AGAIN_S)

    def _ask(self, request: bytes) -> Any:
        if self._socket is None:
            address = self._addresses[self._tried % len(self._addresses)]
            self._socket = socket.create_connection(address, timeout=SILENCE_MAX_S)
            self._answers = messages(self._socket)
        self._socket.sendall(request)
        answered, value = next(self._answers, (None, None))
        if answered is None:
            raise ConnectionError("it is not the primary")
        if not answered:
            raise Refused(value)
        return value

    def close(self) -> None:
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    __del__ = close  # When its thread has ended.


class ClusterStorage(BaseStorage):
    """For any number of threads. A call goes on for ``patience``, in seconds, while there is no primary."""

    blocking = True
    priority = True

    def __init__(self, name: str = "huey", *, cluster: str | None = None, patience: float = 60.0) -> None:
        super().__init__(name)
        file = find_cluster_file(cluster)
        nodes = () if file is None else file.nodes.values()
        self._addresses = [node.client_address for node in nodes if node.client_address]
        if not self._addresses:
            raise ValueError("huey: no cluster file, or no client_address in it")
        self._patience = patience
        self._local = threading.local()

    def close(self) -> None:
        """Close the connection of this thread."""
        self._local.__dict__.clear()

    def peek_many(self, keys: list[str]) -> dict[str, bytes]:
        found: dict[str, bytes] = {}
        for at in range(0, len(keys), LIST_MAX):
            found |= self._call("peek_many", (list(keys[at : at + LIST_MAX]),), {})
        return found

    def _call(self, method: str, arguments: tuple[Any, ...], named: dict[str, Any]) -> Any:
        if (link := getattr(self._local, "link", None)) is None:
            link = self._local.link = Link(self._addresses, self._patience)
        return link.call(method, arguments, named)


def _forwarded(method: str) -> Any:
    def call(self: ClusterStorage, *arguments: Any, **named: Any) -> Any:
        return self._call(method, arguments, named)

    return call


for _method in METHODS - {"peek_many"}:
    setattr(ClusterStorage, _method, _forwarded(_method))
