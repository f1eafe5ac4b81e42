"""Spans of OpenTelemetry, as an exporter in memory gets them."""

from __future__ import annotations

import asyncio
import sys

import pytest
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import StatusCode

from qpidha.errors import SettingsError
from qpidha.events import NodeEvent, NodeFailing, Resynchronised, RoleEntered, SteppedDown
from qpidha.tracing import Spans
from qpidha.types import Role
from tests.support.harness import World, until


class Traced:
    """Spans with an exporter."""

    def __init__(self) -> None:
        self.exporter = InMemorySpanExporter()
        provider = TracerProvider()
        provider.add_span_processor(SimpleSpanProcessor(self.exporter))
        self.spans = Spans(provider.get_tracer("test"))

    def after(self, *events: NodeEvent) -> list[tuple[str, bool, str]]:
        for event in events:
            self.spans(event)
        return self.ended()

    def ended(self) -> list[tuple[str, bool, str]]:
        """Name, whether its aim was reached, description; oldest end first."""
        return [
            (
                span.name.removeprefix("qpidha."),
                span.status.status_code is not StatusCode.ERROR,
                span.status.description or "",
            )
            for span in self.exporter.get_finished_spans()
        ]

    def last(self) -> ReadableSpan:
        return self.exporter.get_finished_spans()[-1]


def role(role: Role, generation: int = 3) -> RoleEntered:
    return RoleEntered(role, generation)


def test_a_promotion_ends_when_the_node_serves() -> None:
    traced = Traced()
    assert traced.after(role(Role.READY), role(Role.RECOVERING, 4)) == []
    assert traced.after(role(Role.ACTIVE, 4)) == [("promotion", True, "")]
    assert dict(traced.last().attributes or {}) == {"qpidha.generation": 4}
    traced.spans.close()
    assert len(traced.ended()) == 1


def test_a_backup_that_catches_up() -> None:
    traced = Traced()
    done = Resynchronised(messages=7, nbytes=900, erased=1, quarantined=2)
    assert traced.after(done, role(Role.CATCH_UP), done, role(Role.READY)) == [
        ("resynchronisation", True, "")
    ]
    assert dict(traced.last().attributes or {}) == {
        "qpidha.generation": 3, "qpidha.messages": 7, "qpidha.bytes": 900, "qpidha.quarantined": 2,
    }  # fmt: skip


def test_a_primary_that_steps_down_and_comes_back() -> None:
    traced = Traced()
    traced.after(role(Role.RECOVERING), SteppedDown("the record names another"), role(Role.JOINING))
    assert traced.ended() == [("promotion", False, "stepped down: the record names another")]
    traced.after(role(Role.CATCH_UP), role(Role.JOINING))
    assert traced.ended()[1:] == [("resynchronisation", False, "role: joining, generation 3")]
    traced.after(role(Role.CATCH_UP), role(Role.READY))
    assert traced.ended()[2:] == [("resynchronisation", True, ""), ("return", True, "")]
    assert dict(traced.last().attributes or {}) == {"qpidha.reason": "the record names another"}
    traced.after(SteppedDown("again"), role(Role.JOINING), role(Role.RECOVERING), role(Role.ACTIVE))
    assert [name for name, well, _ in traced.ended()[4:] if well] == ["promotion", "return"]


def test_what_is_open_when_the_node_fails_is_an_error() -> None:
    traced = Traced()
    failed = NodeFailing("the disk is full")
    assert traced.after(role(Role.RECOVERING), failed, failed) == [("promotion", False, failed.line)]
    traced.after(SteppedDown("once"), SteppedDown("twice"))
    assert traced.ended()[1:] == [("return", False, "it began again")]
    traced.spans.close()
    assert traced.ended()[2:] == [("return", False, "the node has stopped")]


def test_what_is_no_tracer_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(SettingsError, match="tracer must be a tracer of OpenTelemetry, not 7"):
        Spans(7)  # type: ignore[arg-type]
    with pytest.raises(SettingsError, match=r"not a value \(int\)"):  # Too long for decimal digits.
        Spans(10**5000)  # type: ignore[arg-type]
    monkeypatch.setitem(sys.modules, "opentelemetry.trace", None)
    with pytest.raises(SettingsError, match=r"pip install 'qpidha\[opentelemetry\]'"):
        Spans(7)  # type: ignore[arg-type]


def test_a_hand_over_of_real_nodes() -> None:
    of_a, of_b = Traced(), Traced()

    async def main() -> None:
        async with World() as world:
            a, b = await world.start("a", on_event=of_a.spans), await world.start("b", on_event=of_b.spans)
            await a.promote()
            await until(lambda: b.status().in_sync)
            await a.demote()
            await b.promote()
            await until(lambda: b.status().role == "active" and a.status().in_sync)

    asyncio.run(main())
    assert all(name != "promotion" for name, _, _ in of_a.ended()), (
        "it founded the cluster, and served at once"
    )
    assert ("return", True, "") in of_a.ended()
    ended = [(name, well) for name, well, _ in of_b.ended() if name != "return"]
    assert ended[:2] == [("resynchronisation", True), ("promotion", True)]
