"""Steps of a commit have the right types before anything is looked up."""

from __future__ import annotations

from typing import Any
from uuid import UUID

import pytest

from qpidha import Batch, SequenceSet
from qpidha.core.steps import (
    Accept,
    DeclareQueue,
    DeleteQueue,
    Erase,
    Forget,
    Move,
    Publish,
    Put,
    Register,
    Update,
    UseSequence,
    check_step,
)
from qpidha.errors import ArgumentError
from qpidha.types import Level, ProducerSequence, QueueSpec

Q, ONE = UUID(int=1), SequenceSet([1])
SPEC = QueueSpec(name="q")
RIGHT: list[Any] = [
    Publish((Q, 0), Batch.pack([b"x"])),
    Accept(Q, ONE),
    Move(Q, ONE, 0),
    Update(Q, ONE, (b"p",)),
    Put(Q, b"k", b"v"),
    Erase(Q, b"k"),
    DeclareQueue(SPEC, b"", Level.CONFIGURATION),
    DeleteQueue(Q),
    Register("ada"),
    Forget("ada"),
    UseSequence(ProducerSequence("ada", (1, 1), 1)),
]
WRONG: list[tuple[Any, str]] = [
    (Publish(Q, Batch.pack([b"x"])), "queues"),  # type: ignore[arg-type]
    (Publish((Q,), b"x"), "batch"),  # type: ignore[arg-type]
    (Accept(Q, [1]), "ids"),  # type: ignore[arg-type]
    (Move(Q, 1, Q), "ids"),  # type: ignore[arg-type]
    (Update(Q, None, ()), "ids"),  # type: ignore[arg-type]
    (Update(Q, ONE, b"p"), "props"),  # type: ignore[arg-type]
    (Update(Q, ONE, ("p",)), "props"),  # type: ignore[arg-type]
    (Put(Q, "k", b"v"), "key"),  # type: ignore[arg-type]
    (Put(Q, b"k", None), "value"),  # type: ignore[arg-type]
    (Erase(Q, 7), "key"),  # type: ignore[arg-type]
    (DeclareQueue("q"), "spec"),  # type: ignore[arg-type]
    (DeclareQueue(QueueSpec(name="")), "queue name"),
    (DeclareQueue(SPEC, "x"), "arguments"),  # type: ignore[arg-type]
    (DeclareQueue(SPEC, b"", 2), "level"),  # type: ignore[arg-type]
    (Register(b"ada"), "producer"),  # type: ignore[arg-type]
    (Forget(""), "producer"),
    (UseSequence(("ada", (1, 1), 1)), "sequence"),  # type: ignore[arg-type]
    (UseSequence(ProducerSequence("ada", (1, 1), 1), -1), "count"),
    (b"publish", "step"),
    (None, "step"),
]


@pytest.mark.parametrize("step", RIGHT, ids=lambda step: type(step).__name__)
def test_a_step_of_the_right_types_is_taken(step: Any) -> None:
    check_step(step)


@pytest.mark.parametrize(("step", "named"), WRONG)
def test_a_wrong_type_is_refused_by_name(step: Any, named: str) -> None:
    with pytest.raises(ArgumentError, match=named):
        check_step(step)
