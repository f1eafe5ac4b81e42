"""Spans of OpenTelemetry for what takes a node some time: to be promoted, to catch up, to come back after a step-down.

    from opentelemetry import trace

    node = Node("a", ..., on_event=Spans(trace.get_tracer("broker")))

Needs ``pip install 'qpidha[opentelemetry]'``; a provider and an exporter are the program's own affair.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from qpidha.checks import shown
from qpidha.errors import SettingsError
from qpidha.events import NodeEvent, NodeFailing, Resynchronised, RoleEntered, SteppedDown
from qpidha.types import Role

if TYPE_CHECKING:
    from collections.abc import Callable

    from opentelemetry.trace import Span, Status, Tracer

PROMOTION, RESYNCHRONISATION, RETURN = "qpidha.promotion", "qpidha.resynchronisation", "qpidha.return"
BEGINS = {Role.RECOVERING: PROMOTION, Role.CATCH_UP: RESYNCHRONISATION}
"""The span that begins when a node enters this role."""
ENDS = {Role.ACTIVE: {PROMOTION, RETURN}, Role.READY: {RESYNCHRONISATION, RETURN}}
"""The spans that this role ends well. Any other role ends a promotion or a resynchronisation as an error."""


class Spans:
    """Give it to one node as ``on_event``. Costs nothing but at changes of the role; each span ends exactly once.

    - ``qpidha.promotion``: from when a node is promoted until it serves. ``qpidha.generation``
    - ``qpidha.resynchronisation``: from when a backup asks what it lacks until it follows. ``qpidha.generation``,
      ``qpidha.messages``, ``qpidha.bytes``, ``qpidha.quarantined``
    - ``qpidha.return``: from when a primary steps down until it is in sync, or primary again. ``qpidha.reason``

    A span whose aim is not reached has the status ERROR, and what came in its place as description.
    """

    def __init__(self, tracer: Tracer) -> None:
        """Raises `SettingsError` if the extra is not installed, or this is no tracer."""
        try:
            from opentelemetry.trace import Status, StatusCode
        except ImportError as error:
            raise SettingsError(
                "OpenTelemetry is not installed: pip install 'qpidha[opentelemetry]'"
            ) from error
        if not callable(getattr(tracer, "start_span", None)):
            raise SettingsError(f"tracer must be a tracer of OpenTelemetry, not {shown(tracer)}")
        self._tracer = tracer
        self._error: Callable[[str], Status] = lambda why: Status(StatusCode.ERROR, why)
        self._open: dict[str, Span] = {}

    def __call__(self, event: NodeEvent) -> None:
        """Begin and end spans."""
        if isinstance(event, RoleEntered):
            self._entered(event)
        elif isinstance(event, SteppedDown):
            self._end(PROMOTION, event.line)
            self._begin(RETURN, {"qpidha.reason": event.reason})
        elif isinstance(event, Resynchronised) and (span := self._open.get(RESYNCHRONISATION)):
            span.set_attributes(
                {
                    "qpidha.messages": event.messages,
                    "qpidha.bytes": event.nbytes,
                    "qpidha.quarantined": event.quarantined,
                }
            )
        elif isinstance(event, NodeFailing):
            self.close(event.line)

    def close(self, why: str = "the node has stopped") -> None:
        """End all spans as errors: the node will reach nothing any more."""
        for name in list(self._open):
            self._end(name, why)

    def _entered(self, event: RoleEntered) -> None:
        reached = ENDS.get(event.role, set())
        for name in (PROMOTION, RESYNCHRONISATION, RETURN):
            if name in reached:
                self._end(name)
            elif name != RETURN:
                self._end(name, event.line)
        if name := BEGINS.get(event.role, ""):
            self._begin(name, {"qpidha.generation": event.generation})

    def _begin(self, name: str, attributes: dict[str, Any]) -> None:
        self._end(name, "it began again")
        self._open[name] = self._tracer.start_span(name, attributes=attributes)

    def _end(self, name: str, why: str = "") -> None:
        span = self._open.pop(name, None)
        if span is not None:
            if why:
                span.set_status(self._error(why))
            span.end()
