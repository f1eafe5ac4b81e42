"""Links to another broker: pulled and pushed, while the primaries of both clusters are killed."""

from __future__ import annotations

from pathlib import Path

import pytest

from qpidha.demo.cluster import STOP_TIMEOUT_S
from tests.amqp.brokers import Brokers, Refusal, until
from tests.amqp.clients import Publisher


@pytest.mark.slow
@pytest.mark.processes
@pytest.mark.timeout(280)
@pytest.mark.parametrize("direction", ["pull", "push"])
def test_a_link_loses_nothing_when_primaries_are_killed(tmp_path: Path, direction: str) -> None:
    with Brokers(tmp_path / "paris", 2) as paris, Brokers(tmp_path / "london", 2) as london:
        paris.start()
        london.start()
        here, there = (london, paris) if direction == "pull" else (paris, london)
        paris.manage("CREATE", "queue", "out")
        london.manage("CREATE", "queue", "in")
        for brokers in (paris, london):
            until(lambda b=brokers: b.in_sync(1))
        address = ",".join(f"{host}:{port}" for host, port in there.addresses)
        here.manage("CREATE", "link", "l", address=address, source="out", target="in", direction=direction)
        publisher = Publisher(paris.urls, "out", "p", window=5)
        publisher.start()

        def arrived() -> int:
            return int(london.manage("READ", "queue", "in")["messages"])

        for brokers in (london, paris):
            enough = arrived() + 50
            until(lambda e=enough: arrived() > e)
            killed = brokers.processes[brokers.kill_primary()]
            killed.wait(STOP_TIMEOUT_S)
            killed.start()
            until(lambda b=brokers: b.in_sync(1))
        publisher.finish()
        publisher.join(60)
        until(lambda: not paris.manage("READ", "queue", "out")["messages"] or None)
        assert set(london.drained("in")) == set(range(1, publisher.last + 1))
        here.manage("DELETE", "link", "l")
        with pytest.raises(Refusal):
            here.manage("READ", "link", "l")
