"""Checks of the public methods of `Node`, `Queue` and `Op`: the calling thread, the term and the arguments.

Core, queues and ops belong to the thread of the event loop in which the node was started. Two threads that publish at
the same time would be given the same ids, so a call from another one is refused before it looks at anything.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from qpidha.addresses import as_addresses
from qpidha.checks import (
    ADDRESS,
    ADDRESSES_MAX,
    CALLBACK,
    DESTINATION,
    NODE_ID,
    PATH,
    SCORE,
    Rule,
    implements,
    instance_of,
    integer,
    is_integer,
    method_fault,
    one_or_more,
    optional,
    shown,
)
from qpidha.errors import (
    ArgumentError,
    CallerError,
    LocalProtocolError,
    SettingsError,
    StaleHandle,
    WrongThread,
)
from qpidha.seq import SequenceSet
from qpidha.settings import Settings
from qpidha.system.forks import forked_error
from qpidha.types import MESSAGE_ID_MAX, BytesLike, Generation
from qpidha.wildcard import is_wildcard

# --- threads -------------------------------------------------------------------------------------


FORKED = -1
"""In place of a thread: the node lives in the parent of this process."""


def wrong_thread(what: str, thread: int) -> CallerError:
    """The error of a call from another thread. ``thread``: that of the node; 0: it was never started; or `FORKED`."""
    if thread == FORKED:
        return forked_error(f"{what}: the node")
    if not thread:
        return LocalProtocolError(f"{what} before Node.start: the node belongs to no event loop yet")
    return WrongThread(
        f"{what} was called from another thread than the node's event loop. From a thread use node.sync, which has the "
        "same methods and waits for the loop; or asyncio.run_coroutine_threadsafe(coroutine, loop), or "
        "loop.call_soon_threadsafe(function, …)"
    )


# --- terms ---------------------------------------------------------------------------------------


def stale(what: str, begun: Generation, current: Generation, then: str) -> StaleHandle:
    """The error of a change through something that belongs to an earlier term.

    Args:
        what: What it is and what was done with it in that term: "this handle of queue 'q' was made".
        begun: That term; 0: the node was a backup.
        current: The term that runs now.
        then: What the caller is to do.
    """
    when = f"in generation {begun}" if begun else "while this node was a backup"
    text = f"{what} {when}, and the node is now in generation {current}: {then}"
    return StaleHandle(text, generation=begun, current=current)


# --- constructors --------------------------------------------------------------------------------

BROKER = implements("Broker", waiting=("on_promote", "on_demote", "on_discarded"))
STORE = implements("MessageStore", plain=("open", "commit", "close"))
TRANSPORT = implements("Transport", waiting=("listen", "connect"))
RECORDS = implements(
    "RecordStore",
    plain=("watch", "watch_live"),
    waiting=("read", "create", "compare_and_set", "open_session", "live", "close"),
)
PROMOTER = implements("Promoter", plain=("decisions",))
QUEUE_TYPES = Rule(
    "a mapping from kinds of queues to functions that make an index",
    lambda value: (
        isinstance(value, Mapping)
        and all(isinstance(kind, str) and callable(make) for kind, make in value.items())
    ),
)
SOCKET_NAME_BYTES_MAX = 80
"""A socket's address has about 108 bytes; its directory is reached by a short path."""
SOCKET = Rule(
    f"{PATH.allowed}, with a file name of at most {SOCKET_NAME_BYTES_MAX} bytes",
    lambda value: PATH.fits(value) and 0 < len(os.fsencode(Path(value).name)) <= SOCKET_NAME_BYTES_MAX,
)


def check_node(
    *,
    id: object,
    broker: object,
    store: object,
    transport: object,
    records: object,
    promoter: object,
    settings: object,
    control: object,
    on_event: object,
    queue_types: object,
) -> None:
    """What a node is made of. Raises `SettingsError`."""
    for name, rule, value in (
        ("id", NODE_ID, id),
        ("broker", BROKER, broker),
        ("store", STORE, store),
        ("transport", TRANSPORT, transport),
        ("records", RECORDS, records),
        ("promoter", optional(PROMOTER), promoter),
        ("settings", optional(instance_of(Settings)), settings),
        ("control", optional(SOCKET), control),
        ("on_event", optional(CALLBACK), on_event),
        ("queue_types", QUEUE_TYPES, queue_types),
    ):
        rule(name, value, SettingsError)
    if not isinstance(blocking := getattr(store, "blocking", None), bool):
        raise SettingsError(f"store.blocking must be True or False, not {shown(blocking)}")
    if (on_queue := getattr(broker, "on_queue", None)) is not None and (
        fault := method_fault(broker, "on_queue", False)
    ):
        raise SettingsError(
            f"broker.on_queue must be a plain method or absent, not {shown(on_queue)}: {fault}"
        )


LISTEN = one_or_more(ADDRESS, ADDRESSES_MAX)
ADVERTISE = optional(one_or_more(DESTINATION, ADDRESSES_MAX))


def check_addresses(listen: object, advertise: object, client_address: object) -> None:
    """Require that the published addresses are ones that others can connect to. Raises `SettingsError`."""
    LISTEN("listen", listen, SettingsError)
    ADVERTISE("advertise", advertise, SettingsError)
    optional(DESTINATION)("client_address", client_address, SettingsError)
    for address in as_addresses(listen) if advertise is None else ():  # type: ignore[arg-type]
        if is_wildcard(address[0]):
            raise SettingsError(
                f"listen is {address!r}, every address of this machine, which other nodes cannot connect to: "
                'give advertise=("the name or address of this machine", port) as well'
            )


def checked_score(score: object, promoter: object) -> int:
    """The score that is published: the one given, or else the promoter's priority."""
    if score is not None:
        SCORE("score", score, SettingsError)
    else:
        score = getattr(promoter, "priority", 0)
        SCORE("promoter.priority", score, SettingsError)
    assert isinstance(score, int)
    return score


# --- messages and ids ----------------------------------------------------------------------------

ID = integer(1, MESSAGE_ID_MAX)
IDS = "an id, a range, a SequenceSet or a collection of ids"


def as_bytes(name: str, data: BytesLike) -> bytes:
    """The data as immutable bytes; the same object if it is bytes already."""
    if type(data) is bytes:
        return data
    if not isinstance(data, (bytes, bytearray, memoryview)):
        hint = "; encode text with .encode()" if isinstance(data, str) else ""
        raise ArgumentError(f"{name} must be bytes, a bytearray or a memoryview, not {shown(data)}{hint}")
    try:
        return bytes(data)
    except ValueError as error:  # A view that was released.
        raise ArgumentError(f"{name} cannot be read: {error}") from None


def as_set(ids: Any, next_id: int, held: SequenceSet) -> SequenceSet:
    """The ids given by an embedder, in any form, as a set. Each must have been assigned.

    ``held``: of a range with steps, only ids in this set are taken, because the range may be longer than memory.

    Raises:
        ArgumentError: Not ids, or ids that were never assigned. What an iterable of the caller raises is not converted.
    """
    if is_integer(ids):
        if not 1 <= ids < next_id:
            raise never_given_out(ids, next_id)
        return SequenceSet.from_range(ids, ids)
    if isinstance(ids, SequenceSet):
        found = ids
    elif isinstance(ids, range):
        found = _of_range(ids, held)
    else:
        found = _of_iterable(ids)
    if found and not 1 <= found.first <= found.last < next_id:
        raise never_given_out(found.first if found.first < 1 else found.last, next_id)
    return found


def never_given_out(id: int, next_id: int) -> ArgumentError:
    """The error for an id at or above ``next_id``."""
    return ArgumentError(f"ids must be ids that were given out, from 1 to {next_id - 1}, not {shown(id)}")


def _of_range(ids: range, held: SequenceSet) -> SequenceSet:
    if not ids:
        return SequenceSet()
    low, high = min(ids[0], ids[-1]), max(ids[0], ids[-1])
    ID("ids", low)
    ID("ids", high)
    if abs(ids.step) == 1:
        return SequenceSet.from_range(low, high)
    found = SequenceSet(id for id in held.slice(low, high) if id in ids)
    found.add(high)  # Whether it was ever given out is still to be seen.
    return found


def _of_iterable(ids: Any) -> SequenceSet:
    if isinstance(ids, (str, bytes, bytearray, memoryview, bool)) or not isinstance(ids, Iterable):
        raise ArgumentError(f"ids must be {IDS}, not {shown(ids)}")
    items = list(ids)
    if set(map(type, items)) - {int} or not (not items or 1 <= min(items) <= max(items) <= MESSAGE_ID_MAX):
        for item in items:
            if not ID.fits(item):
                raise ArgumentError(f"ids must be {IDS}; one of them is {shown(item)}")
    return SequenceSet(items)
