"""Machines that the tests of one file share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.machines.network import Network
from tests.machines.requirements import require_machines


@pytest.fixture(scope="module")
def network() -> Iterator[Network]:
    """A network without machines."""
    require_machines()
    with Network() as made:
        yield made
