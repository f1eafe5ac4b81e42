"""Everything that can happen to a cluster next, and what comes of it.

`actions` says what can happen, `act` lets it happen and judges the outcome. Both are functions of the state
alone, so any order of actions can be tried, and a path of them played again.
"""

from __future__ import annotations

from collections.abc import Iterator

from qpidha.core.ready import CompareAndSet
from qpidha.testing.explorer_draft import HOW, Draft
from qpidha.testing.explorer_scope import (
    ACCEPT, ANSWERED, CONNECT, DEMOTE, FAULT, LIMITED, MOVE, PROMOTE, PUBLISH, SENT, Action, Scope, State, Tables,
)  # fmt: skip

QUIET = frozenset({"deliver", "commit", "apply", "answer", "read", "watch", "connect"})
"""What happens by itself."""


class Cluster:
    """All that can happen to a cluster of this scope."""

    def __init__(self, scope: Scope) -> None:
        self.scope = scope
        self.tables = Tables(scope)

    # --- the beginning -------------------------------------------------------------------------------

    def beginning(self) -> State:
        """All nodes are members and follow the first, which is primary of generation 1 and has the queues."""
        nodes = tuple(self.tables.nodes.new(name) for name in self.scope.nodes)
        plenty = (99,) * len(LIMITED)
        state: State = (nodes, (), 0, (), (0, (), (), (), 0, 0, 0, ()), plenty)
        for node in range(self.tables.count):
            state = self.settled(self.done(state, ("start", node)))
            if node == 0:
                state = self.settled(self.done(state, ("promote", node)))
        for queue in range(self.scope.queues):
            state = self.settled(self.done(state, ("declare", 0, queue)))
        assert len(self.tables.members(state[2])) == self.tables.count
        return (*state[:5], self.scope.budget)

    def done(self, state: State, action: Action) -> State:
        found = self.act(state, action)
        assert found is not None, action
        return found

    def settled(self, state: State) -> State:
        """After all that happens by itself, in one order of many."""
        while True:
            found = (self.act(state, action) for action in self.actions(state) if action[0] in QUIET)
            after = next((one for one in found if one is not None), None)
            if after is None:
                return state
            state = after

    # --- what can happen -----------------------------------------------------------------------------

    def actions(self, state: State) -> list[Action]:
        """All of it. Some may turn out to mean nothing: then `act` returns None."""
        nodes, links, record, requests, _, budget = state
        found: list[Action] = []
        for link, to_acceptor, to_opener in links:
            if to_acceptor:
                found.append(("deliver", link, True))
            if to_opener:
                found.append(("deliver", link, False))
            if budget[FAULT]:
                found.append(("cut", link))
        for request in dict.fromkeys(requests):
            found += self._of_request(request, budget)
        version = self.tables.version(record)
        for node, number in enumerate(nodes):
            found += self._of_node(node, number, version, budget, nodes)
        return found

    def _of_request(self, request: tuple[int, ...], budget: tuple[int, ...]) -> Iterator[Action]:
        _, number, stage, _ = request
        if not isinstance(self.tables.requests.values[number], CompareAndSet):
            yield ("read", request)
        elif stage == ANSWERED:
            yield ("answer", request)
        else:
            yield ("apply", request)
            if stage == SENT and budget[FAULT]:
                yield ("give up", request)

    def _of_node(
        self, node: int, number: int, version: int, budget: tuple[int, ...], nodes: tuple[int, ...]
    ) -> Iterator[Action]:
        look = self.tables.nodes.looks[number]
        if not look.up:
            yield ("start", node)
            return
        if look.committing:
            yield ("commit", node)
        if look.known < version:
            yield ("watch", node)
        if budget[FAULT]:
            yield ("crash", node, False)
            if look.committing:
                yield ("crash", node, True)
        if look.primary:
            yield from self._of_primary(node, number, budget)
            return
        if budget[PROMOTE]:
            yield ("promote", node)
        to = look.named
        if budget[CONNECT] and not look.linked and to not in (-1, node) and self.tables.nodes.looks[nodes[to]].up:
            yield ("connect", node)

    def _of_primary(self, node: int, number: int, budget: tuple[int, ...]) -> Iterator[Action]:
        look = self.tables.nodes.looks[number]
        if budget[PUBLISH]:
            yield ("publish", node)
        for queue, id, _ in look.held:
            if budget[ACCEPT]:
                yield ("accept", node, queue, id)
            if budget[MOVE]:
                yield ("move", node, queue, id)
        if budget[FAULT] and look.owed:
            yield ("late", node)
        if budget[DEMOTE]:
            yield ("demote", node)

    # --- letting it happen ---------------------------------------------------------------------------

    def act(self, state: State, action: Action) -> State | None:
        """The state after it; None if it means nothing here. Raises `Violation` if that must not be."""
        draft = Draft(self.tables, state)
        if not HOW[action[0]](draft, *action[1:]):
            return None
        return draft.state()
