"""Checks: each tries one rule of an interface on an adapter.

Call a check, `await` it in a running event loop, or pass many to `run`. It returns None, or raises `RuleBroken` with
the rule, what was done, what was expected and what was seen.
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
"""A check that takes longer has failed."""

Runner: TypeAlias = Callable[[Coroutine[Any, Any, None]], None]
"""Runs one coroutine to its end, as `asyncio.run` and ``uvloop.run`` do."""


class RuleBroken(AssertionError):
    """An adapter breaks a rule of its interface. The fields are text."""

    def __init__(self, *, subject: str, check: str, rule: str, done: str, expected: str, seen: str) -> None:
        self.subject = subject
        """The interface, for example ``MessageStore``."""
        self.check = check
        """The name of the check that found it."""
        self.rule = rule
        """The rule, as a sentence."""
        self.done = done
        """The steps of the check, the latest if there are many."""
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
    """One run of a check: the steps so far, and assertions that report them. Base class of the benches."""

    subject: str
    check: str
    rule: str
    directory: Path
    """New for each check, and removed after it."""
    done: list[str] = field(default_factory=list)

    def did(self, step: str) -> None:
        """Add a step to the report."""
        self.done.append(step)

    def broken(self, expected: object, seen: object) -> NoReturn:
        """Raise `RuleBroken`."""
        raise RuleBroken(
            subject=self.subject,
            check=self.check,
            rule=self.rule,
            done=latest(self.done),
            expected=short(expected),
            seen=short(seen),
        )

    def same(self, what: str, expected: object, seen: object) -> None:
        """Raise `RuleBroken` unless the values are equal; ``what`` names them."""
        if expected != seen:
            self.broken(f"{what}: {short(expected)}", f"{what}: {short(seen)}")

    def true(self, condition: object, expected: str, seen: object) -> None:
        """Raise `RuleBroken` unless the condition is true; ``expected`` says what should hold, ``seen`` what does."""
        if not condition:
            self.broken(expected, seen)

    @contextmanager
    def raises(self, kind: type[BaseException], step: str) -> Iterator[list[BaseException]]:
        """Raise `RuleBroken` unless the block raises an error of this kind, which is in the list afterwards."""
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
        """Called after the check has passed: raise `RuleBroken` if something is left that should not be."""

    async def release(self) -> None:
        """Release what the check holds. Called at its end, also if it failed."""


TrialT = TypeVar("TrialT", bound=Trial)
Body: TypeAlias = Callable[[TrialT], "Awaitable[None] | None"]


@dataclass(frozen=True, eq=False)
class Check(Generic[TrialT]):
    """One rule of one interface, and how it is tried. ``str(check)`` is its name, as for pytest's ``ids=str``."""

    subject: str
    name: str
    rule: str
    body: Body[TrialT]
    bench: Callable[..., TrialT]
    """Makes the `Trial`, from its keywords."""
    runner: Runner = asyncio.run
    timeout_s: float = TIMEOUT_S

    def __str__(self) -> str:
        return self.name

    def __call__(self) -> None:
        """Run it in a new event loop. Raises `RuleBroken`."""
        self.runner(self.verify())

    def __await__(self) -> Generator[Any, None, None]:
        return self.verify().__await__()

    async def verify(self) -> None:
        """Run it in the running event loop. Raises `RuleBroken`."""
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
    """The rules of one interface: decorates functions that check one each, whose docstring is the rule."""

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
        """Return one check for each rule except those named in ``without``. Raises ValueError for unknown names."""
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
    """Return the steps as text, or the end of it if it is long."""
    text = "; ".join(steps)
    return text if len(text) <= chars_max else f"… {text[-chars_max:]}"


def short(value: object) -> str:
    """Return a value as text for a report: strings as they are, others as their repr, cut in the middle if long."""
    text = value if isinstance(value, str) else repr(value)
    return text if len(text) <= 600 else f"{text[:400]} … {text[-150:]}"


def run(checks: Iterable[Check[Any]]) -> None:
    """Run all checks, one after the other, and raise what they found.

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
    """An adapter breaks several rules: each is in ``found``."""

    def __init__(self, found: list[RuleBroken]) -> None:
        self.found = found
        super().__init__("\n".join(map(str, found)))
