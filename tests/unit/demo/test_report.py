"""A run is a success only if the output equals the input, and every failure is reported by name."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from qpidha.demo.picture import bands, compose, draw, interpolate, rates
from qpidha.demo.report import Kill, Report, Sample, size
from qpidha.demo.topology import Facts
from qpidha.demo.traffic import Tally
from qpidha.demo.watch import Phase


def kill(number: int, node: str, at: float, **facts: Any) -> Kill:
    found = Kill(number=number, node=node, at=at, generation=number)
    for name, value in facts.items():
        setattr(found, name, value)
    return found


def good_run(**changes: Any) -> Report:
    report = Report(
        input="lines", files=2, messages=1000, nbytes=40_000, nodes=3, store="durable", seed=1, kills_wanted=1,
        duration_s=2.0, published=1000, acknowledged=1000, delivered=1010, distinct=1000, duplicates=10,
        left_in_queue=0, equal=True, went_in="ab" * 32, came_out="ab" * 32,
    )  # fmt: skip
    facts = {"successor": "b", "promoted_s": 0.1, "failover_s": 0.2, "returned_s": 0.9, "resync_bytes": 2048}
    report.kills.append(kill(1, "a", 0.5, queue_bytes=4096, **facts))
    phases = ["primary"] * 5 + ["down"] * 5 + ["catching up"] * 2 + ["in sync"] * 9
    report.samples += [
        Sample(
            at=i / 10, published=50 * i, acknowledged=50 * i, delivered=45 * i, depth=5 * i, generation=1 + (i > 5),
            phases={"a": phase, "b": "primary" if i > 5 else "in sync"},
        )
        for i, phase in enumerate(phases)
    ]  # fmt: skip
    report.topology = Facts(changes=9, steps=21, repeated=1, queues=3, messages=12, objects=7, compared=True)
    for name, value in changes.items():
        setattr(report, name, value)
    return report


def test_a_good_run() -> None:
    report = good_run()
    assert (report.complaints, report.exit_code) == ([], 0)
    text = "\n".join(report.lines())
    assert "OK: 1 kill, nothing lost" in text
    assert "0.200 s" in text
    assert "2 KiB / 4 KiB" in text
    assert json.loads(report.to_json())["failover_worst_s"] == 0.2


def test_a_broker_whose_clients_change_nothing_else() -> None:
    report = good_run(topology=None, broker="amqp")
    assert (report.complaints, report.exit_code) == ([], 0)
    text = "\n".join(report.lines())
    assert "3 of examples/amqp" in text
    assert "at the end" not in text
    assert good_run(topology=None, missing=1).exit_code == 1


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"missing": 3}, "3 acknowledged messages were lost"),
        ({"missing": 3, "left_in_queue": 7}, "3 acknowledged messages were not delivered before the end"),
        ({"missing": 3, "left_in_queue": None}, "3 acknowledged messages were not delivered before the end"),
        ({"acknowledged": 999}, "only 999 of 1,000 messages were acknowledged"),
        ({"distinct": 999}, "999 distinct messages came out"),
        ({"equal": False}, "what came out differs"),
        ({"kills": []}, "only 0 of 1 kills took place"),
        ({"problems": ["broker a ended"]}, "broker a ended"),
    ],
)
def test_everything_else_is_a_failure(changes: dict[str, Any], complaint: str) -> None:
    report = good_run(**changes)
    assert report.exit_code == 1
    assert any(line.startswith(f"FAILED: {complaint}") for line in report.lines())


def test_a_tally_sees_order_content_and_boundaries() -> None:
    def tally(*batches: list[bytes]) -> Tally:
        found = Tally()
        for batch in batches:
            found.add(batch)
        return found

    same = tally([b"a\n", b"b\n"], [b"c"])
    assert same.same_as(tally([b"a\n"], [b"b\n", b"c"])), "how messages are batched does not matter"
    assert same.sha256 == tally([b"a\nb\nc"]).sha256, "the sum is that of the joint content"
    for other in ([b"b\n", b"a\n", b"c"], [b"a\n", b"b\nc"], [b"a\n", b"b\n"], [b"a\n", b"b\n", b"c", b""]):
        assert not same.same_as(tally(other))


@pytest.mark.parametrize(
    ("nbytes", "text"),
    [
        (0, "0 B"),
        (999, "999 B"),
        (2048, "2 KiB"),
        (1536, "1.5 KiB"),
        (17 << 20, "17 MiB"),
        (3 << 30, "3.00 GiB"),
    ],
)
def test_sizes_are_short(nbytes: int, text: str) -> None:
    assert size(nbytes) == text


# --- the picture -----------------------------------------------------------------------------------


def test_rates_conserve_what_they_count() -> None:
    at, counts = [0.0, 0.31, 0.5, 1.13, 2.0], [0, 10, 40, 40, 100]
    middles, speed = rates(at, counts)
    width = 2.0 / len(middles)
    assert sum(rate * width for rate in speed) == pytest.approx(100)
    assert all(0 <= middle <= 2.0 for middle in middles)


def test_rates_of_next_to_nothing() -> None:
    assert rates([], []) == rates([1.0], [5]) == ([], [])


def test_interpolation_stays_between_its_ends() -> None:
    assert [interpolate([0, 1, 3], [0, 10, 30], x) for x in (-1, 0, 0.5, 2, 9)] == [0, 0, 5, 20, 30]


def test_bands_join_what_is_the_same() -> None:
    found = [(band.since, band.until, band.phase) for band in bands(good_run().samples, "a")]
    assert found == [
        (0.0, 0.5, Phase.PRIMARY), (0.5, 1.0, Phase.DOWN), (1.0, 1.2, Phase.CATCHING_UP), (1.2, 2.0, Phase.IN_SYNC),
    ]  # fmt: skip


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"samples": []},
        {"kills": []},
        {"equal": False},
        {"kills": [kill(1, "a", 0.5)]},
        {"duration_s": 0.0},
    ],
)
def test_any_run_can_be_drawn(tmp_path: Path, changes: dict[str, Any]) -> None:
    pytest.importorskip("matplotlib")
    path = draw(good_run(**changes), tmp_path)
    assert path.read_bytes().startswith(b"\x89PNG")
    assert (tmp_path / "demo.svg").stat().st_size > 1000


def test_a_failure_is_written_over_the_picture() -> None:
    pytest.importorskip("matplotlib")
    texts = [text.get_text() for text in compose(good_run(equal=False)).texts]
    assert any("FAILED" in text for text in texts)
