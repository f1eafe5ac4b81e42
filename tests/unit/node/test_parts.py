"""The parts of a node, connected: what one part reports reaches the part that was made after it."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from qpidha import Settings
from qpidha.errors import StoreFailed
from qpidha.interfaces import Promoter
from qpidha.node.parts import Parts
from qpidha.node.runtime import Runtime
from qpidha.promoters import OperatorPromoter, PriorityPromoter
from qpidha.records import MemoryRecordStore
from qpidha.stores import MemoryStore
from qpidha.transports import MemoryNetwork, MemoryTransport
from tests.support.harness import Recorder
from tests.support.node_parts import Wire, encode_info, info, run, turns


def parts(promoter: Promoter | None = None) -> Parts:
    return Parts(
        Runtime("a", Settings(), None),
        broker=Recorder(),
        store=MemoryStore(),
        transport=MemoryTransport(MemoryNetwork()),
        records=MemoryRecordStore(),
        promoter=promoter,
    )


def test_the_runtime_reaches_the_engine() -> None:
    made = parts()
    runtime, engine = made.runtime, made.engine
    assert (runtime.poke, runtime.flush_later, runtime.broken) == (
        engine.poke,
        engine.flush_later,
        engine.broken,
    )


def test_a_bug_before_the_driver_runs_ends_the_life_of_the_node() -> None:
    made, bug = parts(), ZeroDivisionError("a bug")
    made.runtime.broken(bug)
    assert made.runtime.stop_reason == "failed: ZeroDivisionError('a bug')"
    assert made.life.stopped is not None and made.life.stopped.error is bug


def test_a_store_that_fails_ends_the_life_of_the_node() -> None:
    made, failure = parts(), StoreFailed("disk full")
    made.effects.store_failed(failure)
    assert (made.runtime.store_error, made.runtime.stop_reason) == (failure, "failed: disk full")


def test_a_broker_that_cannot_serve_makes_the_node_leave_the_place() -> None:
    class Unfit(Recorder):
        async def on_promote(self, generation: int) -> None:
            raise OSError("the port is taken")

    async def main() -> None:
        made = parts()
        heard: list[str] = []
        made.place.unfit = heard.append  # type: ignore[method-assign]
        made.runtime.enter_loop()
        made.notifier._broker = Unfit()
        made.runtime.replica = SimpleNamespace(primary=SimpleNamespace(generation=1))  # type: ignore[assignment]
        made.notifier.start()
        made.notifier.role(1)
        await turns()
        assert heard == ["the broker did not become primary: on_promote failed: OSError: the port is taken"]

    run(main())


def test_a_link_that_is_lost_makes_the_connector_look() -> None:
    async def main() -> None:
        made = parts()
        looks: list[bool] = []
        made.connector.look = lambda: looks.append(True)  # type: ignore[method-assign]
        await made.engine.open()
        made.links._accept(Wire()).closed(None)
        assert looks == [True]
        await made.engine.close()

    run(main())


@pytest.mark.parametrize(
    ("promoter", "itself"),
    [
        (None, False),
        (OperatorPromoter(), False),
        (PriorityPromoter(1), True),
        (SimpleNamespace(decisions=None), True),
    ],
)
def test_a_node_promotes_itself_unless_its_promoter_waits_for_an_operator(
    promoter: Promoter | None, itself: bool
) -> None:
    assert parts(promoter).place._promotes_itself is itself


def test_live_nodes_are_known_only_while_the_node_runs() -> None:
    made = parts()
    made.runtime.live.seen({node: encode_info(info(node)) for node in "ba"})
    assert made.live == []
    made.runtime.running = True
    assert made.live == ["a", "b"]
