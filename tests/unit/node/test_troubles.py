"""A cause of trouble is logged when it begins, changes and ends, and seldom in between; attempts are counted."""

from __future__ import annotations

import logging

import pytest

from qpidha.events import (
    BrokerUnfit,
    ClusterManagerTrouble,
    LinkFromPeerFailed,
    NodeEvent,
    PublishersSlowed,
    RecordUnwatched,
    SessionTrouble,
    Trouble,
    TroubleOver,
)
from qpidha.node import troubles as module
from qpidha.node.troubles import CAUSES_MAX, EVENT_LINES_MAX, LINES_MAX, OTHER, Troubles

REMINDER_S = 600.0


class Log:
    """A `Troubles` with a simulated clock and the lines it logged."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.lines: list[str] = []
        self.levels: list[int] = []
        self.events: list[NodeEvent] = []
        self.troubles = Troubles(
            self._write, self.events.append, lambda: self.now, reminder_s=REMINDER_S, fade_s=900.0
        )

    def _write(self, event: NodeEvent, line: str) -> None:
        self.lines.append(line)
        self.levels.append(event.level)

    def pass_time(self, seconds: float, step_s: float = 1.0) -> None:
        end = self.now + seconds
        while self.now < end:
            self.now += step_s
            self.troubles.tick()


@pytest.fixture
def log() -> Log:
    return Log()


def test_a_cause_is_logged_when_it_begins_and_when_it_is_over(log: Log) -> None:
    for _ in range(500):
        log.troubles.report(RecordUnwatched("damaged"))
        log.now += 0.008
    log.troubles.clear(RecordUnwatched)
    log.troubles.clear(RecordUnwatched)
    assert log.lines == ["record: damaged", "record: in order again; it happened 500 times in 4 s"]
    assert log.levels == [logging.WARNING, logging.INFO]
    assert log.troubles.standing() == []


def test_a_trouble_is_logged_at_its_own_level(log: Log) -> None:
    log.troubles.report(PublishersSlowed(("b",)))
    assert log.levels == [logging.INFO]


def test_a_cause_that_stands_is_in_the_status_with_its_attempts(log: Log) -> None:
    log.troubles.report(RecordUnwatched("damaged"))
    log.now += 5
    log.troubles.report(RecordUnwatched("not readable"))
    log.troubles.report(SessionTrouble("full"))
    log.now += 2
    first, second = log.troubles.standing()
    assert (first.cause, first.text, first.attempts) == ("record", "not readable", 2)
    assert (first.began_ago_s, first.last_ago_s) == (7, 2)
    assert second.cause == "session"


def test_another_text_is_logged_at_once_but_not_each_time_it_comes_back(log: Log) -> None:
    for text in ("refused", "no answer", "refused", "no answer"):
        log.troubles.report(ClusterManagerTrouble(text))
    assert log.lines == ["cluster manager: refused", "cluster manager: no answer"]


@pytest.mark.parametrize("attempts", [True, False])
def test_a_cause_that_goes_on_is_repeated_more_and_more_seldom(log: Log, attempts: bool) -> None:
    log.troubles.report(RecordUnwatched("damaged"))
    for _ in range(3 * 600):
        log.pass_time(1)
        if attempts:
            log.troubles.report(RecordUnwatched("damaged"))
    after_s = [5, 15, 35, 75, 155, 315, 635, 1235]
    counts = [f"{n} times" if attempts else "1 time" for n in after_s]
    assert log.lines == [
        "record: damaged",
        *[f"record: damaged ({count} in {s} s)" for count, s in zip(counts, after_s, strict=True)],
    ]


def test_texts_that_always_differ_do_not_flood_the_log(log: Log) -> None:
    for n in range(6000):
        log.troubles.report(ClusterManagerTrouble(f"from port {n}"))
        log.pass_time(0.1, 0.1)
    assert len(log.lines) <= 2 * LINES_MAX
    assert "more lines about this are left out" in log.lines[LINES_MAX - 1]
    log.pass_time(2)
    log.troubles.report(ClusterManagerTrouble("another"))
    assert any("lines about this were left out before" in line for line in log.lines)


def test_a_cause_that_begins_and_ends_repeatedly_does_not_flood_the_log(log: Log) -> None:
    for _ in range(5000):
        log.troubles.report(ClusterManagerTrouble("lost"))
        log.troubles.clear(ClusterManagerTrouble)
        log.pass_time(0.1, 0.1)
    assert len(log.lines) == LINES_MAX
    log.pass_time(2 * REMINDER_S)
    log.troubles.report(ClusterManagerTrouble("lost"))
    assert log.lines[-1] == "cluster manager: lost", "forgotten by now"


def test_a_cause_that_is_not_cleared_expires(log: Log) -> None:
    log.troubles.report(LinkFromPeerFailed("10.0.0.9", "wrong cluster"))
    log.troubles.report(RecordUnwatched("damaged"))
    log.pass_time(901)
    assert [t.cause for t in log.troubles.standing()] == ["record"]
    assert any(
        line.startswith("link from 10.0.0.9: not seen again for 900 s; it happened 1 time")
        for line in log.lines
    )


def test_more_causes_than_are_remembered_share_one(log: Log) -> None:
    for n in range(10 * CAUSES_MAX):
        log.troubles.report(LinkFromPeerFailed(f"{n}", "wrong cluster"))
    standing = log.troubles.standing()
    assert len(standing) == CAUSES_MAX + 1
    assert standing[-1].cause == OTHER
    assert standing[-1].attempts == 9 * CAUSES_MAX
    assert len(log.lines) == CAUSES_MAX + 1


def test_a_cause_that_is_over_makes_room_for_another(log: Log) -> None:
    for n in range(CAUSES_MAX):
        log.troubles.report(LinkFromPeerFailed(f"{n}", "wrong cluster"))
        log.now += 1
    log.troubles.clear(LinkFromPeerFailed, "7")
    log.troubles.clear(LinkFromPeerFailed, "5")
    log.troubles.report(RecordUnwatched("damaged"))
    assert "record" in {t.cause for t in log.troubles.standing()}
    assert len(log.troubles.standing()) == CAUSES_MAX - 1


def test_an_event_is_logged_each_time_but_never_floods(log: Log) -> None:
    for n in range(10 * EVENT_LINES_MAX):
        log.troubles.event(BrokerUnfit(str(n)))
    assert log.lines[0] == "unfit: 0"
    assert len(log.lines) == EVENT_LINES_MAX
    log.now += REMINDER_S
    log.troubles.event(BrokerUnfit("later"))
    assert log.lines[-1] == f"unfit: later ({9 * EVENT_LINES_MAX} lines about this were left out before)"
    assert log.troubles.standing() == []
    assert module.EVENT_LINES_MAX > LINES_MAX


def test_a_text_from_elsewhere_cannot_forge_a_line(log: Log) -> None:
    log.troubles.report(LinkFromPeerFailed("'x\ny'", "no\nnode a: role: active \x1b[31m \ud800" + 5000 * "z"))
    log.troubles.event(BrokerUnfit("a\r\nb"))
    first, second = log.lines
    assert first.startswith("link from 'x\\ny': no\\nnode a: role: active \\x1b[31m \\ud800zzz")
    assert len(first) < 1200
    assert second == "unfit: a\\r\\nb"
    assert log.troubles.standing()[0].text.isprintable()
    log.troubles.clear(LinkFromPeerFailed, "'x\ny'")
    assert not log.troubles.standing()


def test_the_embedder_is_told_when_a_trouble_begins_changes_and_ends(log: Log) -> None:
    for text in ("damaged", "damaged", "not readable"):
        log.troubles.report(RecordUnwatched(text))
    log.troubles.clear(RecordUnwatched)
    first, second, over = log.events
    assert (first, second) == (RecordUnwatched("damaged"), RecordUnwatched("not readable"))
    assert isinstance(over, TroubleOver) and (over.cause, over.attempts) == ("record", 3)


def test_an_event_that_another_line_tells_is_told_to_the_embedder_only(log: Log) -> None:
    log.troubles.event(BrokerUnfit("late"), logged=False)
    assert (log.lines, log.events) == ([], [BrokerUnfit("late")])


def test_every_trouble_has_one_name_and_says_what_it_is_about() -> None:
    kinds = {kind.__name__: kind.name for kind in Trouble.__subclasses__()}
    assert len(set(kinds.values())) == len(kinds) > 10
    assert LinkFromPeerFailed("node 'b'", "why").cause == "link from node 'b'"
