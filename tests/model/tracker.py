"""Follows a run of the code in the model: all states of the model in which the cluster may be.

After each step of the code it is told what happened, as events of the model, and what the cluster looks like
now. Every state must allow the events, in this order; then events inside the nodes that the step touched may follow,
as few as possible, until state and cluster agree. What cannot be followed is a `Disagreement`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import model
from abstraction import Facts, differences, facts_of

Label = tuple[Any, ...]

INSIDE = frozenset(
    {"add", "addcas", "giveup", "tell", "rem", "demote", "prom", "over", "watch", "fence", "adopt", "ack"}
    | {"casok", "casfail", "casdoubt", "casto"}
)
"""Events that the code takes by itself, in the step in which their cause arrives."""

DEPTH_MAX = 6
"""Limit of internal events in one step: acknowledged, joiner chosen, addition sent, …"""
STATES_MAX = 3000
"""Limit of the states that are visited for one step."""


class Disagreement(AssertionError):
    """The code did something that the model does not allow."""


class Tracker:
    """All states of the model in which the cluster may be, given what was seen of it so far."""

    def __init__(self, state: tuple[Any, ...]) -> None:
        self.states = {state}
        self.taken: list[Label] = []
        """The events of the model so far."""

    def allows(self, label: Label) -> bool:
        return any(label in (event for event, _, _ in model.actions(state)) for state in self.states)

    def step(self, events: Iterable[Label], facts: Facts) -> None:
        """Follow one step of the code: these events happened, and these facts are visible now."""
        states = self.states
        for event in events:
            states = {after for state in states for after in after_event(state, event)}
            if not states:
                raise Disagreement(self._refused(event))
            self.taken.append(event)
        reached = dict.fromkeys(states, ())
        self.states = self._agreeing(reached, facts)

    def _agreeing(self, reached: dict[tuple[Any, ...], tuple[Label, ...]], facts: Facts) -> set[Any]:
        """The states that agree with the visible facts, reached by as few internal events as possible."""
        seen, nearest = set(reached), reached
        for _ in range(DEPTH_MAX):
            wrong = {state: differences(facts, facts_of(state)) for state in reached}
            if good := {state for state, keys in wrong.items() if not keys}:
                self.taken += reached[next(iter(good))]
                return good
            following: dict[tuple[Any, ...], tuple[Label, ...]] = {}
            for state, path in reached.items():
                for event in inside(state, {key[0] for key in wrong[state]}):
                    for after in after_event(state, event):
                        if after not in seen:
                            seen.add(after)
                            following[after] = (*path, event)
            if not following or len(seen) > STATES_MAX:
                break
            reached = following
        raise Disagreement(self._differs(next(iter(nearest)), facts))

    # --- what went wrong -----------------------------------------------------------------------------

    def _refused(self, event: Label) -> str:
        state = next(iter(self.states))
        lines = [f"the model does not allow: {shown(event)}", *described(state)]
        for label, _, error in model.successors(state):
            if label == event:
                lines.insert(1, f"it is a violation: {error}")
        return "\n".join([*lines, *self._tail(state)])

    def _differs(self, state: tuple[Any, ...], facts: Facts) -> str:
        other = facts_of(state)
        lines = ["the model has no events that lead to what the code shows:"]
        for key in differences(facts, other):
            where = key[0] if key[0] == "cluster" else f"node {key[0]}"
            lines.append(f"  {where}, {key[1]}: the code {facts[key]!r}, the model {other[key]!r}")
        return "\n".join([*lines, *described(state), *self._tail(state)])

    def _tail(self, state: tuple[Any, ...]) -> list[str]:
        allowed = " ; ".join(shown(label) for label, _, _ in model.actions(state))
        before = " ; ".join(shown(label) for label in self.taken[-40:])
        return [f"the model allows: {allowed}", f"the last events: {before}"]


def after_event(state: tuple[Any, ...], label: Label) -> Iterator[tuple[Any, ...]]:
    """The states after this event, if the model allows it and calls it no violation.

    Requests of several boots to the manager have the same name.
    """
    for found, event, arguments in model.actions(state):
        if found != label:
            continue
        world = model.World(state)
        try:
            event(world, *arguments)
            model.hand_over(world)
            after = world.freeze()
            model.check(after)
        except model.Violation:
            continue
        yield after


def inside(state: tuple[Any, ...], wrong: set[Any]) -> Iterator[Label]:
    """Events inside the nodes whose facts differ; inside all nodes if only the answers to clients differ."""
    for label, _, _ in model.actions(state):
        if label[0] in INSIDE:
            node = label[2] if label[0] in ("over", "fence") else label[1]
            if node in wrong or wrong <= {"cluster"}:
                yield label


def shown(label: Label) -> str:
    return " ".join(map(str, label))


def described(state: tuple[Any, ...]) -> list[str]:
    """A state of the model, a line for each node."""
    lines = [f"the model: {state[0]}", f"  under way to the manager: {state[1]!r}"]
    names = (
        "up",
        "boot",
        "memory",
        "disk",
        "primary",
        "view",
        "link",
        "compare-and-set",
        "ack due",
        "staged",
    )
    for n, node in enumerate(state[2]):
        parts = ", ".join(f"{name} {value!r}" for name, value in zip(names, node, strict=True))
        lines.append(f"  node {n}: {parts}")
    lines += [f"  {i // model.NODES} to {i % model.NODES}: {c!r}" for i, c in enumerate(state[3]) if c[0]]
    return lines
