"""Answers that are held until what was changed before them is safe; and what is not answered."""

from __future__ import annotations

import asyncio

import pytest

from qpidha import Answers, ArgumentError, InDoubt, NotPrimary, QpidhaError, StaleHandle, one_change
from qpidha.errors import LocalProtocolError
from tests.support.content_parts import Room
from tests.support.harness import World, run, until
from tests.support.node_parts import run as run_parts


def test_an_answer_is_given_when_all_members_have_the_changes() -> None:
    async def main(world: World) -> None:
        a, b = await world.cluster("a", "b")
        answers, table, told = Answers(a), a.table("t"), list[str]()
        async with answers.held() as transaction:
            assert answers.holding and answers.transaction is transaction
            transaction.put(table, b"k", b"v")
            await answers.give(lambda: told.append("first"))
            async with answers.held() as inner:
                assert inner is transaction, "a block in a block is part of it"
                await answers.give(lambda: asyncio.sleep(0, told.append("second")))
            other = asyncio.create_task(answers.give(lambda: told.append("of another task")))
            await other
            assert told == ["of another task"] and b"k" not in table
        assert told == ["of another task", "first", "second"]
        assert transaction.op.safe and b.table("t").get(b"k") == b"v"
        assert not answers.holding
        await answers.give(lambda: told.append("outside"))
        assert told[-1] == "outside"
        with pytest.raises(LocalProtocolError, match=r"in no block of Answers\.held"):
            _ = answers.transaction

    run(main)


def test_a_block_without_a_change_waits_for_what_was_made_before() -> None:
    async def main(world: World) -> None:
        a, _ = await world.cluster("a", "b")
        answers, table = Answers(a), a.table("t")
        op = table.put(b"k", b"v")
        async with answers.held():
            await answers.give(lambda: None)
        assert op.safe

    run(main)


def test_an_exception_drops_changes_and_answers() -> None:
    async def main(world: World) -> None:
        (a,) = await world.cluster("a")
        answers, table, told = Answers(a), a.table("t"), list[str]()
        with pytest.raises(KeyError):
            async with answers.held() as transaction:
                transaction.put(table, b"k", b"v")
                await answers.give(lambda: told.append("kept"))
                raise KeyError
        assert told == [] and b"k" not in table and not answers.holding
        with pytest.raises(ArgumentError, match="answer must be"):
            await answers.give(7)  # type: ignore[arg-type]
        with pytest.raises(ArgumentError, match="node must be"):
            Answers(world)  # type: ignore[arg-type]

    run(main)


def test_what_is_in_doubt_is_not_answered_and_the_next_term_needs_another_one() -> None:
    async def main() -> None:
        room = Room().lead("b")  # It has no link to b: nothing becomes safe.
        answers, table, told = Answers(room), room.table("t"), list[str]()

        async def change() -> None:
            async with answers.held() as transaction:
                transaction.put(table, b"k", b"v")
                await answers.give(lambda: told.append("kept"))

        changing = asyncio.create_task(change())
        await asyncio.sleep(0)
        room.follow()
        with pytest.raises(InDoubt):
            await changing
        with pytest.raises(NotPrimary):
            await change()
        room.lead(generation=3)
        with pytest.raises(StaleHandle, match="make one in every on_promote"):
            await change()
        assert told == []

    run_parts(main())


class Door:
    """Something of a broker that somebody else wrote."""

    def __init__(self, answers: Answers) -> None:
        self.answers = answers
        self.told: list[str] = []

    async def enter(self, name: str, *, twice: bool = False) -> str:
        await self.answers.give(lambda: self.told.append(name))
        if twice:
            await self.enter(name)
        if name == "nobody":
            raise LocalProtocolError("refused")
        return name


class SafeDoor(Door):
    enter = one_change(Door.enter)


class ShutDoor(SafeDoor):
    def __init__(self, answers: Answers) -> None:
        super().__init__(answers)
        self.errors: list[QpidhaError] = []

    async def refused(self, error: QpidhaError) -> None:
        self.errors.append(error)


def test_a_method_is_one_change() -> None:
    async def main(world: World) -> None:
        (a,) = await world.cluster("a")
        door, shut = SafeDoor(Answers(a)), ShutDoor(Answers(a))
        assert await door.enter("ada", twice=True) == "ada" and door.told == ["ada", "ada"]
        with pytest.raises(LocalProtocolError):
            await door.enter("nobody")
        assert await shut.enter("bob") == "bob"
        assert await shut.enter("nobody") is None  # type: ignore[comparison-overlap]
        assert shut.told == ["bob"] and [str(error) for error in shut.errors] == ["refused"]
        assert await shut.enter("eve") == "eve" and shut.told == ["bob", "eve"]
        with pytest.raises(ArgumentError, match="method must be"):
            one_change(7)  # type: ignore[type-var]

    run(main)


def test_the_outermost_block_decides_what_a_refusal_means() -> None:
    async def main(world: World) -> None:
        (a,) = await world.cluster("a")
        shut = ShutDoor(Answers(a))
        with pytest.raises(LocalProtocolError):
            async with shut.answers.held():
                await shut.enter("nobody")
        assert shut.errors == []
        await until(lambda: not shut.answers.holding)

    run(main)
