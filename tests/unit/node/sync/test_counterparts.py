"""What threads have is what the event loop has: the same names with the same arguments.

A method that is added to `Node`, `Queue` and so on must be added to its counterpart, or be listed here with the reason
why threads do not have it.
"""

from __future__ import annotations

import inspect

import pytest

from qpidha import Configuration, Node, Op, Producer, ProducerOp, Queue, Table, Transaction
from qpidha.node import NewQueue, Part
from qpidha.node.sync import (
    SyncConfiguration,
    SyncNewQueue,
    SyncNode,
    SyncOp,
    SyncPart,
    SyncProducer,
    SyncProducerOp,
    SyncQueue,
    SyncTable,
    SyncTransaction,
)

CALLBACK = "a callback is called in the event loop: it is registered there"
BY_THE_NODE = "the node calls it"
PAIRS: list[tuple[type, type, dict[str, str]]] = [
    (
        Node,
        SyncNode,
        {
            "start": "it binds the node to the event loop that it is called in",
            "sync": "it is this",
            "watch_table": CALLBACK,
        },
    ),
    (
        Queue,
        SyncQueue,
        {
            "on_content": CALLBACK,
            "on_safe_upto": CALLBACK,
            "end_of_turn": BY_THE_NODE,
            "content_changed": BY_THE_NODE,
            "flush": "a thread does not know what else was published in the turn",
            "announce": "it is for the queue types, which work in the event loop",
            "claim": "it is for the queue types, which work in the event loop",
            "index": "it changes in the event loop, where the queue types use it",
            "select": "it is for the queue types, which work in the event loop",
        },
    ),
    (Table, SyncTable, {"on_change": CALLBACK}),
    (Configuration, SyncConfiguration, {"on_change": CALLBACK}),
    (Transaction, SyncTransaction, {}),
    (Part, SyncPart, {}),
    (NewQueue, SyncNewQueue, {}),
    (Producer, SyncProducer, {}),
    (ProducerOp, SyncProducerOp, {"add_safe_callback": CALLBACK, "within": "safe(timeout_s) is this"}),
    (Op, SyncOp, {"add_safe_callback": CALLBACK, "within": "safe(timeout_s) is this"}),
]
ADDED = {
    SyncNode: {"op", "run", "run_safe", "within"},
    SyncQueue: {"generation"},
    SyncTable: {"generation"},
    SyncProducer: {"epoch", "generation", "name"},
}
"""What only threads need; or is no property for the loop, but a field."""
METHODS = [
    (loop, thread, name)
    for loop, thread, _ in PAIRS
    for name in sorted(set(dir(loop)) & set(dir(thread)))
    if inspect.isfunction(getattr(loop, name)) and (not name.startswith("_") or name == "__iter__")
]


def names(cls: type) -> set[str]:
    return {name for name in dir(cls) if not name.startswith("_")}


@pytest.mark.parametrize(("loop", "thread", "left_out"), PAIRS)
def test_threads_have_what_the_loop_has(loop: type, thread: type, left_out: dict[str, str]) -> None:
    missing = names(loop) - names(thread)
    assert missing == set(left_out), f"add it to {thread.__name__}, or say here why not"
    assert names(thread) - names(loop) == ADDED.get(thread, set())


@pytest.mark.parametrize(("loop", "thread", "name"), METHODS)
def test_methods_take_the_same_arguments(loop: type, thread: type, name: str) -> None:
    def arguments(cls: type) -> list[tuple[str, object, object]]:
        found = inspect.signature(getattr(cls, name)).parameters.values()
        return [(each.name, each.kind, each.default) for each in found]

    assert arguments(thread) == arguments(loop)


@pytest.mark.parametrize(("loop", "thread", "left_out"), PAIRS)
def test_what_is_a_property_is_one_for_threads_too(
    loop: type, thread: type, left_out: dict[str, str]
) -> None:
    """But for ``safe``, which waits for a thread and says for the loop how things are."""
    for name in (names(loop) & names(thread)) - ({"safe"} if issubclass(loop, Op) else set()):
        methods = [inspect.isfunction(getattr(cls, name)) for cls in (loop, thread)]
        assert methods[0] == methods[1], name


def test_special_methods_are_there_too() -> None:
    for loop, thread, _ in PAIRS:
        for name in ("__iter__", "__len__", "__bool__", "__contains__", "__enter__", "__exit__"):
            assert hasattr(loop, name) == hasattr(thread, name), (thread, name)


def test_the_comparison_sees_methods() -> None:
    assert len(METHODS) > 40
