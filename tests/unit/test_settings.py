"""Settings: every field is checked by type, range and relation before anything can use it."""

from __future__ import annotations

import math
import typing
from dataclasses import fields, replace
from decimal import Decimal

import pytest

from qpidha.errors import ArgumentError, CallerError, SettingsError
from qpidha.settings import ORDER, RULES, Settings, check_node_id, check_spec
from qpidha.types import Level, QueueSpec, Settle

DEFAULT = Settings()
SMALL = Settings(
    frame_bytes_max=1 << 20,
    message_bytes_max=1,
    plan_chunk_bytes=1,
    operations_bytes=1,
    ids_runs_per_chunk_max=1,
)
HINTS = typing.get_type_hints(Settings)
NUMBERS = [f.name for f in fields(Settings) if HINTS[f.name] in (int, float)]
TIMES = [name for name in NUMBERS if HINTS[name] is float]
COUNTS = [name for name in NUMBERS if HINTS[name] is int]
DELAYS = ("readmission_delay_s", "readmission_delay_max_s", "record_retry_s")
LIMITS = [f.name for f in fields(Settings) if HINTS[f.name] == (float | None)]
"""Times that may be left out."""
SIZES = [f.name for f in fields(Settings) if HINTS[f.name] == (int | None)]
"""Sizes that may be left out."""
WORDS = [f.name for f in fields(Settings) if f.name not in [*NUMBERS, *LIMITS, *SIZES, "replicate"]]


class Strange:
    """Compares with everything and cannot be shown."""

    def __gt__(self, other: object) -> bool:
        return True

    __lt__ = __ge__ = __le__ = __gt__

    def __repr__(self) -> str:
        raise RuntimeError("no repr")


def refused(name: str, value: object) -> str:
    """The message of the refusal; it names the setting."""
    with pytest.raises(SettingsError) as caught:
        Settings(**{name: value})
    message = str(caught.value)
    assert message.startswith(name)
    assert len(message) < 300
    return message


def test_every_field_has_a_rule_that_fits_its_annotation() -> None:
    """A field that is added without a rule fails here; and the rule tells int, float and words apart."""
    assert set(RULES) == {f.name for f in fields(Settings)}
    assert {name for name in NUMBERS if name.endswith("_s")} == set(TIMES)
    for name in NUMBERS:
        kind = "a number from" if name in TIMES else "an integer from"
        assert RULES[name].allowed.startswith(kind), name
    for name in LIMITS:
        assert RULES[name].allowed.startswith("None or a number from"), name
    for name in SIZES:
        assert RULES[name].allowed.startswith("None or an integer from"), name
    for name in WORDS:
        assert RULES[name].allowed == " or ".join(map(repr, typing.get_args(HINTS[name])))


@pytest.mark.parametrize("name", [f.name for f in fields(Settings)])
def test_other_types_are_refused(name: str) -> None:
    """Text from the environment, a bool, None, NaN and infinities are no setting, whatever they look like."""
    value = getattr(DEFAULT, name)
    strangers = [True, False, None, b"1", [1], Decimal(1), 1j, math.nan, math.inf, -math.inf, Strange(), int]
    for stranger in [*strangers, 1 if name in WORDS else str(value)]:
        if stranger is not None or name not in [*LIMITS, *SIZES]:
            refused(name, stranger)


@pytest.mark.parametrize("name", NUMBERS)
def test_text_is_refused_with_a_hint(name: str) -> None:
    """The error says how to convert what came from the environment."""
    assert "convert text with" in refused(name, str(getattr(DEFAULT, name)))


@pytest.mark.parametrize("name", COUNTS)
def test_counts_and_sizes_are_integers_in_range(name: str) -> None:
    """No float, nothing below one, nothing that a frame, a counter or SQLite cannot hold."""
    for value in (float(getattr(DEFAULT, name)), 0, -1, 2**63, 2**64, 10**400, 10**5000):
        refused(name, value)


@pytest.mark.parametrize("name", TIMES)
def test_times_are_finite_and_in_range(name: str) -> None:
    """From a millisecond to a year; delays may be nothing at all."""
    for value in (-1.5, -1e-9, 31_536_001, 1e300, 10**400):
        refused(name, value)
    if name not in DELAYS:
        for value in (0, 0.0, -0.0, 1e-9):
            refused(name, value)
    assert math.isfinite(getattr(Settings(**{name: getattr(DEFAULT, name)}), name))


@pytest.mark.parametrize("name", LIMITS)
def test_a_time_may_be_left_out(name: str) -> None:
    assert getattr(Settings(**{name: None}), name) is None
    for value in (-1.5, 0, 31_536_001, "5", True):
        refused(name, value)


@pytest.mark.parametrize("name", SIZES)
def test_a_size_may_be_left_out(name: str) -> None:
    assert getattr(Settings(**{name: None}), name) is None
    assert getattr(Settings(**{name: 1 << 40}), name) == 1 << 40
    for value in (-1, 0, 1.5, 2**63, 10**400):
        refused(name, value)


def test_an_int_is_a_time() -> None:
    assert Settings(ack_timeout_s=7).ack_timeout_s == 7


@pytest.mark.parametrize("name", WORDS)
def test_words_are_one_of_those_listed(name: str) -> None:
    for choice in typing.get_args(HINTS[name]):
        assert getattr(Settings(**{name: choice}), name) == choice
    refused(name, "Verify")
    refused(name, "")


def test_levels_are_told_by_patterns_and_the_first_that_matches_counts() -> None:
    policy = {"temp.x": "messages", "temp.*": "none", "[ab]?": "configuration"}
    settings = Settings(replicate=policy)
    assert [settings.level(name) for name in ("temp.x", "temp.y", "ax", "Ax", "axy")] == [
        Level.MESSAGES, Level.NONE, Level.CONFIGURATION, Level.MESSAGES, Level.MESSAGES,
    ]  # fmt: skip
    assert replace(settings, queues_max=1).level("temp.y") is Level.NONE
    assert Settings(replicate={"*": "none"}).level("") is Level.NONE
    for wrong in ({"*": "all"}, {"*": Level.NONE}, {b"*": "none"}, [("*", "none")], {"*": ["none"]}):
        assert "'none', 'configuration', 'messages'" in refused("replicate", wrong)


@pytest.mark.parametrize(("low", "factor", "high"), ORDER)
def test_relations_are_checked_with_both_names(low: str, factor: int, high: str) -> None:
    """The lower of two settings, taken to just above what the upper allows, is refused."""
    bound = getattr(SMALL, high) / factor
    value = bound + 1 if low in TIMES else int(bound) + 1
    with pytest.raises(SettingsError) as caught:
        replace(SMALL, **{low: value})
    assert {low, high} <= set(str(caught.value).replace("(", " ").split())


@pytest.mark.parametrize("spec", [QueueSpec(name="q" * 32_767, kind="k" * 255), QueueSpec(name="q", kind="")])
def test_names_that_can_travel_are_taken(spec: QueueSpec) -> None:
    check_spec(spec)


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"name": ""}, "queue name"),
        ({"name": "ü" * 16_384}, "queue name"),
        ({"name": "\ud800"}, "queue name"),
        ({"name": 7}, "queue name"),
        ({"name": b"q"}, "queue name"),
        ({"settle": 1}, "settle"),
        ({"settle": "immediate"}, "settle"),
        ({"settle": True}, "settle"),
        ({"settle": Settle}, "settle"),
        ({"kind": "k" * 256}, "kind"),
        ({"kind": None}, "kind"),
    ],
)
def test_names_and_settles_that_could_not_travel_are_refused(changes: dict[str, object], named: str) -> None:
    with pytest.raises(ArgumentError, match=named):
        check_spec(QueueSpec(**{"name": "q", **changes}))  # type: ignore[arg-type]


def test_what_is_no_spec_is_refused() -> None:
    with pytest.raises(ArgumentError, match="spec must be a QueueSpec"):
        check_spec("q")  # type: ignore[arg-type]


@pytest.mark.parametrize("node", ["", "n" * 256, "\udcff", 7, None, b"a", True])
def test_a_node_id_is_short_text(node: object) -> None:
    with pytest.raises(SettingsError, match="node id must be text of 1 to 255 bytes"):
        check_node_id(node)  # type: ignore[arg-type]


def test_the_errors_are_the_callers_and_python_s_own() -> None:
    """`except ValueError` and `except TypeError` of existing code go on to work."""
    assert issubclass(SettingsError, ArgumentError)
    for parent in (CallerError, ValueError, TypeError):
        assert issubclass(ArgumentError, parent)
