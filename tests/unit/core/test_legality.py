"""The table of legality says what a real core does: every state of a link, every event of the wire, every header."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from qpidha import SequenceSet
from qpidha.core.backup.follower import Follower
from qpidha.core.legality import (
    EVENTS,
    RULES,
    FollowerState,
    LinkState,
    Outcome,
    Scope,
    SessionState,
    State,
    violation,
)
from qpidha.core.limits import limits_of
from qpidha.core.primary.sessions import Sessions
from qpidha.core.refusals import NOT_PRIMARY
from qpidha.types import QueueSpec
from qpidha.wire.events import (
    Acknowledged,
    Established,
    Event,
    Fenced,
    Frame,
    Operations,
    Ping,
    PlanDrop,
    PlanEnd,
    PlanMessages,
    PlanQueue,
    PlanWithdraw,
    Progress,
    Refused,
    Resubscribe,
    SkipIds,
    Subscribe,
    SubscribeQueue,
)
from qpidha.wire.groups import GroupsDiffer, SubscribeGroups, SubscribeRest
from tests.support.cores import (
    GENERATION,
    HELLO,
    LINK,
    OTHER,
    PEER_EPOCH,
    QUEUE,
    SETTINGS,
    WELCOME,
    Node,
    messages,
)
from tests.support.legality_page import PAGE, render, section

SLICED = replace(SETTINGS, queues_per_slice=1, plan_chunks_in_flight_max=1)
LIMITS = limits_of(SETTINGS)
WELCOME_5 = replace(WELCOME, version=5, limits=LIMITS)
SUBSCRIBE = Subscribe(epoch=PEER_EPOCH, stored_generation=2, queues=0)
SAMPLES: dict[type[Event], Event] = {
    type(event): event
    for event in (
        HELLO,
        WELCOME,
        Refused(code=1, reason="no"),
        Fenced(generation=GENERATION + 1),
        Ping(),
        replace(SUBSCRIBE, queues=1),
        SubscribeGroups(epoch=PEER_EPOCH, stored_generation=2, key=bytes(16), digests=(bytes(16),)),
        GroupsDiffer(groups=SequenceSet()),
        SubscribeRest(queues=1),
        SubscribeQueue(queue=QUEUE, lineage=((1, 1),), next=1, held=SequenceSet()),
        PlanQueue(queue=QUEUE, spec=QueueSpec(name="full"), lineage=((1, 1), (2, 5)), next=10, held=8),
        PlanDrop(queue=QUEUE, ids=SequenceSet([1]), staged=False),
        PlanWithdraw(queue=QUEUE),
        PlanMessages(queue=QUEUE, generation_of=2, ids=SequenceSet([7]), batch=messages(SequenceSet([7]))),
        PlanEnd(position=5, queues=0),
        Progress(chunks=0),
        Resubscribe(),
        Operations(first=6, operations=((SkipIds(queue=QUEUE, first=10, last=10),),)),
        Acknowledged(position=0),
        Established(),
    )
}
SAME_QUEUES: tuple[Event, ...] = (
    SAMPLES[PlanQueue],
    PlanQueue(queue=OTHER, spec=QueueSpec(name="empty", kind="ring"), lineage=((2, 1),), next=1, held=0),
)


def no_role() -> Node:
    node = Node()
    node.replica.link_opened(LINK)
    return node


def settled(node: Node) -> Node:
    """Do all slices of work that need no further input."""
    while node.replica.unfinished:
        node.perform()
    return node


def comparing() -> Node:
    """A primary that has told the backup which groups differ."""
    node = settled(Node(SLICED).promoted()).say(replace(HELLO, version_max=5, limits=LIMITS), session=0)
    return settled(node.say(SAMPLES[SubscribeGroups]))


def subscribed(queues: int) -> Node:
    node = settled(Node(SLICED).promoted())
    return node.say(HELLO, session=0).say(replace(SUBSCRIBE, queues=queues))


def streaming() -> Node:
    return settled(subscribed(0).say(Progress(chunks=1)))


def lagging() -> Node:
    node = streaming()
    node.replica.enqueue(QUEUE, messages(SequenceSet([(10, 90)])))
    node.perform()
    return node


def flipping() -> Node:
    node = settled(Node(SLICED).following().say(WELCOME, session=0))
    for event in (*SAME_QUEUES, PlanEnd(position=5, queues=2)):
        node.replica.received(LINK, Frame(GENERATION, 1, event), node.clock)
    return node


def following() -> Node:
    return settled(flipping())


STATES: dict[State, Callable[[], Node]] = {
    LinkState.NO_ROLE: no_role,
    SessionState.NEW: lambda: Node().promoted(),
    SessionState.WELCOMED: lambda: Node().promoted().say(HELLO, session=0),
    SessionState.COMPARING: comparing,
    SessionState.SUBSCRIBING: lambda: subscribed(1),
    SessionState.CATCHING_UP: lambda: subscribed(0),
    SessionState.STREAMING: streaming,
    SessionState.LAGGING: lagging,
    FollowerState.HELLO: lambda: Node().following(),
    FollowerState.COMPARING: lambda: settled(
        Node(replace(SETTINGS, queues_per_digest=1)).following().say(WELCOME_5, session=0)
    ),
    FollowerState.STAGING: lambda: Node().following().say(WELCOME, session=0),
    FollowerState.FLIPPING: flipping,
    FollowerState.FOLLOWING: following,
}


def in_state(state: State) -> Node:
    """A node whose link is in this state. Frames that it sent on the way to the state are removed."""
    node = STATES[state]()
    assert state_of(node) is state
    node.sent.clear()
    assert not node.closed
    return node


def state_of(node: Node) -> State:
    replica = node.replica
    if replica.follower.link == LINK:
        return replica.follower.session.state if replica.follower.session else FollowerState.HELLO
    if replica.primary is None:
        return LinkState.NO_ROLE
    session = replica.primary.sessions.get(LINK)
    return SessionState.NEW if session is None else session.state


def sid_of(state: State) -> int:
    return (
        0 if state in (LinkState.NO_ROLE, SessionState.NEW, SessionState.WELCOMED, FollowerState.HELLO) else 1
    )


Calls = list[tuple[str, type[Event]]]


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> Calls:
    """Every handler that the core calls, and for which event."""
    made: Calls = []
    for owner in (Sessions, Follower):
        for name in {
            rule.handler for rule in RULES.values() if rule.handler and hasattr(owner, rule.handler)
        }:
            monkeypatch.setattr(owner, name, spy(getattr(owner, name), name, made))
    return made


def spy(real: Callable[..., object], name: str, made: Calls) -> Callable[..., object]:
    def called(self: object, *arguments: object) -> object:
        made.extend((name, type(a)) for a in arguments if type(a) in EVENTS)  # type: ignore[misc]
        return real(self, *arguments)

    return called


def say(node: Node, event: Event, *, session: int, generation: int = GENERATION) -> bool:
    told = node.replica.received(LINK, Frame(generation, session, event), node.clock)
    node.perform()
    return told


def test_the_table_is_total() -> None:
    assert set(SAMPLES) == set(EVENTS)
    assert set(STATES) == {state for kind in (LinkState, SessionState, FollowerState) for state in kind}
    assert set(RULES) == {(state, event) for state in STATES for event in EVENTS}


@pytest.mark.parametrize("event", EVENTS, ids=lambda event: event.__name__)
@pytest.mark.parametrize("state", STATES, ids=lambda state: f"{type(state).__name__}.{state.name}")
def test_the_core_does_what_the_table_says(state: State, event: type[Event], calls: Calls) -> None:
    node, rule, said = in_state(state), RULES[state, event], SAMPLES[event]
    calls.clear()
    role = node.replica.role
    say(node, said, session=sid_of(state))
    if rule.outcome is Outcome.HANDLED:
        assert calls[0] == (rule.handler, event)
        assert str(violation(state, said, rule)) not in {getattr(e, "reason", "") for e in node.sent}
        return
    assert calls == []
    if rule.outcome is Outcome.IGNORED:
        assert (node.sent, node.closed) == ([], False)
        assert state_of(node) is state
        return
    (answer,) = [e for e in node.sent if isinstance(e, Refused)]
    assert node.closed
    if rule.outcome is Outcome.REFUSED:
        assert answer.code == NOT_PRIMARY
    else:
        error = violation(state, said, rule)
        assert (answer.code, answer.reason) == (error.code, str(error))
        if not isinstance(state, FollowerState):
            assert node.replica.role is role, "the others are not concerned"


STALE = [(state, event) for (state, event), rule in RULES.items() if rule.scope is Scope.SESSION]


@pytest.mark.parametrize(
    ("state", "event"), STALE, ids=lambda x: getattr(x, "name", getattr(x, "__name__", ""))
)
def test_a_frame_of_an_earlier_session_is_ignored_legal_or_not(
    state: State, event: type[Event], calls: Calls
) -> None:
    node = in_state(state)
    calls.clear()
    say(node, SAMPLES[event], session=99)
    assert calls == [] and not node.closed


@pytest.mark.parametrize(
    ("state", "event"), RULES, ids=lambda x: getattr(x, "name", getattr(x, "__name__", ""))
)
def test_a_frame_of_another_generation(state: State, event: type[Event], calls: Calls) -> None:
    """A backup fences a generation older than it has seen; any other is a protocol error, if the rule checks it."""
    node, rule = in_state(state), RULES[state, event]
    calls.clear()
    say(node, SAMPLES[event], session=sid_of(state), generation=1)
    if rule.scope is Scope.LINK:
        assert [name for name, _ in calls[:1]] == ([rule.handler] if rule.handler else [])
    else:
        assert calls == [] and node.closed
        if isinstance(state, FollowerState):
            assert any(isinstance(event, Fenced) for event in node.sent)
        else:
            assert any("generation 1" in event.reason for event in node.sent if isinstance(event, Refused))


NEWER = [(state, event) for state, event in STALE if isinstance(state, FollowerState)]


@pytest.mark.parametrize(
    ("state", "event"), NEWER, ids=lambda x: getattr(x, "name", getattr(x, "__name__", ""))
)
def test_a_primary_does_not_change_its_generation_within_a_session(
    state: State, event: type[Event], calls: Calls
) -> None:
    node = in_state(state)
    calls.clear()
    say(node, SAMPLES[event], session=sid_of(state), generation=GENERATION + 1)
    assert calls == [] and node.closed
    assert any(f"not {GENERATION}" in e.reason for e in node.sent if isinstance(e, Refused))


def test_every_handler_exists() -> None:
    for (state, _), rule in RULES.items():
        if rule.handler:
            assert hasattr(Sessions if isinstance(state, SessionState) else Follower, rule.handler)


def test_the_page_shows_the_table() -> None:
    """If this fails, run ``python -m tests.support.legality_page``."""
    assert section(PAGE.read_text(encoding="utf-8")) == render()
