"""Proton's client, and a primary that is killed again and again: an exact ledger.

Method: three real processes. While their primary is killed five times, four clients work: one publishes numbered
messages, one publishes without numbers, one consumes, and one moves messages in transactions.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from qpidha.demo.cluster import STOP_TIMEOUT_S
from tests.amqp.brokers import Brokers, until
from tests.amqp.clients import Consumer, Mover, Publisher

KILLS = 5
TO_MOVE = 4000
PER_TRANSACTION = 4


@pytest.mark.slow
@pytest.mark.processes
@pytest.mark.timeout(280)
def test_five_kills_lose_and_repeat_nothing(tmp_path: Path) -> None:
    with Brokers(tmp_path) as brokers:
        brokers.start()
        for queue in ("numbered", "plain", "from", "to"):
            brokers.manage("CREATE", "queue", queue)
        until(lambda: brokers.in_sync(2))
        fill = Publisher(brokers.urls, "from")
        fill.last = TO_MOVE
        fill.start().join(60)

        numbered = Publisher(brokers.urls, "numbered", "orders")
        plain = Publisher(brokers.urls, "plain")
        mover = Mover(brokers.urls, "from", "to", TO_MOVE, PER_TRANSACTION)
        consumer = Consumer(
            brokers.urls, "plain", lambda c: not plain.over.is_set() or set(c.received) < plain.accepted
        )
        clients = [numbered, plain, mover, consumer]
        for client in clients:
            client.start()
        try:
            _kill(brokers, numbered, mover)
            for publisher in (numbered, plain):
                publisher.finish()
            for client in (numbered, plain, consumer):
                client.join(60)
            mover.over.set()
            mover.join(60)
        except AssertionError as error:
            raise AssertionError(f"{error}\n{[c.progress() for c in clients]}\n{brokers.logs()}") from error

        assert brokers.drained("numbered") == list(range(1, numbered.last + 1))
        assert set(consumer.received) >= plain.accepted == set(range(1, plain.last + 1))
        left, moved = brokers.drained("from"), brokers.drained("to")
        assert Counter(left + moved) == Counter(range(1, TO_MOVE + 1)), (
            "all of a transaction is kept, or nothing"
        )
        assert len(moved) % PER_TRANSACTION == 0
        assert len(moved) >= mover.moved > 0
        print(numbered.progress(), plain.progress(), consumer.progress(), mover.progress())


def _kill(brokers: Brokers, numbered: Publisher, mover: Mover) -> None:
    for _ in range(KILLS):
        enough, moved = len(numbered.accepted) + 50, mover.moved
        until(lambda e=enough, m=moved: len(numbered.accepted) > e and mover.moved > m)
        killed = brokers.processes[brokers.kill_primary()]
        killed.wait(STOP_TIMEOUT_S)
        killed.start()
        until(lambda: brokers.in_sync(2))
