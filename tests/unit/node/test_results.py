"""What a transaction that is not committed, or was committed before, says of its calls."""

from __future__ import annotations

import pytest

from qpidha.errors import LocalProtocolError
from tests.support.content_parts import Room
from tests.support.node_parts import run


def test_results_are_known_after_the_commit() -> None:
    async def main() -> None:
        room = Room().lead()
        q = room.declare("q")
        t = room.transaction()
        part, moved, made = t.enqueue(q, b"1"), t.move(q, (), room.declare("r")), t.declare("new")
        for ask in (lambda: part.ids, lambda: made.queue):
            with pytest.raises(LocalProtocolError, match="is open"):
                ask()
        t.commit()
        assert (part.ids, moved.ids, made.queue) == (range(1, 2), range(0), room.queue("new"))

    run(main())


def test_results_of_a_repetition_are_those_that_are_still_known() -> None:
    """EO4: as long as its first commit is pending, all of them; then a queue by its name, and no ids."""

    async def main() -> None:
        room = Room().lead()
        ada = room.producer("ada")
        for ids in (range(1, 2), range(1, 2), range(0)):
            with ada.transaction(sequence=1) as t:
                made = t.declare("new")
                part = t.enqueue(made, b"1")
            assert part.ids == ids and made.queue is room.queue("new")
            if t.op.repeated:
                room.turn()

    run(main())
