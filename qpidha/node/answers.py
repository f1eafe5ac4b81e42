"""Answers that wait until what was changed before them is safe, for a broker that does both inside its own methods."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from functools import wraps
from inspect import isawaitable
from typing import Any, NamedTuple, TypeAlias, TypeVar, cast

from qpidha.checks import AWAITED, instance_of
from qpidha.errors import LocalProtocolError, QpidhaError
from qpidha.node.caller import stale
from qpidha.node.content import Content
from qpidha.node.transaction import Transaction

NODE = instance_of(Content, what="a Node")
Answer: TypeAlias = Callable[[], object]
MethodT = TypeVar("MethodT", bound=Callable[..., Coroutine[Any, Any, Any]])


class Held(NamedTuple):
    """What one task changes, and what it says."""

    transaction: Transaction
    answers: list[Answer]


class Answers:
    """Holds back what a task says until all that it has changed is safe on every member.

    For a broker that was not written around the library: its methods change things and answer in between. Enclose such a
    method in `held`, and give to `give` what is sent where the broker sends it:

        async with answers.held() as transaction:
            transaction.put(sessions, b"ada", b"...")
            await answers.give(lambda: connection.send(b"kept"))
        # here it is safe, and sent

    What cannot be made safe is not answered: the block raises. Blocks inside a block, in the same task, are part of it.
    Other tasks, also those that are begun in the block, have blocks of their own.

    Make one in every ``on_promote``: it belongs to the term in which it was made. Used in the event loop of the node.
    """

    def __init__(self, node: Content) -> None:
        """Nothing is held yet.

        Raises:
            ArgumentError: This is no node.
            NotPrimary: It is not primary.
            LocalProtocolError: It has not started.
            WrongThread: Called from another thread than the event loop's.
        """
        NODE("node", node)
        self._node = node
        self._generation = node.transaction()._generation
        self._held: dict[asyncio.Task[Any] | None, Held] = {}

    @asynccontextmanager
    async def held(self) -> AsyncIterator[Transaction]:
        """A block whose changes are one transaction, and whose answers are given at its end, in order.

        The transaction is committed there, also without a change: then what was read in the block is safe before it is
        told. An exception in the block drops changes and answers. So does the end of the task; what was committed stays.

        Raises:
            StaleHandle: This was made in an earlier term.
            NotPrimary, NotEnoughMembers, MessagesGone, UnknownQueue, CallerError: Nothing was stored. See
                `Transaction.commit`.
            InDoubt: The term ended before it was safe. All of it was kept, or nothing.
            WrongThread: Called from another thread than the event loop's.
        """
        outer, task = self._held_by_this_task("Answers.held"), asyncio.current_task()
        if outer is not None:
            yield outer.transaction
            return
        held = self._held[task] = Held(self._begin(), [])
        try:
            yield held.transaction
        finally:
            del self._held[task]
        await held.transaction.commit()
        for answer in held.answers:
            await _given(answer)

    @property
    def transaction(self) -> Transaction:
        """The transaction of the block that this task is in.

        Raises:
            LocalProtocolError: It is in none.
        """
        held = self._held_by_this_task("Answers.transaction")
        if held is None:
            raise LocalProtocolError(
                "this task is in no block of Answers.held: nothing would commit its changes"
            )
        return held.transaction

    @property
    def holding(self) -> bool:
        """Whether this task is in a block."""
        return self._held_by_this_task("Answers.holding") is not None

    async def give(self, answer: Answer) -> None:
        """Call ``answer()`` at the end of the block that this task is in; at once if it is in none.

        If it returns an awaitable, that is awaited.

        Raises:
            ArgumentError: It cannot be called.
            WrongThread: Called from another thread than the event loop's.
        """
        AWAITED("answer", answer)
        held = self._held_by_this_task("Answers.give")
        if held is None:
            await _given(answer)
        else:
            held.answers.append(answer)

    def _held_by_this_task(self, what: str) -> Held | None:
        self._node._parts.runtime.require_thread(what)
        return self._held.get(asyncio.current_task())

    def _begin(self) -> Transaction:
        transaction = self._node.transaction()
        if transaction._generation != self._generation:
            what, then = "this Answers was made", "make one in every on_promote"
            raise stale(what, self._generation, transaction._generation, then)
        return transaction


async def _given(answer: Answer) -> None:
    result = answer()
    if isawaitable(result):
        await result


def one_change(method: MethodT) -> MethodT:
    """A decorator: the method of an object that has `Answers` as its attribute ``answers`` is a block of `Answers.held`.

        class Connection(TheirConnection):
            handle_subscribe = one_change(TheirConnection.handle_subscribe)

            async def refused(self, error):
                self.close()

    If the object has a method ``refused``, it is awaited with an error of the library that the outermost block raises,
    instead of raising it: what cannot be made safe is not answered. The decorated method returns None then.
    """
    AWAITED("method", method)

    @wraps(method)
    async def changing(self: Any, *args: Any, **kwargs: Any) -> Any:
        answers: Answers = self.answers
        if answers.holding:
            return await method(self, *args, **kwargs)
        try:
            async with answers.held():
                return await method(self, *args, **kwargs)
        except QpidhaError as error:
            if (refused := getattr(self, "refused", None)) is None:
                raise
            await refused(error)

    return cast("MethodT", changing)
