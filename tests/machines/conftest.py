"""Machines that the tests of one file share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.machines import containers
from tests.machines.images import build_images
from tests.machines.network import Network
from tests.machines.requirements import require_machines
from tests.support.missing import leave_out


@pytest.fixture(scope="module")
def network() -> Iterator[Network]:
    """A network without machines."""
    require_machines()
    with Network() as made:
        yield made


@pytest.fixture(scope="session")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[containers.Engine]:
    """podman, with the images of contrib/container."""
    if containers.missing():
        leave_out("containers cannot be run: " + "; ".join(containers.missing()))
    folder = tmp_path_factory.mktemp("containers")
    made = containers.Engine(folder)
    try:
        build_images(made, folder)
        yield made
    finally:
        made.close()
