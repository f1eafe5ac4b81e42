"""Every public method that belongs to the event loop refuses other threads: found by name, so that none is forgotten.

A method passes if it raises `WrongThread`, or says in its docstring that any thread may call it, or that only the node
calls it. A property may be readable from any thread, if the docstring of its class says so for properties
and its own does not name the error.
"""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Iterator
from typing import Any

import pytest

from qpidha import Configuration, Node, Op, Queue, SequenceSet, Table, Transaction, WrongThread
from tests.support.threads import Worker, nodes

CLASSES: tuple[type, ...] = (Node, Queue, Table, Configuration, Transaction, Op)
SPECIAL = ("__iter__", "__contains__")
NAMES = [
    (cls, name)
    for cls in CLASSES
    for name in dir(cls)
    if not name.startswith("_") or (name in SPECIAL and hasattr(cls, name))
]


def arguments(method: Any, values: dict[str, object]) -> dict[str, object]:
    """A value for each argument that has no default. Raises KeyError for one that this test does not know yet."""
    return {
        name: values[name]
        for name, parameter in inspect.signature(method).parameters.items()
        if parameter.default is inspect.Parameter.empty
    }


def use(thing: object, name: str, values: dict[str, object]) -> object:
    """Read a property, or call a method to its end."""
    if not inspect.isroutine(getattr(type(thing), name)):
        return getattr(thing, name)
    method = getattr(thing, name)
    result = method(**arguments(method, values))
    if inspect.iscoroutine(result):
        return asyncio.run(result)
    return result


def texts(cls: type) -> str:
    return " ".join(" ".join((each.__doc__ or "").split()) for each in cls.__mro__)


def any_thread(cls: type, name: str) -> bool:
    """The documentation says so."""
    found = getattr(cls, name)
    doc = found.__doc__ or ""
    if inspect.isroutine(found):
        return "any thread" in doc or doc.startswith("Called by the node")
    if "WrongThread" in doc:
        return False
    return "roperties may be read from any thread" in texts(cls)


@pytest.fixture(scope="module")
def things() -> Iterator[dict[type, Any]]:
    with nodes("a") as (thread, _, (a,)):

        async def make() -> dict[type, Any]:
            queue, table = a.declare("q"), a.table("t")
            op = queue.enqueue(b"1")
            await op
            return {
                Node: a,
                Queue: queue,
                Table: table,
                Configuration: a.configuration,
                Transaction: a.transaction(),
                Op: op,
                list: a.declare("other"),
            }

        yield thread.run(make())
        assert a.serving
        assert [each.name for each in a.sync.queues] == ["q", "other"]
        assert list(a.sync.queue("q")) == [(1, b"1")]  # No call did anything.
        assert len(a.sync.table("t")) == 0 and a.sync.configuration.objects() == []


@pytest.mark.parametrize(("cls", "name"), NAMES, ids=lambda value: getattr(value, "__name__", value))
def test_another_thread_is_refused(cls: type, name: str, things: dict[type, Any]) -> None:
    queue, other = things[Queue], things[list]
    values: dict[str, object] = {
        "name": {"queue": "q", "table": "t"}.get(name, "new"),
        "queue": queue,
        "queues": [queue, other],
        "target": other,
        "table": things[Table],
        "data": b"x",
        "what": "a queue type",
        "props": b"p",
        "batch": [b"x"],
        "ids": 1,
        "places": SequenceSet([1]),
        "id": 1,
        "first_id": 1,
        "key": b"k",
        "value": b"v",
        "kind": "kind",
        "why": "a test",
        "timeout_s": 1.0,
        "callback": print,
    }
    worker = Worker(lambda: use(things[cls], name, values))
    error = worker.join()
    if any_thread(cls, name):
        assert not isinstance(error, WrongThread)
    else:
        assert isinstance(error, WrongThread), (error, worker.result)
        assert "node.sync" in str(error)


def test_names_and_documentation_are_seen() -> None:
    """Or the test above would let everything pass."""
    assert len(NAMES) > 80
    assert (Queue, "enqueue") in NAMES and (Table, "__iter__") in NAMES
    free = {(cls, name) for cls, name in NAMES if any_thread(cls, name)}
    methods = {name for cls, name in free if inspect.isroutine(getattr(cls, name))}
    assert methods == {"end_of_turn", "content_changed"}
    assert (Node, "role") in free and (Queue, "depth") in free and (Queue, "declared") not in free
