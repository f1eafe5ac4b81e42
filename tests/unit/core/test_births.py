"""The uuid of a queue tells when it was declared; random uuids and that of the configuration tell nothing (Q3)."""

from __future__ import annotations

import random
from uuid import UUID, uuid4

import pytest

from qpidha.core.births import ID_MAX, birth_of, born, configuration_id, own_id
from qpidha.types import GENERATION_MAX, Level, level_of


@pytest.mark.parametrize("birth", [(1, 1), (3, 17), (GENERATION_MAX, ID_MAX)])
def test_a_uuid_tells_the_birth_that_it_was_made_of(birth: tuple[int, int]) -> None:
    assert birth_of(born(*birth)) == birth


def test_births_that_differ_make_uuids_that_differ() -> None:
    assert len({born(g, i) for g in range(1, 30) for i in range(1, 30)}) == 29 * 29


def test_random_uuids_tell_no_birth() -> None:
    draw = random.Random(1)
    assert all(birth_of(UUID(int=draw.getrandbits(128), version=4)) is None for _ in range(1000))
    assert birth_of(uuid4()) is None


def test_a_birth_has_a_generation_and_an_id() -> None:
    assert birth_of(UUID(int=7)) is None
    assert birth_of(UUID(int=7 << 64)) is None


def test_the_configuration_of_a_cluster_has_one_id_on_all_nodes_and_no_birth() -> None:
    one, other = UUID(int=1), UUID(int=2)
    assert configuration_id(one) == configuration_id(one) != configuration_id(other)
    assert birth_of(configuration_id(one)) is None


@pytest.mark.parametrize("birth", [(1, 1), (3, 17), (GENERATION_MAX, ID_MAX)])
def test_the_id_of_a_queue_tells_its_level(birth: tuple[int, int]) -> None:
    """A queue of level configuration has a birth; one of level none has none, nor has one of an older release."""
    assert level_of(born(*birth)) is Level.MESSAGES
    shared = born(*birth, Level.CONFIGURATION)
    assert level_of(shared) is Level.CONFIGURATION and birth_of(shared) == birth and shared != born(*birth)
    own = own_id(birth[0], min(birth[1], 2**62 - 1))
    assert level_of(own) is Level.NONE and birth_of(own) is None


def test_random_ids_and_that_of_the_configuration_are_replicated() -> None:
    draw = random.Random(2)
    ids = [UUID(int=draw.getrandbits(128), version=4) for _ in range(1000)]
    assert {level_of(id) for id in [*ids, uuid4(), configuration_id(UUID(int=3))]} == {Level.MESSAGES}
