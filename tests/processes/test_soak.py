"""A short soak, and tests that its checks detect planted faults."""

from __future__ import annotations

import asyncio
import os
from itertools import islice
from pathlib import Path

import pytest

from qpidha import Batch
from qpidha.events import TroubleOver
from tests.soak.faults import FAULTS
from tests.soak.ledger import GapLedger, Ledger, message
from tests.soak.run import Soak, schedule
from tests.soak.watch import KNOWN, Logs, Memory
from tests.support.stream import stamps

SHORT = (
    "kill-primary",
    "cut-and-kill",
    "full-disk-of-backup",
    "wiped-backup",
    "stop-in-commit",
    "older-copy-of-primary",
)


@pytest.mark.slow
@pytest.mark.processes
@pytest.mark.timeout(300)
def test_a_short_soak(tmp_path: Path) -> None:
    soak = Soak(tmp_path, 6, SHORT)
    asyncio.run(soak.run(rounds=len(SHORT)))
    assert set(soak.faults) == set(SHORT)
    assert soak.failovers >= 2
    assert soak.cluster.ledger.fresh == soak.cluster.acknowledged > 0
    changes = soak.cluster.changes.facts
    assert changes.compared and not changes.differences
    assert changes.changes > len(SHORT) and changes.queues and changes.objects
    assert not soak.logs.unexplained


def test_a_seed_determines_the_schedule() -> None:
    def drawn(seed: int) -> list[tuple[str, float]]:
        return [(kind, random.random()) for kind, random in islice(schedule(seed, list(FAULTS)), 60)]

    assert drawn(1) == drawn(1) != drawn(2)
    assert sorted(kind for kind, _ in drawn(1)[: len(FAULTS)]) == sorted(FAULTS)


# --- the ledger ----------------------------------------------------------------------------------------


def deliver(ledger: Ledger, publisher: int, *numbers: int, wrong: bytes | None = None) -> None:
    messages = [wrong or message(publisher, number) for number in numbers]
    ledger.take(Batch.pack(messages, [stamps(publisher, number, 1)[0] for number in numbers]))


def test_messages_in_order_are_accepted_and_repeated_ones_counted() -> None:
    ledger = Ledger()
    deliver(ledger, 1, 1, 2, 3)
    deliver(ledger, 2, 1)
    deliver(ledger, 1, 2, 3, 4)
    assert (ledger.seen, ledger.fresh, ledger.duplicates, ledger.delivered) == ({1: 4, 2: 1}, 5, 2, 7)


@pytest.mark.parametrize("numbers", [(2,), (1, 3), (2, 1)])
def test_a_message_that_is_lost_or_out_of_order_is_noticed(numbers: tuple[int, ...]) -> None:
    with pytest.raises(AssertionError, match="was delivered after"):
        deliver(Ledger(), 1, *numbers)


@pytest.mark.parametrize("wrong", [message(1, 1)[:-1], message(1, 1) + b".", message(2, 1), b"1 1x"])
def test_a_message_that_was_changed_is_noticed(wrong: bytes) -> None:
    ledger = Ledger()
    with pytest.raises(AssertionError, match="was delivered as"):
        deliver(ledger, 1, 1, wrong=wrong)
    deliver(ledger, 1, 1)
    with pytest.raises(AssertionError, match="was delivered as"):
        deliver(ledger, 1, 1, wrong=wrong)  # A repeated delivery must also be unchanged.


def test_after_a_second_connection_there_may_be_gaps_for_a_while_that_are_filled_later() -> None:
    ledger, first, second = GapLedger(), object(), object()

    def arrive(connection: object, *numbers: int) -> None:
        ledger.take(
            Batch.pack([message(1, n) for n in numbers], [stamps(1, n, 1)[0] for n in numbers]), connection
        )

    arrive(first, 1, 2)
    with pytest.raises(AssertionError, match="message 4 was delivered after 2"):
        arrive(first, 4)
    arrive(second, 5, 6, 8)
    assert (ledger.seen, ledger.fresh, ledger.gaps) == ({1: 2}, 2, 2)
    arrive(second, 3)
    assert ledger.seen == {1: 3}
    arrive(second, 3, 4, 7)
    assert (ledger.seen, ledger.duplicates, ledger.gaps) == ({1: 8}, 1, 2)
    ledger.GAPS_S = 0.0
    arrive(first, 8, 9)
    with pytest.raises(AssertionError, match="message 11 was delivered after 9"):
        arrive(first, 11)


# --- logs and memory -------------------------------------------------------------------------------------

AT = "2030-01-01 00:00:00,000 "
GOOD = f"{AT}qpidha: node a: role: ready, generation 2\n"
FULL = (
    f"{AT}qpidha: node a: stopping: StoreFailed('disk I/O error')\n"
    f"{AT}qpidha: node a: stopped: failed: the disk or the database failed in a: disk I/O error\n"
    "broker: node a has stopped: failed: the disk or the database failed in a: disk I/O error\n"
)


@pytest.mark.parametrize(
    "line",
    [
        "Traceback (most recent call last):\n",
        f"{AT}qpidha: a callback of the broker raised\n",
        f"{AT}qpidha: node a: two processes with one node id: b\n",
        f"{AT}qpidha: node a: stopped: failed: KeyError(1)\n",
        f"{AT}asyncio: Task exception was never retrieved\n",
        *FULL.splitlines(keepends=True),
    ],
)
def test_an_unexplained_log_line_is_found(tmp_path: Path, line: str) -> None:
    log = tmp_path / "a.log"
    log.write_text(GOOD + line)
    logs = Logs({"a": log})
    assert logs.look(set()) == [f"a: {line.rstrip()}"]
    assert (logs.lines, len(logs.unexplained)) == (2, 1)


@pytest.mark.parametrize("cause", ["link to the primary", "link from node 'b'", "session"])
@pytest.mark.parametrize("silent_s", [None, 60.0])
def test_the_end_of_a_trouble_is_expected_in_the_words_of_the_library(
    cause: str, silent_s: float | None
) -> None:
    event = TroubleOver(cause, attempts=2, lasted_s=3.0, silent_s=silent_s)
    assert KNOWN.match(f"{AT}qpidha: node a: {event.line}")


def test_a_full_disk_explains_that_its_broker_stops_and_nothing_else(tmp_path: Path) -> None:
    log = tmp_path / "a.log"
    log.write_text(GOOD + FULL + GOOD[:20])
    logs = Logs({"a": log})
    assert logs.look({"a"}) == []
    with log.open("a") as file:
        file.write(GOOD[20:] + "Traceback (most recent call last):\n")
    assert len(logs.look({"a"})) == 1
    assert logs.lines == 6


def test_memory_of_a_process_is_read() -> None:
    memory = Memory()
    memory.look({"me": os.getpid(), "nobody": 2**22 + 1})
    assert len(memory.samples) == 1
    assert memory.samples[0] > 1
