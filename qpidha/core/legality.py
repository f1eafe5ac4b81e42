"""What a peer may say when, and what happens if it says something else: one table for both ends of a link.

How to read it. Each link is in one state, which belongs to the role that this node plays on that link:

    NO_ROLE          a peer opened the link, and this node is not primary
    SessionState     a peer opened the link to this primary: the session of a backup
    FollowerState    this node opened the link: its own session with its primary

For each state the table has a `Rule` for each event of the wire. A rule names the method that handles the event,
or the outcome of an event that is not legal there. Nothing else decides about legality: `Sessions` and `Follower` look
the rule up and do what it says. Whether the *content* of a legal event is right is checked by its handler.

Before a rule is applied, the header of the frame is checked, as far as the rule's `Scope` says:

    LINK         the header does not matter: Hello, Refused, Fenced
    GENERATION   a backup fences a frame of an older generation than it has seen (C2); another generation than the
                 session's is a protocol error
    SESSION      as GENERATION; then a frame of an earlier session is stale and ignored, legal or not (C3)

What happens, and who is at fault:

    HANDLED   legal; the handler may still refuse the content, which is the peer's fault
    IGNORED   nothing happens; neither side is at fault
    REFUSED   the peer is told why, the link is closed; neither side is at fault: roles change while frames are under way
    ERROR     the peer broke the protocol: it is told why, and the link is closed. Nothing else changes

The tables are total, so that a new event or state cannot be forgotten: `RULES` is checked when this module is imported.
The form follows h11's ``_state.py``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum, auto
from types import MappingProxyType
from typing import Final, get_args

from qpidha.errors import HandshakeError, RemoteProtocolError, ensure
from qpidha.wire.events import (
    Acknowledged,
    Established,
    Event,
    Fenced,
    Hello,
    Operations,
    PlanDrop,
    PlanEnd,
    PlanMessages,
    PlanQueue,
    PlanWithdraw,
    Progress,
    Refused,
    Resubscribe,
    Subscribe,
    SubscribeQueue,
    Welcome,
)
from qpidha.wire.groups import GroupsDiffer, SubscribeGroups, SubscribeRest

EVENTS: Final[tuple[type[Event], ...]] = get_args(Event)
"""Every event of the wire."""


class Scope(Enum):
    """How much of a frame's header must match before its event is handled."""

    LINK = auto()
    GENERATION = auto()
    SESSION = auto()


class Outcome(Enum):
    """What happens to an event, and who is at fault: see above."""

    HANDLED = auto()
    IGNORED = auto()
    REFUSED = auto()
    ERROR = auto()


@dataclass(frozen=True, slots=True)
class Rule:
    """What happens to one event in one state."""

    outcome: Outcome
    scope: Scope
    handler: str = ""
    """The method of `Sessions` or `Follower` that handles the event."""
    missing: str = ""
    """The event that the peer should have sent first; "" if the event is never legal in this state."""


class State(Enum):
    """A state of a link. ``rules`` is its part of the table."""

    rules: Mapping[type[Event], Rule]


class LinkState(State):
    """The state of a link on which this node has no role."""

    NO_ROLE = auto()
    """A peer opened the link, and this node is not primary."""


class SessionState(State):
    """The state of a backup's session on its primary."""

    NEW = auto()
    """The link is open; no Hello was read, so there is no session yet."""
    WELCOMED = auto()
    """The backup was welcomed, and has not subscribed yet."""
    COMPARING = auto()
    """The backup has sent digests of its queues, and waits for the groups that differ, or was told them (C8)."""
    SUBSCRIBING = auto()
    """The backup describes its queues."""
    CATCHING_UP = auto()
    """The plan is being sent."""
    STREAMING = auto()
    """PlanEnd was sent; operations follow."""
    LAGGING = auto()
    """The backup fell behind and was told to subscribe again (C7)."""


class FollowerState(State):
    """The state of this backup's session with its primary."""

    HELLO = auto()
    """Hello was sent, no Welcome was read."""
    COMPARING = auto()
    """Digests of all queues are made, or were sent (C8)."""
    STAGING = auto()
    """Subscribed; the plan is being received."""
    FLIPPING = auto()
    """The plan is complete and being applied; frames wait."""
    FOLLOWING = auto()
    """Equal to the primary at one position; operations follow."""


def handled(handler: str, scope: Scope = Scope.SESSION) -> Rule:
    """The rule of an event that this method handles."""
    return Rule(Outcome.HANDLED, scope, handler)


ILLEGAL: Final = Rule(Outcome.ERROR, Scope.SESSION)
_IGNORED: Final = Rule(Outcome.IGNORED, Scope.LINK)
_NOT_PRIMARY: Final = Rule(Outcome.REFUSED, Scope.LINK)

# --- this node is primary ------------------------------------------------------------------------

_BEFORE_HELLO = Rule(Outcome.ERROR, Scope.LINK, missing="Hello")
_OPEN: dict[type[Event], Rule] = {
    Refused: handled("_refused", Scope.LINK),
    Fenced: handled("_fenced", Scope.LINK),
    Subscribe: handled("_subscribe", Scope.GENERATION),
    SubscribeGroups: handled("_subscribe", Scope.GENERATION),
}
"""Legal in every state of a session after Hello."""
_PROGRESS = handled("_progress")
_ACKNOWLEDGED = handled("_acknowledged")

# --- this node is a backup -----------------------------------------------------------------------

_BEFORE_WELCOME = Rule(Outcome.ERROR, Scope.GENERATION, missing="Welcome")
_LEFT: dict[type[Event], Rule] = {Refused: handled("_refused", Scope.LINK)}
"""Legal in every state of the session with a primary."""

TABLE: Final[Mapping[State, tuple[Rule, dict[type[Event], Rule]]]] = {
    LinkState.NO_ROLE: (_NOT_PRIMARY, {Refused: _IGNORED}),
    SessionState.NEW: (_BEFORE_HELLO, {Hello: handled("_hello", Scope.LINK)}),
    SessionState.WELCOMED: (ILLEGAL, {**_OPEN, Progress: _PROGRESS, Acknowledged: _ACKNOWLEDGED}),
    SessionState.COMPARING: (
        ILLEGAL,
        {**_OPEN, Progress: _PROGRESS, SubscribeRest: handled("_subscribe_rest")},
    ),
    SessionState.SUBSCRIBING: (
        ILLEGAL,
        {**_OPEN, Progress: _PROGRESS, SubscribeQueue: handled("_subscribe_queue")},
    ),
    SessionState.CATCHING_UP: (ILLEGAL, {**_OPEN, Progress: _PROGRESS}),
    SessionState.STREAMING: (ILLEGAL, {**_OPEN, Progress: _PROGRESS, Acknowledged: _ACKNOWLEDGED}),
    SessionState.LAGGING: (ILLEGAL, {**_OPEN, Progress: _PROGRESS, Acknowledged: _ACKNOWLEDGED}),
    FollowerState.HELLO: (_BEFORE_WELCOME, {**_LEFT, Welcome: handled("_welcome", Scope.GENERATION)}),
    FollowerState.COMPARING: (ILLEGAL, {**_LEFT, GroupsDiffer: handled("_groups_differ")}),
    FollowerState.STAGING: (
        ILLEGAL,
        {
            **_LEFT,
            PlanMessages: handled("_plan_messages"),
            PlanQueue: handled("_plan_queue"),
            PlanDrop: handled("_plan_drop"),
            PlanWithdraw: handled("_plan_withdraw"),
            PlanEnd: handled("_plan_end"),
        },
    ),
    FollowerState.FLIPPING: (handled("_hold_back"), _LEFT),
    FollowerState.FOLLOWING: (
        ILLEGAL,
        {
            **_LEFT,
            Operations: handled("_operations"),
            Established: handled("_established"),
            Resubscribe: handled("_resubscribe"),
        },
    ),
}
"""For each state: the rules of some events by name, and before them the one rule of all other events."""

RULES: Final[Mapping[tuple[State, type[Event]], Rule]] = {
    (state, event): named.get(event, other) for state, (other, named) in TABLE.items() for event in EVENTS
}
"""The whole table, as it is tested and drawn."""

for _kind in (LinkState, SessionState, FollowerState):
    for _state in _kind:
        ensure(_state in TABLE, "every state has rules")
        _state.rules = MappingProxyType({event: RULES[_state, event] for event in EVENTS})


def violation(state: State, event: Event, rule: Rule) -> RemoteProtocolError:
    """The error of a peer that sent this event in this state."""
    name = type(event).__name__
    if rule.missing:
        return HandshakeError(f"{name} before {rule.missing}")
    return RemoteProtocolError(f"{name} while {state.name}")
