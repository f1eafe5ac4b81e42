"""What a check is: one rule of an interface, tried on an adapter that the kit has never seen.

A check runs anywhere: call it, `await` it in a loop of your own, or hand many to `run`. It passes without a
word, or raises `RuleBroken`, which tells the rule, what was done, what was expected and what was seen.
"""

from __future__ import annotations

import asyncio
import inspect
import tempfile
from collections.abc import Awaitable, Callable, Coroutine, Generator, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Generic, NoReturn, TypeAlias, TypeVar

TIMEOUT_S = 60.0
"""A check that has not ended by then failed: something never came."""

Runner: TypeAlias = Callable[[Coroutine[Any, Any, None]], None]
"""Runs one coroutine to its end, as `asyncio.run` and ``uvloop.run`` do."""


class RuleBroken(AssertionError):
    """An adapter does not keep a rule of its interface."""

    def __init__(self, *, subject: str, check: str, rule: str, done: str, expected: str, seen: str) -> None:
        self.subject = subject
        """The interface: ``MessageStore``."""
        self.check = check
        """The name of the check that found it."""
        self.rule = rule
        """The rule, in words."""
        self.done = done
        """What the check did, step by step."""
        self.expected = expected
        self.seen = seen
        super().__init__(
            f"{subject} broke a rule: {rule} [{check}]\n"
            f"  done:     {done or 'nothing yet'}\n"
            f"  expected: {expected}\n"
            f"  seen:     {seen}"
        )


@dataclass
class Trial:
    """One check under way: what was done so far, and the words for what was found. Base of the benches."""

    subject: str
    check: str
    rule: str
    directory: Path
    """Fresh for each check, and removed after it."""
    done: list[str] = field(default_factory=list)

    def did(self, step: str) -> None:
        """Remember a step, for the report."""
        self.done.append(step)

    def broken(self, expected: object, seen: object) -> NoReturn:
        """The rule does not hold."""
        raise RuleBroken(
            subject=self.subject,
            check=self.check,
            rule=self.rule,
            done=latest(self.done),
            expected=short(expected),
            seen=short(seen),
        )

    def same(self, what: str, expected: object, seen: object) -> None:
        """Two values must be equal."""
        if expected != seen:
            self.broken(f"{what}: {short(expected)}", f"{what}: {short(seen)}")

    def true(self, condition: object, expected: str, seen: object) -> None:
        """Something must hold; ``seen`` is told if it does not."""
        if not condition:
            self.broken(expected, seen)

    @contextmanager
    def raises(self, kind: type[BaseException], step: str) -> Iterator[list[BaseException]]:
        """The step must end with an error of this kind; it is in the list afterwards."""
        self.did(step)
        caught: list[BaseException] = []
        try:
            yield caught
        except kind as error:
            caught.append(error)
        except Exception as error:
            raise self._unexpected(f"{kind.__name__} from {step}", error) from error
        if not caught:
            self.broken(f"{kind.__name__} from {step}", "no error")

    def _unexpected(self, expected: str, error: Exception) -> RuleBroken:
        try:
            self.broken(expected, repr(error))
        except RuleBroken as broken:
            return broken

    async def settle(self) -> None:
        """The check passed: look whether anything is left that should not be."""

    async def release(self) -> None:
        """Give back what the check took. Called at its end, whatever that was."""


TrialT = TypeVar("TrialT", bound=Trial)
Body: TypeAlias = Callable[[TrialT], "Awaitable[None] | None"]


@dataclass(frozen=True, eq=False)
class Check(Generic[TrialT]):
    """One rule. ``str(check)`` is its name."""

    subject: str
    name: str
    rule: str
    body: Body[TrialT]
    bench: Callable[..., TrialT]
    """Makes the trial, from the same keywords as `Trial`."""
    runner: Runner = asyncio.run
    timeout_s: float = TIMEOUT_S

    def __str__(self) -> str:
        return self.name

    def __call__(self) -> None:
        """Run it in a loop of its own. Raises `RuleBroken`."""
        self.runner(self.verify())

    def __await__(self) -> Generator[Any, None, None]:
        return self.verify().__await__()

    async def verify(self) -> None:
        """Run it in the loop that is running. Raises `RuleBroken`."""
        with tempfile.TemporaryDirectory(prefix="qpidha-check-", ignore_cleanup_errors=True) as name:
            trial = self.bench(subject=self.subject, check=self.name, rule=self.rule, directory=Path(name))
            try:
                await self._try(trial)
            finally:
                await trial.release()

    async def _try(self, trial: TrialT) -> None:
        async def whole() -> None:
            result = self.body(trial)
            if inspect.isawaitable(result):
                await result
            await trial.settle()

        try:
            await asyncio.wait_for(whole(), self.timeout_s)
        except RuleBroken:
            raise
        except asyncio.TimeoutError as error:
            raise trial._unexpected(f"an end within {self.timeout_s:g} s", error) from error
        except Exception as error:
            raise trial._unexpected("no error", error) from error


class Rules(Generic[TrialT]):
    """All rules of one interface. Decorates the functions that check them; their docstring is the rule."""

    def __init__(self, subject: str) -> None:
        self.subject = subject
        self._bodies: list[Body[TrialT]] = []

    def __call__(self, body: Body[TrialT]) -> Body[TrialT]:
        """Add this function to the rules, and return it unchanged."""
        self._bodies.append(body)
        return body

    def checks(
        self, bench: Callable[..., TrialT], *, runner: Runner = asyncio.run, without: Iterable[str] = ()
    ) -> list[Check[TrialT]]:
        """One check for each rule, but for those that are named in ``without``."""
        found = [
            Check(self.subject, name_of(body), rule_of(body), body, bench, runner) for body in self._bodies
        ]
        left_out = set(without)
        unknown = left_out.difference(map(str, found))
        if unknown:
            raise ValueError(f"there is no check {', '.join(sorted(unknown))} of {self.subject}")
        return [check for check in found if check.name not in left_out]


def name_of(body: Body[Any]) -> str:
    """Return the name of a check: the name of its function, with dashes."""
    return str(body.__name__).replace("_", "-")


def rule_of(body: Body[Any]) -> str:
    """Return the rule of a check: the first paragraph of its docstring, on one line."""
    return " ".join((body.__doc__ or "").split("\n\n")[0].split()).rstrip(".")


def latest(steps: list[str], chars_max: int = 1500) -> str:
    """The steps, or the last of them if they are many."""
    text = "; ".join(steps)
    return text if len(text) <= chars_max else f"… {text[-chars_max:]}"


def short(value: object) -> str:
    """A value in a report: words as they are, the rest as its repr, of bearable length."""
    text = value if isinstance(value, str) else repr(value)
    return text if len(text) <= 600 else f"{text[:400]} … {text[-150:]}"


def run(checks: Iterable[Check[Any]]) -> None:
    """Run all of them, one after the other, and raise what they found.

    Raises:
        RuleBroken: One rule is broken.
        RulesBroken: Several are; each is in ``found``.
    """
    found: list[RuleBroken] = []
    for check in checks:
        try:
            check()
        except RuleBroken as broken:
            found.append(broken)
    if len(found) == 1:
        raise found[0]
    if found:
        raise RulesBroken(found)


class RulesBroken(AssertionError):
    """An adapter breaks several rules."""

    def __init__(self, found: list[RuleBroken]) -> None:
        self.found = found
        super().__init__("\n".join(map(str, found)))
