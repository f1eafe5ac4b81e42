"""Any value into any public call: nothing but the documented errors comes out, and nothing breaks.

The calls are found in the public modules, and their parameters in the signatures. A new call fails here until this file
says how to reach it. Values are drawn from a seed; half of them are right for their parameter, so that calls get
past their first check.
"""

from __future__ import annotations

import asyncio
import dataclasses
import importlib
import inspect
import random
import tempfile
from collections.abc import Callable, Coroutine, Iterator
from contextlib import aclosing, suppress
from enum import Enum
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, Protocol, TypeAlias, is_typeddict

import pytest
import trustme
from opentelemetry import trace

from qpidha import (
    Answers,
    Batch,
    Configuration,
    Landing,
    Node,
    Op,
    Producer,
    ProducerOp,
    Queue,
    SequenceSet,
    Settings,
    SyncConfiguration,
    SyncNode,
    SyncOp,
    SyncQueue,
    SyncTable,
    SyncTransaction,
    Table,
    Transaction,
)
from qpidha.clusterfile import ClusterFile
from qpidha.core.keyed import KEYED
from qpidha.core.replica import Replica
from qpidha.errors import QpidhaError
from qpidha.promoters import OperatorPromoter
from qpidha.queues import (
    MSGPACK,
    Consumer,
    Delivery,
    DeliveryQueue,
    FifoQueue,
    MessageIndex,
    MsgpackFormat,
    SessionQueue,
    Traits,
)
from qpidha.records import (
    EtcdRecordStore,
    FileRecordStore,
    MemoryRecordStore,
    PostgreSqlRecordStore,
    TlsFiles,
    ZooKeeperRecordStore,
)
from qpidha.seq import SequenceTracker
from qpidha.service import NodeProgram, Service
from qpidha.stores import MemoryStore, SqliteStore
from qpidha.stores import inspect as inspect_store
from qpidha.tracing import Spans
from qpidha.transports import MemoryNetwork, MemoryTransport, TcpTransport
from qpidha.web import EventLog, NodeServer, ServerFiles, Tokens
from tests.support.cores import Node as CoreNode
from tests.support.door_values import ODD, RIGHT, CallersOwnError, argument
from tests.support.harness import Recorder, until

MODULES = (
    "qpidha",
    "qpidha.clusterfile",
    "qpidha.promoters",
    "qpidha.records",
    "qpidha.core.replica",
    "qpidha.queues",
    "qpidha.seq",
    "qpidha.service",
    "qpidha.settings",
    "qpidha.stores",
    "qpidha.tracing",
    "qpidha.transports",
    "qpidha.types",
    "qpidha.web",
    "qpidha.wire.batch",
    "qpidha.wire.info",
)
SEEDS = 3
CALLS = 8
"""For each call and seed."""

# --- the public calls ----------------------------------------------------------------------------


class Target(NamedTuple):
    """One public call."""

    name: str
    owner: type | None
    """The class of a method; None for functions and constructors."""
    call: Any
    attribute: str


def public(module: Any) -> Iterator[tuple[str, Any]]:
    """The names that a module offers: those it lists, or those it defines."""
    for name in getattr(module, "__all__", None) or vars(module):
        value = getattr(module, name)
        listed = hasattr(module, "__all__") or getattr(value, "__module__", None) == module.__name__
        if listed and not name.startswith("_") and callable(value):
            yield name, value


def found() -> dict[str, Target]:
    """Every public function, constructor and method, once."""
    targets: dict[str, Target] = {}
    for module_name in MODULES:
        for name, value in public(importlib.import_module(module_name)):
            if not isinstance(value, type):
                targets[name] = Target(name, None, value, name)
                continue
            if issubclass(value, (QpidhaError, Enum)) or Protocol in value.__mro__ or is_typeddict(value):
                continue
            if not (dataclasses.is_dataclass(value) and value is not Settings):
                targets[name] = Target(name, None, value, name)
            for attribute in dir(value):
                method = inspect.getattr_static(value, attribute)
                wanted = not attribute.startswith("_") or attribute in DUNDERS
                if (
                    wanted
                    and callable(getattr(value, attribute))
                    and not isinstance(method, (property, type))
                ):
                    full = f"{name}.{attribute}"
                    targets[full] = Target(full, value, getattr(value, attribute), attribute)
    return targets


DUNDERS = ("__iter__", "__contains__", "__aenter__")

# --- what is documented --------------------------------------------------------------------------

INTERNAL = {
    "Queue": "end_of_turn",
    "MessageIndex": "check held inserted level_of removed",
    "MemoryNetwork": "claim reaches",
    "SqliteStore": "forked",
    "MemoryRecordStore": "publish",
    "OperatorPromoter": "decisions",
    "PriorityPromoter": "decisions",
    "TermBroker": "on_promote on_demote on_discarded",
    "Replica": "answered check hand_over_failed handed_over link_closed link_failed link_opened "
    "ready received record_seen step_down stop tick urgent",
}
"""Called only by other parts of the library, with values that the library made."""

PYTHONS = (TypeError, ValueError, IndexError, OverflowError, BufferError, MemoryError)
DOCUMENTED: dict[str, tuple[type[BaseException], ...]] = {
    "SequenceSet": PYTHONS,
    "SequenceTracker": PYTHONS,
    "Batch": PYTHONS,
    "Landing": PYTHONS,
    "serial": PYTHONS,
    "TcpTransport.listen": (OSError,),
    "MemoryTransport.listen": (OSError,),
    "FifoQueue": (),
    "Traits.": PYTHONS,
    "level_of": (AttributeError,),  # It reads an id that the library made, and checks nothing.
    "MessageIndex": (),
    "NodeProgram.run": (SystemExit,),
    "Delivery.": PYTHONS,
}
"""Built-in errors of Python that compiled code and sockets raise."""

UNUSABLE_SIZES = ("size", "items", "order", "origins", "max_runs", "runs")
"""Parameters for which huge numbers or ranges would only measure the machine."""


def documented(name: str) -> tuple[type[BaseException], ...]:
    allowed: tuple[type[BaseException], ...] = (QpidhaError, CallersOwnError)
    for prefix, more in DOCUMENTED.items():
        if name.startswith(prefix):
            allowed += more
    return allowed


# --- where the calls are made --------------------------------------------------------------------


class Stage:
    """A cluster of two with real stores, whose primary is called, and one of everything else."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.network = MemoryNetwork()
        self.records = MemoryRecordStore()
        self.nodes: dict[str, Node] = {}
        self.count = 0

    async def start(self) -> None:
        for port, name in enumerate(("a", "b"), 1):
            self.nodes[name] = node = self.node(name, port, SqliteStore(self.directory / name))
            await node.start()
        await self.nodes["a"].promote()
        await until(lambda: self.nodes["b"].status().in_sync)
        self.queue = self.nodes["a"].declare("q")
        self.other = self.nodes["a"].declare("other")
        self.table = self.nodes["a"].table("t")
        self.delivery = DeliveryQueue(self.nodes["a"], self.nodes["a"].declare("priority", kind="priority"))
        self.fifo = FifoQueue(self.queue)
        self.mailbox = SessionQueue(self.nodes["a"].declare("session"))
        self.caller = self.nodes["a"].sync._caller
        await self.queue.enqueue_many([b"1", b"2", b"3"])

    def node(self, name: str, port: int, store: Any) -> Node:
        transport = MemoryTransport(self.network)
        return Node(
            name,
            broker=Recorder(),
            store=store,
            transport=transport,
            records=self.records,
            listen=(name, port),
        )

    def fresh(self) -> Path:
        self.count += 1
        return self.directory / f"fresh-{self.count}"

    def private(self, text: str) -> Path:
        """A file with this text that its owner only can read."""
        path = self.fresh()
        path.touch(0o600)
        path.write_text(text)
        return path

    def lonely(self) -> Node:
        """A new node that is part of no cluster."""
        self.count += 1
        return Node(
            f"n{self.count}",
            broker=Recorder(),
            store=MemoryStore(),
            transport=MemoryTransport(MemoryNetwork()),
            records=MemoryRecordStore(),
            listen=("x", 1),
        )

    def own(self, target: Target) -> dict[str, Callable[[], Any]]:
        """What is right for parameters of this call and is of this very cluster, by their name."""
        if target.owner not in (Node, Queue, Transaction):
            return {}
        doomed = (Node, "delete"), (Transaction, "delete")
        queue = self.brief if (target.owner, target.attribute) in doomed else lambda: self.queue
        return {
            "queue": queue,
            "queues": lambda: [self.queue, self.other],
            "target": lambda: self.other,
            "to": lambda: self.other,
            "table": lambda: self.table,
            "key": lambda: b"k",
            "value": lambda: b"v",
        }

    def brief(self) -> Queue:
        """A new queue, which may be deleted."""
        self.count += 1
        return self.nodes["a"].declare(f"brief-{self.count}")

    async def of(self, target: Target) -> Any:
        """An instance to call this method of."""
        return await MAKERS[target.owner](self, target)  # type: ignore[index]

    async def check(self) -> None:
        """Check that the cluster still works."""
        a, b = self.nodes["a"], self.nodes["b"]
        assert a.serving
        assert a.status().store_error is None
        assert b.status().store_error is None
        op = self.queue.enqueue(b"still there")
        receipt = await asyncio.wait_for(_await(op), 60)
        assert receipt.nodes == {"a", "b"}
        await until(lambda: contents(a) == contents(b))

    async def stop(self) -> None:
        """Every node stops in order, and its store opens again."""
        before = contents(self.nodes["a"])
        for node in self.nodes.values():
            await node.stop()
        for name in self.nodes:
            report = inspect_store(self.directory / name)
            assert report.damage == ()
            store = SqliteStore(self.directory / name)
            image = store.open(name)
            assert {q.spec.name for q in image.queues if q.spec.kind not in KEYED} == set(before)
            store.close(clean=True)


async def _await(op: Op) -> Any:
    return await op


def contents(node: Node) -> dict[str, list[tuple[int, bytes]]]:
    return {queue.name: list(queue) for queue in node.queues}


CONTENT = (
    "queue declare status delete publish renew_listener table transaction producer producers barrier why unconfirmed"
    " watch_table wait_in_sync wait_serving"
).split()
"""Called of the primary."""


async def _node(stage: Stage, target: Target) -> Node:
    if target.attribute in CONTENT:
        return stage.nodes["a"]
    node = stage.lonely()
    if target.attribute not in ("start", "__aenter__"):
        await node.start()
    return node


def made(make: Callable[[Stage], Any]) -> Callable[[Stage, Target], Any]:
    async def maker(stage: Stage, _: Target) -> Any:
        return make(stage)

    return maker


def opened(store: Any) -> Any:
    store.open("a")
    return store


def filled(stage: Stage) -> FileRecordStore:
    return FileRecordStore(stage.directory / "records")


def certified(stage: Stage) -> ServerFiles:
    made = trustme.CA().issue_cert("localhost").private_key_and_cert_chain_pem
    return ServerFiles(stage.private(made.bytes().decode()))


def authority(stage: Stage) -> TlsFiles:
    path = stage.fresh()
    trustme.CA().cert_pem.write_to_path(path)
    return TlsFiles(ca=path)


def is_value(owner: type) -> bool:
    """Whether it is a value of the library: its methods are not called here. A cluster file makes parts of nodes."""
    return dataclasses.is_dataclass(owner) and owner is not ClusterFile


def cluster_file(stage: Stage) -> ClusterFile:
    path = stage.fresh()
    path.write_text('cluster = "x"\nrecord.url = "r"\n[nodes.a]\naddresses = "h:1"\nstore = "s"\n')
    return ClusterFile.load(path)


MAKERS: dict[type, Callable[[Stage, Target], Any]] = {
    Node: _node,
    Queue: made(lambda stage: stage.queue),
    Table: made(lambda stage: stage.table),
    Configuration: made(lambda stage: stage.nodes["a"].configuration),
    Transaction: made(lambda stage: stage.nodes["a"].transaction()),
    Answers: made(lambda stage: Answers(stage.nodes["a"])),
    Op: made(lambda stage: stage.queue.dequeue(())),
    FifoQueue: made(lambda stage: stage.fifo),
    DeliveryQueue: made(lambda stage: stage.delivery),
    Consumer: made(lambda stage: stage.delivery.consumer()),
    MessageIndex: made(lambda stage: MessageIndex(MSGPACK)),
    MsgpackFormat: made(lambda stage: MSGPACK),
    Traits: made(lambda stage: Traits()),
    Producer: made(lambda stage: stage.nodes["a"].producer("p")),
    ProducerOp: made(lambda stage: stage.nodes["a"].producer("p").give_up(1)),
    SyncNode: made(lambda stage: stage.nodes["a"].sync),
    SyncQueue: made(lambda stage: SyncQueue(stage.caller, stage.queue)),
    SyncTable: made(lambda stage: SyncTable(stage.caller, stage.table)),
    SyncConfiguration: made(lambda stage: SyncConfiguration(stage.caller, stage.nodes["a"].configuration)),
    SyncTransaction: made(lambda stage: SyncTransaction(stage.caller, stage.nodes["a"].transaction())),
    SyncOp: made(lambda stage: SyncOp(stage.caller, stage.queue.dequeue(()))),
    SqliteStore: made(lambda stage: opened(SqliteStore(stage.fresh()))),
    MemoryStore: made(lambda stage: opened(MemoryStore())),
    ClusterFile: made(cluster_file),
    FileRecordStore: made(filled),
    EtcdRecordStore: made(lambda stage: EtcdRecordStore(["127.0.0.1:1"])),  # Where nobody listens.
    ZooKeeperRecordStore: made(lambda stage: ZooKeeperRecordStore(["127.0.0.1:1"])),
    PostgreSqlRecordStore: made(lambda stage: PostgreSqlRecordStore(["127.0.0.1:1"], database="x")),
    TlsFiles: made(authority),
    MemoryRecordStore: made(lambda stage: MemoryRecordStore()),
    MemoryNetwork: made(lambda stage: MemoryNetwork()),
    MemoryTransport: made(lambda stage: MemoryTransport(MemoryNetwork())),
    TcpTransport: made(lambda stage: TcpTransport()),
    OperatorPromoter: made(lambda stage: OperatorPromoter()),
    NodeServer: made(lambda stage: NodeServer(stage.nodes["a"])),
    NodeProgram: made(lambda stage: NodeProgram("p", "d")),
    SessionQueue: made(lambda stage: stage.mailbox),
    Delivery: made(lambda stage: Delivery(1, b"", b"", False)),
    Service: made(lambda stage: Service(stage.nodes["a"], hand_over_s=0.0)),  # The stage keeps its primary.
    EventLog: made(lambda stage: EventLog()),
    Spans: made(lambda stage: Spans(trace.get_tracer("door"))),
    Tokens: made(lambda stage: Tokens(stage.private("viewer 0123456789abcdef"))),
    ServerFiles: made(certified),
    SequenceSet: made(lambda stage: SequenceSet([1, 2, (5, 9)])),
    SequenceTracker: made(lambda stage: SequenceTracker(5)),
    Batch: made(lambda stage: Batch.pack([b"1", b"2"], [b"p", b""])),
    Landing: made(lambda stage: Landing(5)),
    Replica: made(lambda stage: CoreNode().promoted().replica),
}
"""How to get one of each class."""

# --- the calls -----------------------------------------------------------------------------------


def _of_items(items: Any = ()) -> None: ...
def _of_size(size: Any) -> None: ...
def _of_next(next_id: Any = 1, *, span_limit: Any = 2147418112) -> None: ...
def _of_anything(*args: Any) -> None: ...


CONSTRUCTORS: dict[Any, Any] = {
    SequenceSet: _of_items,
    SequenceTracker: _of_next,
    Landing: _of_size,
    Batch: _of_anything,
}
"""Those that compiled classes do not tell."""


def parameters(call: Any) -> list[inspect.Parameter]:
    """The parameters by name. A signature of ``*_`` alone accepts any arguments."""
    signature = inspect.signature(CONSTRUCTORS.get(call, call))
    return [p for p in signature.parameters.values() if p.name not in ("self", "cls")]


def arguments(
    draw: random.Random, call: Any, own: dict[str, Callable[[], Any]]
) -> tuple[list[Any], dict[str, Any]]:
    positional: list[Any] = []
    named: dict[str, Any] = {}
    for p in parameters(call):
        if p.kind is p.VAR_KEYWORD:
            continue
        if p.kind is p.VAR_POSITIONAL:
            positional += [argument(draw, p.name) for _ in range(draw.randrange(3))]
            continue
        if p.default is not p.empty and draw.random() < 0.5:
            if p.kind is p.KEYWORD_ONLY or not positional:
                continue
            value = p.default
        else:
            value = own[p.name]() if p.name in own and draw.random() < 0.6 else argument(draw, p.name)
        if p.name in UNUSABLE_SIZES and not reasonable(value):
            value = 3
        if p.kind is p.KEYWORD_ONLY:
            named[p.name] = value
        else:
            positional.append(value)
    return positional, named


def with_one(
    call: Any, place: int, value: Any, own: dict[str, Callable[[], Any]]
) -> tuple[list[Any], dict[str, Any]]:
    """Arguments of which the one at this place is the value, and the others are right, as far as that is known."""
    positional: list[Any] = []
    named: dict[str, Any] = {}
    for number, p in enumerate(parameters(call)):
        if p.kind in (p.VAR_KEYWORD, p.VAR_POSITIONAL) and number != place:
            continue
        right = [own[p.name]] if p.name in own else RIGHT.get(p.name, [])
        given = value if number == place else right[0]() if right else p.default
        if p.name in UNUSABLE_SIZES and not reasonable(given):
            given = 3
        if p.kind is p.KEYWORD_ONLY:
            named[p.name] = given
        elif p.kind is not p.VAR_KEYWORD:
            positional.append(None if given is p.empty else given)
    return positional, named


def reasonable(value: object) -> bool:
    if isinstance(value, int):
        return value < 100_000 or value > 2**62
    return not isinstance(value, range) or (len(value) if value.stop < 2**40 else 2**40) < 100_000


async def perform(call: Any, positional: list[Any], named: dict[str, Any]) -> None:
    """Call it, and await the result if it is awaitable."""
    result = call(*positional, **named)
    if inspect.isasyncgen(result):
        async with aclosing(result):
            pass
    elif inspect.iscoroutine(result):
        try:
            result = await asyncio.wait_for(result, 0.5)
        except asyncio.TimeoutError:
            return
    close = getattr(result, "close", None)
    if inspect.iscoroutinefunction(close):
        await close()


Draw: TypeAlias = Callable[[Any, dict[str, Callable[[], Any]]], tuple[list[Any], dict[str, Any]]]
"""Arguments for a call, where some of this very cluster are known by the names of parameters."""


async def attempt(stage: Stage, target: Target, draw: Draw) -> None:
    """Make one call; nothing may come out of it but what is documented."""
    instance = await stage.of(target) if target.owner else None
    call = target.call if instance is None else getattr(instance, target.attribute)
    positional, named = draw(call, stage.own(target))
    try:
        await perform(call, positional, named)
    except documented(target.name):
        pass
    except BaseException as error:
        raise AssertionError(f"{target.name} raised {type(error).__name__}: {error}") from error
    finally:
        await release(stage, instance)


async def fuzz(stage: Stage, target: Target, draw: random.Random) -> None:
    for _ in range(CALLS if target.owner is not Node else 6):
        await attempt(stage, target, partial(arguments, draw))


async def release(stage: Stage, instance: Any) -> None:
    if isinstance(instance, Node) and instance not in stage.nodes.values():
        await instance.stop()
    elif isinstance(instance, Transaction):
        with suppress(QpidhaError):  # It is over, or something in it is not possible.
            instance.commit()
    elif isinstance(
        instance, (FileRecordStore, EtcdRecordStore, ZooKeeperRecordStore, PostgreSqlRecordStore)
    ):
        await instance.close()
    elif isinstance(instance, NodeServer):
        await instance.stop()
    elif isinstance(instance, SqliteStore):
        instance.close(clean=False)


TARGETS = found()
HIDDEN = {f"{owner}.{name}" for owner, names in INTERNAL.items() for name in names.split()}
FUZZED = {name: target for name, target in TARGETS.items() if name not in HIDDEN}
CONSTRUCTED_BY_US = {
    "Op", "Queue", "NodeStatus", "Table", "Configuration", "Transaction", "NewQueue", "Consumer", "Producer",
    "ProducerOp", *(f"Sync{name}" for name in ("Node", "Queue", "Table", "Configuration", "Transaction", "Op")),
}  # fmt: skip
"""Classes of which only the library makes instances."""
CALLED = [
    target
    for name, target in sorted(FUZZED.items())
    if name not in CONSTRUCTED_BY_US and not (target.owner and is_value(target.owner))
]
"""Those that get arguments."""


def test_every_public_call_is_reached() -> None:
    """Found by looking; each has a way to be called, and what is left out exists."""
    assert len(TARGETS) > 150
    assert set(TARGETS) >= HIDDEN, "these are gone: take them out of INTERNAL"
    owners = {target.owner for target in FUZZED.values() if target.owner is not None}
    values = {owner for owner in owners if is_value(owner)}
    assert owners - values == set(MAKERS), "say how to get an instance"
    for target in FUZZED.values():
        parameters(target.call)  # Each has a signature.
    for name in (
        "Node",
        "Node.declare",
        "Node.delete",
        "Queue.enqueue",
        "Transaction.move",
        "Table.put",
        "Configuration.put",
        "Op.receipt",
        "Settings",
        "SqliteStore.commit",
        "inspect",
    ):
        assert name in FUZZED


@pytest.fixture(autouse=True)
def _in_a_directory_of_the_test(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A relative path is among the values: what is made there is not left in the project."""
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize("seed", range(SEEDS))
def test_nothing_but_the_documented_errors_comes_out(seed: int) -> None:
    """No node stops and no store changes: afterwards both nodes hold the same, and their stores open again."""

    async def attack(stage: Stage) -> None:
        draw = random.Random(seed)
        for target in CALLED:
            await fuzz(stage, target, draw)
            if target.owner in (Node, Queue, Table, Configuration, Transaction, Op, FifoQueue, DeliveryQueue):
                await stage.check()

    staged(attack)


@pytest.mark.parametrize("odd", ODD)
def test_one_odd_value_at_any_place(odd: str) -> None:
    """Each parameter of each call once, while the others are right."""

    async def attack(stage: Stage) -> None:
        for target in CALLED:
            for place in range(len(parameters(target.call))):
                value = ODD[odd]()
                await attempt(stage, target, lambda call, own, n=place, v=value: with_one(call, n, v, own))

    staged(attack)


def staged(attack: Callable[[Stage], Coroutine[Any, Any, None]]) -> None:
    """Attack a cluster, then check it and its stores."""

    async def main(directory: Path) -> None:
        stage = Stage(directory)
        await stage.start()
        await attack(stage)
        await stage.check()
        await stage.stop()

    with tempfile.TemporaryDirectory() as directory:
        asyncio.run(main(Path(directory)))


@pytest.mark.parametrize("name", [f.name for f in dataclasses.fields(Settings)])
def test_a_setting_is_taken_or_refused_by_its_name(name: str) -> None:
    """Any value is refused by name, or is of the annotated type, finite and in range; or None, if that is annotated."""
    draw = random.Random(name)
    [annotated] = [field.type for field in dataclasses.fields(Settings) if field.name == name]
    for _ in range(400):
        value = argument(draw, name)
        try:
            taken = getattr(Settings(**{name: value}), name)
        except QpidhaError as error:
            assert name in str(error)
        else:
            if taken is None:
                assert str(annotated).endswith("| None")
                continue
            if isinstance(taken, dict):
                assert str(annotated) == "dict[str, str]"
                assert all(isinstance(text, str) for pair in taken.items() for text in pair)
                continue
            assert isinstance(taken, (int, float, str))
            assert not isinstance(taken, bool)
            assert isinstance(taken, str) or 0 <= taken < 2**41
