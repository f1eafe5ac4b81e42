"""The actions that are possible in a state of a cluster, and the state after each.

Both are functions of the state alone, so that actions can be tried in any order and a path of them replayed.
"""

from __future__ import annotations

from typing import Any

from qpidha.core.ready import CompareAndSet
from qpidha.testing.explorer.nodes import NodeView
from qpidha.testing.explorer.requested import ALL_ACTIONS
from qpidha.testing.explorer.scope import (
    ACCEPT,
    ANSWERED,
    COMMIT,
    CONNECT,
    DECLARE,
    DELETE,
    DEMOTE,
    FAN_OUT,
    FANNED,
    FAULT,
    FORGET,
    GIVE_UP,
    HAVE,
    KEEP,
    LIMITED,
    MOVE,
    PRODUCE,
    PRODUCED,
    PROMOTE,
    PUBLISH,
    PUT,
    REPEAT,
    SENT,
    UPDATE,
    Action,
    Scope,
    State,
    Tables,
)  # fmt: skip
from qpidha.testing.explorer.transition import Transition

AUTOMATIC = frozenset({"deliver", "commit", "apply", "answer", "read", "watch", "connect"})
"""Actions that happen by themselves unless something prevents them."""


SIMPLE = (
    (DECLARE, "redeclare"),
    (PUT, "put"),
    (PRODUCE, "produce"),
    (KEEP, "keep"),
    (GIVE_UP, "give_up"),
    (FORGET, "forget"),
    (FAN_OUT, "fan_out"),
)
"""Actions on a primary that need no more than their budget."""


class Cluster:
    """A cluster of this scope, as a function from states to states."""

    def __init__(self, scope: Scope) -> None:
        self.scope = scope
        self.tables = Tables(scope)

    # --- the initial state ---------------------------------------------------------------------------

    def initial(self) -> State:
        """Return the initial state: all nodes follow the first, which is primary of generation 1 and has the queues."""
        nodes = tuple(self.tables.nodes.new(name) for name in self.scope.nodes)
        plenty = (99,) * len(LIMITED)
        have = (1 << self.scope.queues) - 1
        clients = (0, (), (), (), 0, 0, 0, (), 0, -1, 0, 0, 0, 0, (), (), (), 0, 0)
        state: State = (nodes, (), 0, (), clients, plenty)
        for node in range(self.tables.count):
            state = self.settled(self.done(state, ("start", node)))
            if node == 0:
                state = self.settled(self.done(state, ("promote", node)))
        for queue in range(self.scope.queues):
            state = self.settled(self.done(state, ("declare", 0, queue)))
        if self.scope.produce or self.scope.give_up:
            state = self.settled(self.done(state, ("register", 0)))
        assert len(self.tables.members(state[2])) == self.tables.count
        return (*state[:4], (*clients[:HAVE], have, *clients[HAVE + 1 :]), self.scope.budget)

    def done(self, state: State, action: Action) -> State:
        """Return the state after this action, which must be possible. Raises `Violation`, like `act`."""
        found = self.act(state, action)
        assert found is not None, action
        return found

    def settled(self, state: State) -> State:
        """Return the state after all automatic actions, in one order of many."""
        while True:
            found = (self.act(state, action) for action in self.actions(state) if self.is_automatic(action))
            after = next((one for one in found if one is not None), None)
            if after is None:
                return state
            state = after

    def is_automatic(self, action: Action) -> bool:
        """Whether an action happens by itself. The arrival of a request that was given up does not."""
        return action[0] in AUTOMATIC and (action[0] != "apply" or action[1][2] == SENT)

    # --- possible actions ----------------------------------------------------------------------------

    def actions(self, state: State) -> list[Action]:
        """Return all possible actions, automatic ones first. `act` returns None for some of them."""
        nodes, links, record, requests, clients, budget = state
        automatic: list[Action] = []
        events: list[Action] = []
        version = self.tables.version(record)
        for node, number in enumerate(nodes):
            self._of_node(node, number, clients, budget, events)
            if self.tables.nodes.views[number].committing:
                automatic.append(("commit", node))
        for link, to_acceptor, to_opener in links:
            if to_acceptor:
                automatic.append(("deliver", link, True))
            if to_opener:
                automatic.append(("deliver", link, False))
            if budget[FAULT]:
                events.append(("cut", link))
        for request in dict.fromkeys(requests):
            self._of_request(request, budget, automatic, events)
        for node, number in enumerate(nodes):
            view = self.tables.nodes.views[number]
            if view.up and view.known < version:
                automatic.append(("watch", node))
            if budget[CONNECT] and self._may_connect(node, view, nodes):
                automatic.append(("connect", node))
        return automatic + events

    def _may_connect(self, node: int, view: NodeView, nodes: tuple[int, ...]) -> bool:
        free = view.up and not view.primary and not view.linked
        return free and view.named not in (-1, node) and self.tables.nodes.views[nodes[view.named]].up

    def _of_request(
        self, request: tuple[int, ...], budget: tuple[int, ...], automatic: list[Action], events: list[Action]
    ) -> None:
        _, number, stage, _ = request
        if not isinstance(self.tables.requests.values[number], CompareAndSet):
            automatic.append(("read", request))
        elif stage == ANSWERED:
            automatic.append(("answer", request))
        elif stage == SENT:
            automatic.append(("apply", request))
            if budget[FAULT]:
                events.append(("give up", request))
        else:
            events.append(("apply", request))  # It was given up: it may arrive at any time.

    def _of_node(
        self, node: int, number: int, clients: tuple[Any, ...], budget: tuple[int, ...], events: list[Action]
    ) -> None:
        view = self.tables.nodes.views[number]
        if not view.up:
            events.append(("start", node))
            return
        if budget[FAULT]:
            events.append(("crash", node, False))
            if view.committing:
                events.append(("crash", node, True))
        if view.primary:
            self._of_primary(node, view, budget, events)
            self._of_changes(node, view, clients, budget, events)
        elif budget[PROMOTE]:
            events.append(("promote", node))

    def _of_primary(self, node: int, view: NodeView, budget: tuple[int, ...], events: list[Action]) -> None:
        if budget[PUBLISH]:
            events.append(("publish", node))
        for queue, id, _ in view.held:
            if budget[ACCEPT]:
                events.append(("accept", node, queue, id))
            if budget[MOVE]:
                events.append(("move", node, queue, id))
        if budget[FAULT] and view.owed:
            events.append(("late", node))
        if budget[DEMOTE]:
            events.append(("demote", node))

    def _of_changes(
        self,
        node: int,
        view: NodeView,
        clients: tuple[Any, ...],
        budget: tuple[int, ...],
        events: list[Action],
    ) -> None:
        """What clients may change besides single messages."""
        if budget[COMMIT]:
            events.append(("transact", node, -1, 0))
        for queue, id, message in view.held:
            if budget[COMMIT] and not clients[FANNED] >> message & 1:
                events.append(("transact", node, queue, id))
            if budget[UPDATE]:
                events.append(("update", node, queue, id))
        there = [queue for queue in range(len(self.tables.queues)) if view.has >> queue & 1]
        for at, queue in enumerate(there if budget[DELETE] else ()):
            events.append(("delete", node, queue, -1))
            if len(there) > 1:
                events.append(("delete", node, queue, there[at - 1]))
        for limit, action in SIMPLE:
            if budget[limit]:
                events.append((action, node))
        if budget[REPEAT] and clients[PRODUCED]:
            events.append(("repeat", node))

    # --- the next state ------------------------------------------------------------------------------

    def act(self, state: State, action: Action) -> State | None:
        """Return the state after an action; None if the action has no meaning in this state.

        Raises:
            Violation: An invariant does not hold, see `qpidha.testing.explorer.invariants`.
            InvariantError: The core's own `check` failed.
        """
        transition = Transition(self.tables, state)
        if not ALL_ACTIONS[action[0]](transition, *action[1:]):
            return None
        return transition.state()
