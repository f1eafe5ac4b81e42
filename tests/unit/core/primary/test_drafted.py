"""What a commit has drafted so far: which of it is sent, and which queues it names (LV2)."""

from __future__ import annotations

from qpidha import Batch, SequenceSet
from qpidha.core.primary.draft import Drafting
from qpidha.core.steps import Accept, DeclareQueue, Publish, Put
from qpidha.types import Level, QueueId, QueueSpec
from tests.support.cores import QUEUE, SETTINGS, Node

ONE = Batch.pack([b"one"])


def drafting() -> tuple[Drafting, QueueId]:
    """A draft, and a queue of level none."""
    core = Node(SETTINGS).promoted().replica.primary
    assert core is not None
    own, _ = core.declare(QueueSpec(name="own"), b"", Level.NONE)
    return Drafting(
        core.queues, core.configuration, core.generation, core._admission, core.local, core.replaced
    ), own


def test_nothing_is_local_that_names_a_replicated_queue() -> None:
    draft, own = drafting()
    assert not draft.is_local and not draft.named, "nothing is named"
    draft.steps([Publish((own,), ONE)])
    assert draft.is_local and list(draft.named) == [own] and draft.sent == [] and draft.sent_bytes == 0
    assert draft.nbytes > 0
    draft, own = drafting()
    draft.steps([Publish((own,), ONE), Accept(QUEUE, SequenceSet())])
    assert not draft.is_local and draft.sent == []


def test_what_is_sent_is_counted_by_itself() -> None:
    draft, own = drafting()
    draft.steps([Publish((QUEUE,), ONE)])
    alone = draft.sent_bytes
    assert alone == draft.nbytes > 0
    draft, own = drafting()
    draft.steps([Publish((own,), ONE), Publish((QUEUE,), ONE)])
    assert draft.sent_bytes == alone < draft.nbytes and len(draft.actions) == 2
    assert [part.queue for part in draft.sent] == [QUEUE]


def test_a_declaration_of_level_none_names_no_object() -> None:
    draft, _ = drafting()
    draft.steps([DeclareQueue(QueueSpec(name="x"), level=Level.NONE)])
    assert draft.is_local
    draft, _ = drafting()
    draft.steps([DeclareQueue(QueueSpec(name="x"), level=Level.CONFIGURATION)])
    assert not draft.is_local and len(draft.sent) == 1


def test_a_table_of_this_node_is_local() -> None:
    core = Node(SETTINGS).promoted().replica.primary
    assert core is not None
    table, _ = core.declare(QueueSpec(name="t", kind="$table"), b"", Level.NONE)
    draft = Drafting(
        core.queues, core.configuration, core.generation, core._admission, core.local, core.replaced
    )
    draft.steps([Put(table, b"k", b"v")])
    assert draft.is_local
