"""Valid bytes for each target, from which a fuzzer begins: ``python -m tests.fuzz.seeds`` writes them.

They are kept in the corpus as ``valid-...``; `tests/fuzz/test_corpus.py` compares them, so that a change of
an encoding, which old files and other versions would not understand, does not go unnoticed.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import replace
from uuid import UUID

import msgpack

from qpidha.core.births import born, configuration_id
from qpidha.core.configuration import SPEC as SPEC_OF_OBJECTS
from qpidha.core.configuration import QueueObject, object_key
from qpidha.core.groups import digest, divided, joined
from qpidha.core.policy import POLICY_KEY, encoded
from qpidha.core.producers import ProducerEntry, producer_key
from qpidha.journal import StoreState, StoreStatus
from qpidha.queues.arguments import Overflow, QueueArguments
from qpidha.queues.properties import MSGPACK
from qpidha.records.file.sessionfile import SessionInfo
from qpidha.records.format import encode_record
from qpidha.seq import SequenceSet
from qpidha.stores.schema import Tally, status_row
from qpidha.types import Level, Member, NodeInfo, QueueSpec, Record, Settle, Versioned
from qpidha.wire import codec, groups
from qpidha.wire import events as ev
from qpidha.wire.batch import Batch
from qpidha.wire.info import encode_info
from tests.fuzz.mutation import CORPUS
from tests.fuzz.objects import object_bytes
from tests.support.cores import CLUSTER, GENERATION, HELLO, OTHER, PEER_BOOT, QUEUE, SESSION, WELCOME, Node

A_SET = SequenceSet([1, (3, 9), (2**32 - 1, 2**32 + 1)])
A_BATCH = Batch.pack(
    [b"one", b"", b"three"], [b"p", b"", b"q"], [1, -1, 2**62], [None, (b"q" * 16, 2, 7), None]
)
PLAIN = Batch.pack([b"first", b"second"])
LINEAGE = ((1, 1), (2, 5), (3, 10))
SPEC = QueueSpec(name="full", settle=Settle.IMMEDIATE, kind="ring")

EVENTS: dict[str, ev.Event] = {
    "hello": HELLO,
    "welcome": WELCOME,
    "refused": ev.Refused(code=4, reason="no common version"),
    "fenced": ev.Fenced(generation=4),
    "ping": ev.Ping(),
    "subscribe": ev.Subscribe(epoch=UUID(int=5), stored_generation=2, queues=1),
    "subscribe-groups": groups.SubscribeGroups(
        epoch=UUID(int=5), stored_generation=2, key=bytes(16), digests=(b"a" * 16, b"b" * 16)
    ),
    "groups-differ": groups.GroupsDiffer(groups=SequenceSet([0, (2, 4)])),
    "subscribe-rest": groups.SubscribeRest(queues=1),
    "subscribe-queue": ev.SubscribeQueue(
        queue=QUEUE, lineage=LINEAGE[:2], next=7, held=SequenceSet([(1, 6)])
    ),
    "plan-queue": ev.PlanQueue(queue=QUEUE, spec=SPEC, lineage=LINEAGE, next=12, held=7),
    "plan-drop": ev.PlanDrop(queue=QUEUE, ids=SequenceSet([(1, 3)]), staged=False),
    "plan-messages": ev.PlanMessages(queue=QUEUE, generation_of=3, ids=SequenceSet([10, 11]), batch=PLAIN),
    "plan-end": ev.PlanEnd(position=5, queues=1),
    "progress": ev.Progress(chunks=1),
    "resubscribe": ev.Resubscribe(),
    "operations": ev.Operations(
        first=6,
        operations=(
            (
                ev.Enqueue(queue=QUEUE, first=12, batch=A_BATCH),
                ev.Dequeue(queue=QUEUE, ids=SequenceSet([4, 10])),
            ),
            (ev.SkipIds(queue=QUEUE, first=15, last=16),),
            (ev.Declare(queue=OTHER, spec=QueueSpec(name="new"), lineage=((3, 1),), next=1),),
        ),
    ),
    "fan-out": ev.Operations(
        first=6,
        operations=(
            (
                ev.Enqueue(queue=QUEUE, first=12, batch=Batch.pack([b"a"])),
                ev.Copy(queue=OTHER, first=1, source=QUEUE, ids=SequenceSet([12]), replacement=False),
                ev.Copy(queue=UUID(int=9), first=4, source=QUEUE, ids=SequenceSet([12]), replacement=False),
            ),
        ),
    ),
    "acknowledged": ev.Acknowledged(position=1),
    "established": ev.Established(),
}

LIMITS = ev.Limits(frame_bytes_max=2**24, message_bytes_max=2**23, queues_max=4, ids_runs_per_chunk_max=2)
SINCE_2 = {
    "hello-2": replace(HELLO, version_max=2, limits=LIMITS),
    "welcome-2": replace(WELCOME, version=2, limits=LIMITS),
}
SINCE_3: dict[str, ev.Event] = {
    "copy-with-props": ev.Operations(
        first=6,
        operations=(
            (
                ev.Copy(
                    queue=QUEUE,
                    first=12,
                    source=QUEUE,
                    ids=SequenceSet([3, 4]),
                    replacement=True,
                    props=(b"n", b""),
                ),
                ev.Dequeue(queue=QUEUE, ids=SequenceSet([3, 4])),
            ),
        ),
    ),
    "drop": ev.Operations(
        first=6,
        operations=(
            (
                ev.Declare(
                    queue=OTHER, spec=QueueSpec(name="new", kind="priority"), lineage=((3, 1),), next=1
                ),
                ev.Copy(queue=OTHER, first=1, source=QUEUE, ids=SequenceSet([1, 2]), replacement=True),
                ev.Drop(queue=QUEUE),
            ),
        ),
    ),
}

OBJECTS_ID = configuration_id(CLUSTER)
LOCAL = QueueObject(
    queue=born(3, 1, Level.CONFIGURATION),
    spec=QueueSpec(name="local"),
    level=Level.CONFIGURATION,
    arguments=b"a",
)
OLD = QueueObject(queue=QUEUE, spec=QueueSpec(name="full"), birth=(2, 5))
PRODUCER = producer_key("p")
OBJECTS = {
    LOCAL.key: LOCAL.encode(),
    OLD.key: OLD.encode(),
    object_key("exchange", "topic"): b"content",
    PRODUCER: ProducerEntry((3, 4), 9).encode(),
    POLICY_KEY: encoded({"tmp.*": "none"}) or b"",
}


def valid(target: str) -> dict[str, bytes]:
    """Names and inputs for one target."""
    return _VALID[target]()


def _frames() -> dict[str, bytes]:
    single = {name: b"\xff" + framed(event) for name, event in EVENTS.items()}
    newer = {name: b"\xff" + framed(event) for name, event in (SINCE_2 | SINCE_3).items()}
    return single | {"all": b"\x06" + b"".join(map(framed, list(EVENTS.values())[::2]))} | newer


def framed(event: ev.Event, session: int = SESSION) -> bytes:
    return b"".join(codec.encode(ev.Frame(GENERATION, session, event)))


def _handshake() -> dict[str, bytes]:
    subscribes = [framed(EVENTS[name]) for name in ("subscribe", "subscribe-queue")]
    offers = [framed(EVENTS[name]) for name in ("plan-queue", "plan-end")]
    return {
        "to-primary": b"\0" + framed(HELLO, 0) + b"".join(subscribes),
        "to-backup": b"\1" + framed(WELCOME, 0) + b"".join(offers),
        "refused": b"\1" + framed(EVENTS["refused"], 0),
        "twice": b"\0" + framed(HELLO, 0) + framed(HELLO, 0),
        "fenced": b"\0" + framed(HELLO, 0) + framed(EVENTS["fenced"]),
        "limits-to-primary": b"\0" + framed(SINCE_2["hello-2"], 0) + b"".join(subscribes),
        "limits-to-backup": b"\1" + framed(SINCE_2["welcome-2"], 0) + b"".join(offers),
    }


def listed(first: int, events: Iterable[ev.Event]) -> bytes:
    """Events in the form of the target `snapshot`."""
    parts = [bytes([first])]
    for event in events:
        body = framed(event)[24:]
        parts += [bytes([event.KIND]), len(body).to_bytes(2, "big"), body]
    return b"".join(parts)


def _snapshot() -> dict[str, bytes]:
    keep = ev.PlanQueue(queue=QUEUE, spec=SPEC, lineage=LINEAGE, next=12, held=6)
    plan = [EVENTS["plan-messages"], EVENTS["plan-drop"]]
    staged = ev.PlanDrop(queue=QUEUE, ids=SequenceSet([10]), staged=True)
    end = EVENTS["plan-end"]
    after = [EVENTS[name] for name in ("operations", "established", "resubscribe")]
    subscribe = EVENTS["subscribe-queue"]
    everything = ev.SubscribeQueue(queue=QUEUE, lineage=(), next=2**64 - 1, held=ALL_IDS)
    planned = {key: content for key, content in OBJECTS.items() if key != POLICY_KEY}
    objects = Batch.pack(list(planned.values()), list(planned))
    configuration = [
        ev.PlanMessages(
            queue=OBJECTS_ID, generation_of=3, ids=SequenceSet([(1, len(planned))]), batch=objects
        ),
        ev.PlanQueue(
            queue=OBJECTS_ID,
            spec=SPEC_OF_OBJECTS,
            lineage=((3, 1),),
            next=1 + len(planned),
            held=len(planned),
        ),
        ev.PlanQueue(queue=QUEUE, spec=QueueSpec(name="full"), lineage=LINEAGE[:2], next=10, held=8),
        ev.PlanEnd(position=5, queues=2),
    ]
    put = ev.Enqueue(queue=OBJECTS_ID, first=5, batch=objects.cut(0, 2))
    puts = ev.Operations(
        first=6,
        operations=(
            (put, ev.Dequeue(queue=OBJECTS_ID, ids=SequenceSet([1, 2]))),
            (ev.Dequeue(queue=OBJECTS_ID, ids=SequenceSet([4, 5])),),
        ),
    )
    answers = [EVENTS["progress"], EVENTS["progress"], EVENTS["acknowledged"], ev.Acknowledged(position=3)]
    return {
        "plan": listed(0, [*plan, staged, keep, end]),
        "plan-and-operations": listed(0, [*plan, staged, keep, end, *after]),
        "nothing": listed(0, [ev.PlanEnd(position=1, queues=0)]),
        "subscribed": listed(3, [subscribe, *answers]),
        "subscribed-to-nothing": listed(1, answers),
        "configuration": listed(0, configuration),
        "configuration-and-puts": listed(0, [*configuration, puts]),
        "claims-all-ids": listed(3, [everything, *answers]),
    }


def _comparison() -> dict[str, bytes]:
    """Of the queues of `tests.support.cores.Node`, of which one is in each group."""
    queues = list(Node().replica.queues.values())
    digests = tuple(digest(bytes(16), joined(group)) for group in divided(queues, 2))
    equal = groups.SubscribeGroups(epoch=UUID(int=5), stored_generation=2, key=bytes(16), digests=digests)
    other = replace(equal, digests=(digests[0], bytes(16)))
    nothing, rest = groups.SubscribeRest(queues=0), groups.SubscribeRest(queues=1)
    answers = [EVENTS["progress"], EVENTS["acknowledged"], ev.Acknowledged(position=1)]
    plan = [EVENTS[name] for name in ("plan-messages", "plan-drop")]
    same = ev.PlanQueue(queue=QUEUE, spec=QueueSpec(name="full"), lineage=LINEAGE[:2], next=10, held=8)
    end, gone = ev.PlanEnd(position=5, queues=2), ev.PlanWithdraw(queue=OTHER)
    return {
        "equal": listed(1, [equal, nothing, *answers]),
        "one-differs": listed(1, [other, rest, EVENTS["subscribe-queue"], *answers]),
        "described-though-equal": listed(1, [equal, rest, EVENTS["subscribe-queue"]]),
        "all-kept": listed(0, [groups.GroupsDiffer(groups=SequenceSet()), end, EVENTS["operations"]]),
        "one-planned": listed(0, [groups.GroupsDiffer(groups=SequenceSet([1])), same, end]),
        "kept-and-changed": listed(0, [groups.GroupsDiffer(groups=SequenceSet()), *plan, same, end]),
        "withdrawn": listed(
            0, [groups.GroupsDiffer(groups=SequenceSet()), gone, ev.PlanEnd(position=5, queues=1)]
        ),
        "no-such-group": listed(0, [groups.GroupsDiffer(groups=SequenceSet([2]))]),
    }


ALL_IDS = SequenceSet.from_range(0, 2**64 - 2)


def _objects() -> dict[str, bytes]:
    single = {f"object-{n}": object_bytes(key, content) for n, (key, content) in enumerate(OBJECTS.items())}
    arguments = QueueArguments(
        messages_max=5, overflow=Overflow.DEAD_LETTER, dead_letters="dead", groups=True, own=b"o"
    )
    traits = MSGPACK.pack(priority=3, expires_at=1.5, key=b"k", group=b"g", deliveries=2, colour="red")
    return single | {"arguments": arguments.encode(), "traits": traits}


def _ids() -> dict[str, bytes]:
    sets = {"empty": SequenceSet(), "runs": A_SET, "all": ALL_IDS, "last": SequenceSet([2**64 - 2])}
    return {name: ids.encode() for name, ids in sets.items()}


def _batch() -> dict[str, bytes]:
    return {"full": b"\1" + A_BATCH.raw, "plain": b"\1" + PLAIN.raw, "short": b"\1" + PLAIN.cut(0, 1).raw}


def _status() -> dict[str, bytes]:
    found = {
        state.value: StoreStatus(
            node="me", epoch=UUID(int=2), cluster=UUID(int=1), generation=3, primary=True, state=state
        )
        for state in StoreState
    }
    found["blank"] = StoreStatus(node="me", epoch=UUID(int=2))
    rows = {name: msgpack.packb(status_row(status, Tally(1, 5, 7))[:-1]) for name, status in found.items()}
    identity = {"node": "me", "epoch": str(UUID(int=2)), "crc": 2309737967}
    return rows | {"identity": json.dumps(identity).encode(), "note": b"batch\ta finding\n"}


def _store() -> dict[str, bytes]:
    places = {"header": 0, "schema": 25, "page": 2048, "rows": 4094, "tail": 6000}
    return {name: at.to_bytes(2, "big") + b"\0\1\2\3" for name, at in places.items()}


def _record() -> dict[str, bytes]:
    members = frozenset({Member("a", UUID(int=2)), Member("b", UUID(int=3))})
    record = Record(cluster=CLUSTER, generation=3, primary=("a", PEER_BOOT), members=members, nonce=b"n")
    file = encode_record(Versioned(record, 7))
    nobody = encode_record(
        Versioned(Record(cluster=CLUSTER, generation=0, primary=None, members=frozenset()), 1)
    )
    return {
        "file": file,
        "content": json.dumps(json.loads(file)["record"]).encode(),
        "nobody": json.dumps(json.loads(nobody)["record"]).encode(),
    }


def _session() -> dict[str, bytes]:
    file = SessionInfo(node="a", ttl_s=2.0, info=b"about a", asked=False).encode()
    asked = SessionInfo(node="a", ttl_s=2.0, info=b"about a", asked=True).encode()
    about = NodeInfo(peer=("::1", 5671), client=("host", 5672), boot=PEER_BOOT, score=3)
    content = json.dumps(json.loads(file)[1]).encode()
    return {"file": file, "asked": asked, "content": content, "about": encode_info(about)}


_VALID = {
    "frame": _frames,
    "handshake": _handshake,
    "ids": _ids,
    "batch": _batch,
    "snapshot": _snapshot,
    "comparison": _comparison,
    "status": _status,
    "store": _store,
    "objects": _objects,
    "record": _record,
    "session": _session,
}


def main() -> None:
    for target in _VALID:
        directory = CORPUS / target
        directory.mkdir(parents=True, exist_ok=True)
        for name, data in valid(target).items():
            (directory / f"valid-{name}").write_bytes(data)


if __name__ == "__main__":
    main()
