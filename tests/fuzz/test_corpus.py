"""Every kept input, and random changes to them, break no target. With atheris: ``make fuzz``."""

from __future__ import annotations

import os
from itertools import islice

import pytest

from tests.fuzz.mutation import kept, mutations
from tests.fuzz.seeds import valid
from tests.fuzz.targets import TARGETS

CHANGED = {"store": 60, "snapshot": 2000, "comparison": 2000, "handshake": 2000}
"""How many changed inputs for each target, where they are dear."""
CHANGED_ELSEWHERE = 8000
SEED = int(os.environ.get("QPIDHA_FUZZ_SEED", "1"))

pytestmark = pytest.mark.timeout(60)


@pytest.mark.parametrize("target", TARGETS)
def test_kept_inputs(target: str) -> None:
    """Among them all that ever broke something: they are called ``found-...`` after what they did."""
    for name, data in kept(target).items():
        try:
            TARGETS[target](data)
        except BaseException as error:
            raise AssertionError(f"{target} is broken by its kept input {name}") from error


@pytest.mark.parametrize("target", TARGETS)
def test_changed_inputs(target: str) -> None:
    """QPIDHA_FUZZ_SEED=n tries others."""
    for data in islice(mutations(list(kept(target).values()), SEED), CHANGED.get(target, CHANGED_ELSEWHERE)):
        try:
            TARGETS[target](data)
        except BaseException as error:
            raise AssertionError(f"{target} is broken by {data!r}") from error


@pytest.mark.parametrize("target", TARGETS)
def test_encodings_are_as_they_were(target: str) -> None:
    """What is kept as valid was encoded by an earlier version of this library: old files, and other nodes."""
    found = {
        name.removeprefix("valid-"): data for name, data in kept(target).items() if name.startswith("valid-")
    }
    assert found == valid(target)


def test_the_corpus_is_small() -> None:
    inputs = [data for target in TARGETS for data in kept(target).values()]
    assert len(inputs) <= 200
    assert max(map(len, inputs)) <= 1024
