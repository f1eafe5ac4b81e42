"""What happened at least once: a run of many walks that never saw a fencing proves nothing about fencing.

Counted from outside, by an `Observer`: frames on the wire, roles, notes and refusals, requests to the manager and
their answers, fates of discarded messages, what clients were told.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from qpidha.core.manager import Answer
from qpidha.core.ready import HandOver, Noted, Notice, Request, RoleChanged
from qpidha.testing.observer import Observer
from qpidha.wire.events import Frame, Refused

if TYPE_CHECKING:
    from qpidha.testing.network import End
    from qpidha.testing.node import SimNode
    from qpidha.testing.simulator import World


class Sightings(Observer):
    """Counts one run, or many."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self._roles: dict[str, str] = {}

    def watch(self, world: World) -> None:
        """From now on, this world too."""
        self._roles = {}
        self.counts["runs"] += 1
        world.observers.append(self)

    def said(self, line: str) -> None:
        if line.startswith("* "):
            self.counts[f"step {line[2:]}"] += 1

    def arrived(self, end: End, frame: Frame) -> None:
        self.counts[f"frame {type(frame.event).__name__}"] += 1
        if isinstance(frame.event, Refused):
            self.counts[f"refusal {frame.event.code}"] += 1

    def noticed(self, node: SimNode, notice: Notice) -> None:
        match notice:
            case RoleChanged(role, _):
                before = self._roles.get(node.name, "joining")
                self._roles[node.name] = role.value
                self.counts[f"role {before} > {role.value}"] += 1
            case Noted(what, _):
                self.counts[f"note {what}"] += 1
            case HandOver(messages):
                for message in messages:
                    self.counts[f"fate {message.fate.value}"] += 1
            case _:
                pass

    def answered(self, node: SimNode, request: Request, answer: Answer) -> None:
        self.counts[f"{type(request).__name__} {type(answer).__name__}"] += 1

    def client(self, node: SimNode | None, what: str, values: Sequence[str]) -> None:
        self.counts[f"client {what}"] += 1

    @property
    def failovers(self) -> int:
        """How often a backup became primary, but for the first time in each run."""
        return sum(self.counts[name] for name in PROMOTIONS) - self.counts["runs"]

    def never(self) -> list[str]:
        """What should have been seen and was not."""
        return [name for name in EXPECTED if not self.counts[name]]


BACKUP: Final = ("joining", "catch-up", "ready")
PRIMARY: Final = ("recovering", "active")
PROMOTIONS: Final = tuple(f"role {before} > {after}" for before in BACKUP for after in PRIMARY)

EXPECTED: Final = (
    *(f"frame {name}" for name in (
        "Hello", "Welcome", "Refused", "Fenced", "Subscribe", "SubscribeQueue", "PlanQueue", "PlanDrop", "PlanMessages",
        "PlanEnd", "Progress", "Resubscribe", "Operations", "Acknowledged", "Established",
    )),
    *(f"note {name}" for name in (
        "resynchronised", "two processes with one node id", "fenced", "compare-and-set lost", "stepped down",
        "removing a member", "refused by the primary", "fenced a stale primary", "not the recorded primary",
    )),
    *(f"role {name}" for name in (
        "joining > catch-up", "catch-up > ready", "ready > catch-up", "catch-up > joining", "ready > joining",
        "joining > recovering", "ready > recovering", "ready > active", "recovering > active", "recovering > joining",
        "active > joining", "ready > stopped",
    )),
    *(f"CompareAndSet {name}" for name in ("Applied", "Lost", "NotSent", "Unknown")),
    *(f"ReadRecord {name}" for name in ("Read", "NotSent", "Unknown")),
    *(f"fate {name}" for name in ("rewound", "undone-move")),
    *(f"client {name}" for name in (
        "answers ok", "in doubt", "confirms settle", "settle in doubt", "is given", "publishes", "accepts", "moves",
    )),
)  # fmt: skip
"""What some thousand walks must reach."""
