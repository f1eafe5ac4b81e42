"""huey's storage on a node of the same process. Any number of threads may use it; none of them knows of asyncio."""

from __future__ import annotations

import datetime as dt
import struct
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import msgpack
from huey.constants import EmptyData
from huey.storage import BaseStorage

from huey_ha.unit import Held, Term, Unit
from qpidha import ArgumentError, InDoubt, Node, NotPrimary, Op, OpTimeout, QpidhaError, StaleHandle

T = TypeVar("T")
HELD_S = 0.001
EXPIRY = struct.Struct(">d")
"""In front of each result: when it expires; 0: never."""
NOT_STORED = (InDoubt, NotPrimary, StaleHandle)
"""The term has ended: a change was not made, or may have been. The next primary knows."""


class ReplicatedStorage(BaseStorage):
    """A change is made and returns when it is safe on all members. A read returns what is safe."""

    blocking = True
    priority = True

    def __init__(self, name: str = "huey", *, node: Node, read_timeout: float = 1.0) -> None:
        super().__init__(name)
        self._node, self._sync = node, node.sync
        self._read_timeout = read_timeout
        self._term: Term | None = None
        self._local = threading.local()
        self._arrived = threading.Condition()
        self._arrivals = 0

    # --- the role of the node --------------------------------------------------------------------

    def promoted(self) -> None:
        """The node is primary: its state is read, and the storage can be used."""
        self._term = self._sync.run(lambda: Term(self._node, self.name, self._wake))

    def demoted(self) -> None:
        """The node is not primary any more: calls raise `NotPrimary`."""
        self._term = None
        self._wake()

    def _wake(self) -> None:
        with self._arrived:
            self._arrivals += 1
            self._arrived.notify_all()

    # --- units -----------------------------------------------------------------------------------

    @contextmanager
    def together(self) -> Iterator[None]:
        """What this thread changes in this block is stored together at its end, or at `commit`: all of it, or nothing."""
        self._local.unit = Unit(self._require_term())
        try:
            yield
        finally:
            self.commit()

    @contextmanager
    def apart(self) -> Iterator[None]:
        """Within `together`: what is changed in this block is stored at once."""
        unit, self._local.unit = self._unit, None
        try:
            yield
        finally:
            self._local.unit = unit

    def commit(self) -> None:
        """Store what this thread has changed together, if there is anything. Raises what `Unit.commit` raises."""
        unit, self._local.unit = self._unit, None
        if unit is None:
            return
        try:
            self._sync.run_safe(lambda: (None, unit.commit()))
        except (*NOT_STORED, OpTimeout):  # In doubt, or pending: not refused.
            raise
        except QpidhaError as error:
            failed = isinstance(error, ArgumentError)
            self._sync.run(lambda: unit.give_back(failed))
            raise

    @property
    def _unit(self) -> Unit | None:
        return getattr(self._local, "unit", None)

    def _require_term(self) -> Term:
        if (term := self._term) is None:
            raise NotPrimary(f"huey: node {self._node.id!r} is not primary")
        return term

    def _do(self, work: Callable[[Unit], T]) -> T:
        """Do this in one turn of the event loop, in the thread's unit or in one of its own."""
        while True:
            try:
                if (unit := self._unit) is not None:
                    return self._sync.run(lambda: work(unit))
                return self._alone(work, Unit(self._require_term()))
            except Held:
                time.sleep(HELD_S)

    def _alone(self, work: Callable[[Unit], T], unit: Unit) -> T:
        request: tuple[bytes, int] | None = getattr(self._local, "request", None)

        def made() -> tuple[T, Op | None]:
            if not self._node.serving:
                raise NotPrimary(f"huey: node {self._node.id!r} is not primary")
            try:
                if request is not None and (row := unit.get("requests", request[0])) is not None:
                    number, answer = unpack(row)
                    if number == request[1]:  # It was made before, and its answer was lost.
                        return answer, unit.term.now()
                value = work(unit)
                if request is not None and unit.changed:
                    unit.remember(request[0], pack([request[1], value]))
                return value, unit.commit()
            finally:
                unit.release()

        return self._sync.run_safe(made)

    def answer(self, client: bytes, number: int, method: str, args: list[Any], named: dict[str, Any]) -> Any:
        """Call a method for a client. A call that it repeats, with the same number, is made once."""
        self._local.request = (client, number)
        try:
            return getattr(self, method)(*args, **named)
        finally:
            self._local.request = None

    # --- the queue -------------------------------------------------------------------------------

    def enqueue(self, data: bytes, priority: float | None = None) -> None:
        self._do(lambda unit: unit.enqueue(data, priority))

    def dequeue(self) -> bytes | None:
        """The next task; waits a moment for one. Within `together` it leaves the queue with the changes of the unit."""
        seen = self._arrivals
        if (data := self._do(Unit.acquire)) is None:
            with self._arrived:
                come = self._arrived.wait_for(lambda: self._arrivals != seen, self._read_timeout)
            data = self._do(Unit.acquire) if come else None
        return data

    def queue_size(self) -> int:
        return self._do(lambda unit: unit.term.tasks.depth - len(unit.term.executed))

    def enqueued_items(self, limit: int | None = None) -> list[bytes]:
        return self._do(lambda unit: list(unit.term.waiting()))[: limit or None]

    def flush_queue(self) -> None:
        self._flush(lambda term: term.queue.purge())

    def _flush(self, work: Callable[[Term], Op]) -> None:
        term = self._require_term()
        self._sync.run(lambda: self._sync.op(work(term))).safe()

    # --- the schedule ----------------------------------------------------------------------------

    def add_to_schedule(self, data: bytes, ts: dt.datetime) -> None:
        key = moment(ts) + uuid.uuid4().bytes
        self._do(lambda unit: unit.set("schedule", key, data))

    def read_schedule(self, ts: dt.datetime) -> list[bytes]:
        return self._do(lambda unit: unit.due(moment(ts) + b"\xff" * 16))

    def schedule_size(self) -> int:
        return self._do(lambda unit: len(unit.term.schedule))

    def scheduled_items(self, limit: int | None = None) -> list[bytes]:
        def items(unit: Unit) -> list[bytes]:
            keys = list(unit.term.schedule)[: limit or None]
            return [unit.term.tables["schedule"].get(key) or b"" for key in keys]

        return self._do(items)

    def flush_schedule(self) -> None:
        self._flush(lambda term: term.flush("schedule"))

    # --- results, locks, counters ----------------------------------------------------------------

    def put_data(self, key: str | bytes, value: bytes, is_result: bool = False) -> None:
        self._do(lambda unit: unit.set("results", raw(key), EXPIRY.pack(0) + value))

    def peek_data(self, key: str | bytes) -> Any:
        return self._do(lambda unit: self._read(unit, key, told=True))

    def peek_many(self, keys: list[str]) -> dict[str, bytes]:
        def found(unit: Unit) -> dict[str, bytes]:
            values = {key: self._read(unit, key, told=True) for key in keys}
            return {key: value for key, value in values.items() if value is not EmptyData}

        return self._do(found)

    def has_data_for_key(self, key: str | bytes) -> bool:
        return self.peek_data(key) is not EmptyData

    def pop_data(self, key: str | bytes) -> Any:
        def pop(unit: Unit) -> Any:
            if (value := self._read(unit, key)) is not EmptyData:
                unit.set("results", raw(key), None)
            return value

        return self._do(pop)

    def put_if_empty(self, key: str | bytes, value: bytes, ttl: float | None = None) -> bool:
        def put(unit: Unit) -> bool:
            free: bool = self._read(unit, key) is EmptyData
            if free:
                expires_at = 0.0 if ttl is None else time.time() + ttl
                unit.set("results", raw(key), EXPIRY.pack(expires_at) + value)
            return free

        return self._do(put)

    def _read(self, unit: Unit, key: str | bytes, told: bool = False) -> Any:
        """``told``: a client may rely on what it reads, so it is told when that is safe."""
        if (row := unit.get("results", raw(key))) is None or expired(row):
            return EmptyData
        unit.told |= told
        return row[EXPIRY.size :]

    def incr(self, key: str | bytes, amount: int = 1) -> int:
        def add(unit: Unit) -> int:
            value = int(unit.get("counters", raw(key)) or 0) + amount
            unit.set("counters", raw(key), b"%d" % value)
            return value

        return self._do(add)

    def delete_counter(self, key: str | bytes) -> None:
        self._do(lambda unit: unit.set("counters", raw(key), None))

    def result_store_size(self) -> int:
        return len(self.result_items())

    def result_items(self) -> dict[str, bytes]:
        rows = self._do(lambda unit: list(unit.term.tables["results"].items()))
        return {
            key.decode(errors="backslashreplace"): row[EXPIRY.size :] for key, row in rows if not expired(row)
        }

    def flush_results(self) -> None:
        self._flush(lambda term: term.flush("results"))

    def flush_counters(self) -> None:
        self._flush(lambda term: term.flush("counters"))


def raw(key: str | bytes) -> bytes:
    return key.encode() if isinstance(key, str) else key


def expired(row: bytes) -> bool:
    at: float = EXPIRY.unpack_from(row)[0]
    return 0 < at <= time.time()


def moment(ts: dt.datetime) -> bytes:
    """Bytes in the order of time."""
    since = ts - dt.datetime.min  # noqa: DTZ901 - huey's times have no zone.
    return (since // dt.timedelta(microseconds=1)).to_bytes(8, "big")


# --- values in the table of requests, and on the wire --------------------------------------------


def pack(value: Any) -> bytes:
    packed: bytes = msgpack.packb(value, default=_extension)
    return packed


def unpack(data: bytes) -> Any:
    return msgpack.unpackb(data, ext_hook=extended)


def _extension(value: Any) -> msgpack.ExtType:
    if value is EmptyData:
        return msgpack.ExtType(1, b"")
    return msgpack.ExtType(2, value.isoformat().encode())


def extended(code: int, data: bytes) -> Any:
    return EmptyData if code == 1 else dt.datetime.fromisoformat(data.decode())
