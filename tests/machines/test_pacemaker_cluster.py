"""Pacemaker promotes, on three machines: whatever fails, another broker is primary, and nothing confirmed is lost."""

from __future__ import annotations

import signal
from collections.abc import Iterator

import pytest

from tests.machines.managed import ManagedSite
from tests.machines.network import Network
from tests.machines.pacemaker import require_pacemaker

pytestmark = [pytest.mark.network, pytest.mark.processes, pytest.mark.external]


@pytest.fixture(scope="module")
def site(network: Network, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ManagedSite]:
    """Machines on which the page was followed. The tests share them, and each mends its fault."""
    require_pacemaker()
    with ManagedSite(network, tmp_path_factory.mktemp("site")) as made:
        made.run(made.cluster.__aenter__())
        try:
            yield made
        finally:
            made.run(made.cluster.__aexit__())


def test_another_one_is_promoted_when_the_broker_of_the_primary_is_killed(site: ManagedSite) -> None:
    async def main() -> None:
        async with site.fault() as scene:
            scene.cluster.kill(scene.primary)
            await site.another(scene)

    site.run(main())


def test_the_primary_goes_on_when_the_broker_of_a_backup_is_killed(site: ManagedSite) -> None:
    async def main() -> None:
        async with site.fault() as scene:
            before = await scene.cluster[scene.primary].status()
            scene.cluster.kill(scene.backups[0])
            await site.next_confirmation()
            await scene.cluster.whole()  # It was started again.
            after = await scene.cluster[scene.primary].status()
            assert before is not None and after is not None
            assert before["generation"] == after["generation"]

    site.run(main())


def test_another_one_is_promoted_when_the_broker_of_the_primary_hangs(site: ManagedSite) -> None:
    async def main() -> None:
        async with site.fault() as scene:
            scene.cluster.signal(scene.primary, signal.SIGSTOP)
            await site.another(scene)

    site.run(main())


def test_another_one_is_promoted_when_the_machine_of_the_primary_is_cut_off(site: ManagedSite) -> None:
    """Its own Pacemaker has no quorum, and ends its broker."""

    async def main() -> None:
        async with site.fault() as scene:
            site.network.cut(scene.primary)
            await site.another(scene)
            await site.ended(scene.primary)

    site.run(main())


def test_the_record_demotes_a_primary_that_only_corosync_does_not_see(site: ManagedSite) -> None:
    """Each half has a primary by Pacemaker's rules for a while. There is one by the record, and all links are up."""

    async def main() -> None:
        async with site.fault() as scene:
            site.cluster.pacemaker.machines[scene.primary].cut_corosync()
            await site.another(scene)

    site.run(main())


def test_the_role_is_handed_over_when_the_machine_of_the_primary_is_emptied(site: ManagedSite) -> None:
    async def main() -> None:
        async with site.fault() as scene:
            site.cluster.pacemaker.set_standby(scene.primary, True)
            await site.another(scene)
            await site.ended(scene.primary)

    site.run(main())


def test_the_role_is_handed_over_to_the_machine_that_an_operator_names(site: ManagedSite) -> None:
    async def main() -> None:
        pacemaker = site.cluster.pacemaker
        async with site.fault() as scene:

            async def settled() -> bool:
                return pacemaker.settled(scene.primary)

            # The brokers are in order before Pacemaker has noticed what the test before has done to them.
            await site.cluster.until(settled, "Pacemaker knows the roles of all brokers")
            pacemaker.move(scene.backups[1])
            assert await site.another(scene) == scene.backups[1]

    site.run(main())
