"""Faults of the network between machines: whatever is cut, nothing that was confirmed is lost."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.machines.faults import FAULTS
from tests.machines.network import Network
from tests.machines.site import Site

pytestmark = [pytest.mark.network, pytest.mark.processes, pytest.mark.external]


@pytest.fixture(scope="module")
def site(network: Network, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """Seven machines. The tests share them; each mends its fault."""
    with Site(network, tmp_path_factory.mktemp("site")) as made:
        made.run(made.cluster.__aenter__())
        try:
            yield made
        finally:
            made.run(made.cluster.__aexit__())


@pytest.mark.parametrize("kind", FAULTS)
def test_nothing_is_lost(site: Site, kind: str) -> None:
    async def main() -> None:
        async with site.fault() as scene:
            await FAULTS[kind](site, scene)

    site.run(main())
