"""Everything that can happen to a cluster next, and what comes of it.

`actions` says what can happen, `act` lets it happen and judges the outcome. Both are functions of the state
alone, so any order of actions can be tried, and a path of them played again.
"""

from __future__ import annotations

from qpidha.core.ready import CompareAndSet
from qpidha.testing.explorer.draft import HOW, Draft
from qpidha.testing.explorer.nodes import Look
from qpidha.testing.explorer.scope import (
    ACCEPT,
    ANSWERED,
    CONNECT,
    DEMOTE,
    FAULT,
    LIMITED,
    MOVE,
    PROMOTE,
    PUBLISH,
    SENT,
    Action,
    Scope,
    State,
    Tables,
)  # fmt: skip

QUIET = frozenset({"deliver", "commit", "apply", "answer", "read", "watch", "connect"})
"""What happens by itself, if nobody prevents it."""


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
        """Return the state after this action, which must be possible."""
        found = self.act(state, action)
        assert found is not None, action
        return found

    def settled(self, state: State) -> State:
        """After all that happens by itself, in one order of many."""
        while True:
            found = (self.act(state, action) for action in self.actions(state) if self.is_quiet(action))
            after = next((one for one in found if one is not None), None)
            if after is None:
                return state
            state = after

    def is_quiet(self, action: Action) -> bool:
        """It happens by itself. A request that nobody waits for any more arrives late, if ever."""
        return action[0] in QUIET and (action[0] != "apply" or action[1][2] == SENT)

    # --- what can happen -----------------------------------------------------------------------------

    def actions(self, state: State) -> list[Action]:
        """All of it, what happens by itself first. Some may mean nothing: then `act` returns None."""
        nodes, links, record, requests, _, budget = state
        quiet: list[Action] = []
        events: list[Action] = []
        version = self.tables.version(record)
        for node, number in enumerate(nodes):
            self._of_node(node, number, budget, events)
            if self.tables.nodes.looks[number].committing:
                quiet.append(("commit", node))
        for link, to_acceptor, to_opener in links:
            if to_acceptor:
                quiet.append(("deliver", link, True))
            if to_opener:
                quiet.append(("deliver", link, False))
            if budget[FAULT]:
                events.append(("cut", link))
        for request in dict.fromkeys(requests):
            self._of_request(request, budget, quiet, events)
        for node, number in enumerate(nodes):
            look = self.tables.nodes.looks[number]
            if look.up and look.known < version:
                quiet.append(("watch", node))
            if budget[CONNECT] and self._may_connect(node, look, nodes):
                quiet.append(("connect", node))
        return quiet + events

    def _may_connect(self, node: int, look: Look, nodes: tuple[int, ...]) -> bool:
        free = look.up and not look.primary and not look.linked
        return free and look.named not in (-1, node) and self.tables.nodes.looks[nodes[look.named]].up

    def _of_request(
        self, request: tuple[int, ...], budget: tuple[int, ...], quiet: list[Action], events: list[Action]
    ) -> None:
        _, number, stage, _ = request
        if not isinstance(self.tables.requests.values[number], CompareAndSet):
            quiet.append(("read", request))
        elif stage == ANSWERED:
            quiet.append(("answer", request))
        elif stage == SENT:
            quiet.append(("apply", request))
            if budget[FAULT]:
                events.append(("give up", request))
        else:
            events.append(("apply", request))  # It is late by as much as it likes.

    def _of_node(self, node: int, number: int, budget: tuple[int, ...], events: list[Action]) -> None:
        look = self.tables.nodes.looks[number]
        if not look.up:
            events.append(("start", node))
            return
        if budget[FAULT]:
            events.append(("crash", node, False))
            if look.committing:
                events.append(("crash", node, True))
        if look.primary:
            self._of_primary(node, look, budget, events)
        elif budget[PROMOTE]:
            events.append(("promote", node))

    def _of_primary(self, node: int, look: Look, budget: tuple[int, ...], events: list[Action]) -> None:
        if budget[PUBLISH]:
            events.append(("publish", node))
        for queue, id, _ in look.held:
            if budget[ACCEPT]:
                events.append(("accept", node, queue, id))
            if budget[MOVE]:
                events.append(("move", node, queue, id))
        if budget[FAULT] and look.owed:
            events.append(("late", node))
        if budget[DEMOTE]:
            events.append(("demote", node))

    # --- letting it happen ---------------------------------------------------------------------------

    def act(self, state: State, action: Action) -> State | None:
        """The state after it; None if it means nothing here. Raises `Violation` if that must not be."""
        draft = Draft(self.tables, state)
        if not HOW[action[0]](draft, *action[1:]):
            return None
        return draft.state()
