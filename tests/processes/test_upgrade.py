"""A running cluster is upgraded node by node, and goes back: the newest release beside the one before it.

Publishers, a consumer and changes of queues and objects never stop meanwhile.
"""

from __future__ import annotations

import asyncio
import re
import sys
from pathlib import Path

import pytest

from qpidha.engines.ports import take_ports
from qpidha.wire.version import PROTOCOL_MAX
from tests.processes.releases import PREVIOUS, WORDS_BEFORE, Releases, build
from tests.soak.cluster import SoakCluster
from tests.soak.watch import Logs

pytestmark = [pytest.mark.slow, pytest.mark.processes]
STOP_TIMEOUT_S = 30.0


@pytest.fixture(scope="module", params=PREVIOUS.values(), ids=PREVIOUS)
def previous(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the previous release."""
    return build(request.param, tmp_path_factory.mktemp("previous"))


class Upgrade:
    """A cluster of which one node after another is stopped in order and started with another release."""

    def __init__(self, work: Path, release: Path | None) -> None:
        self.releases = Releases(work, take_ports(3), release)
        self.cluster = SoakCluster(work, 1, self.releases, updates=False)  # The release before has none.
        logs = {name: process.log for name, process in self.releases.processes.items()}
        self.logs = Logs(logs, WORDS_BEFORE)

    async def restart(self, name: str, release: Path | None) -> None:
        """Stop a broker in order, start it with a release, and wait until it is a member and clients are served."""
        process = self.releases.processes[name]
        process.ask_to_stop()
        await asyncio.to_thread(process.wait, STOP_TIMEOUT_S)
        assert process.exit_code == 0, process.tail()
        process.use(release)
        process.start()
        await self.serving()

    async def serving(self) -> str:
        """Wait until all are members and clients are served; return the primary."""
        primary = await self.cluster.whole()
        await self.cluster.serving()
        return primary

    async def hand_over(self, to: str) -> None:
        """Let another broker be primary, as an operator does."""
        promote = [sys.executable, "-m", "qpidha", "promote", str(self.cluster.work / to)]
        process = await asyncio.create_subprocess_exec(
            *promote, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
        )
        said, _ = await process.communicate()
        assert process.returncode == 0, said.decode()
        assert await self.serving() == to

    async def all_to(self, release: Path | None) -> None:
        """Backups first, then a hand-over to one of them, then the old primary. All are checked after each step."""
        primary = await self.serving()
        backups = [name for name in self.releases.processes if name != primary]
        for name in backups:
            await self.restart(name, release)
        await self.hand_over(backups[0])
        await self.restart(primary, release)
        await self.judge()

    async def judge(self) -> None:
        """Everything that was published is confirmed and delivered, and the rest is as it was confirmed."""
        await self.cluster.judge()
        self.cluster.go_on()

    async def generation(self) -> int:
        """The generation of the primary."""
        statuses = await self.releases.statuses()
        return max(int(status["generation"]) for status in statuses.values() if status)

    def primaries(self) -> list[int]:
        """How many primaries have confirmed to each publisher, each counted again after another one."""
        return [publisher.primaries for publisher in self.cluster.publishers]


def test_the_previous_release_is_another_one(previous: Path) -> None:
    text = (previous / "qpidha/wire/version.py").read_text()
    found = re.search(r"^PROTOCOL_MAX = (\d+)$", text, re.MULTILINE)
    assert found is not None and int(found[1]) < PROTOCOL_MAX


@pytest.mark.timeout(280)
def test_an_upgrade_and_the_way_back_lose_nothing(previous: Path, tmp_path: Path) -> None:
    async def main() -> None:
        upgrade = Upgrade(tmp_path, previous)
        async with upgrade.cluster as cluster:
            await upgrade.serving()
            began, primaries = await upgrade.generation(), upgrade.primaries()
            for release in (None, previous):
                await upgrade.all_to(release)
            assert await upgrade.generation() == began + 2  # One for each hand-over.
            assert upgrade.primaries() == [count + 2 for count in primaries]
            assert not upgrade.logs.look(set())
            await cluster.verify()

    asyncio.run(main())
