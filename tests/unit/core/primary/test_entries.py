"""The objects that a commit puts for producers: which registrations and uses of sequences are refused (EO5, EO6)."""

from __future__ import annotations

from dataclasses import replace

import pytest

from qpidha.core.births import ID_MAX
from qpidha.core.steps import Forget, Register, UseSequence
from qpidha.errors import ArgumentError, CallerError, TooManyProducers
from tests.unit.core.primary.test_producers import Producing


def test_no_more_producers_than_allowed_are_registered() -> None:
    """Who registers again is no further one."""
    made = Producing()
    made.primary._admission.settings = replace(made.primary.settings, producers_max=2)
    made.core.register("bob")
    with pytest.raises(TooManyProducers, match="2 producers are registered; producers_max is 2"):
        made.core.register("eve")
    made.core.register("ada")
    made.core.forget("bob")
    with pytest.raises(TooManyProducers):
        made.core.commit([Register("bob"), Register("eve")])
    made.core.register("eve")


def test_an_epoch_fits_an_origin() -> None:
    made = Producing()
    made.objects.skip(ID_MAX)
    with pytest.raises(CallerError, match="no ids left"):
        made.core.register("bob")


def test_two_steps_about_one_producer_are_no_commit() -> None:
    made = Producing()
    use = UseSequence(made.at(1))
    for steps in ([use, use], [use, Forget("ada")], [use, Register("ada")], [Forget("ada"), Forget("ada")]):
        with pytest.raises(ArgumentError, match=r"one sequence|two steps"):
            made.core.commit(steps)
    with pytest.raises(ArgumentError, match="one sequence"):
        made.commit(1, use)
    assert made.last == 0
    made.publish(1)
    with pytest.raises(ArgumentError, match="was used"):
        made.core.commit([use])
