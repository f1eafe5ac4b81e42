"""Faults of the soak test. Each fault is a coroutine; `SoakCluster.heal` repairs what it leaves broken.

All random choices come from the generator of the round, independent of the brokers: a seed determines the schedule.
"""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

from tests.soak import copies, pauses  # noqa: F401 - their faults enter the register, too.
from tests.soak.large import SIZES, Large
from tests.soak.scene import FAULTS, Scene, fault

__all__ = ["FAULTS"]


# --- processes -------------------------------------------------------------------------------------


async def killed(scene: Scene, *names: str) -> str:
    for name in names:
        scene.cluster[name].kill()
    for name in names:
        scene.cluster[name].wait(30)
    seconds = scene.random.choice([0.0, scene.random.uniform(0.0, 4.0)])
    await asyncio.sleep(seconds)
    return f"{' '.join(names)}, {seconds:.1f} s"


@fault
async def kill_primary(scene: Scene) -> str:
    return await killed(scene, scene.primary)


@fault
async def kill_backup(scene: Scene) -> str:
    return await killed(scene, scene.backups[0])


@fault
async def kill_two(scene: Scene) -> str:
    return await killed(scene, *scene.random.sample([scene.primary, *scene.backups], 2))


@fault
async def kill_all(scene: Scene) -> str:
    return await killed(scene, scene.primary, *scene.backups)


@fault
async def kill_twice(scene: Scene) -> str:
    """Kill a broker, start it, and kill it again during its start or its catch-up."""
    said = await killed(scene, scene.primary)
    scene.cluster[scene.primary].start()
    await asyncio.sleep(scene.random.uniform(0.1, 1.5))
    scene.cluster.kill(scene.primary)
    return said


async def stopped(scene: Scene, *names: str) -> str:
    seconds = scene.seconds
    await scene.stop(*names, seconds=seconds)
    return f"{' '.join(names)}, {seconds:.1f} s"


@fault
async def stop_primary(scene: Scene) -> str:
    return await stopped(scene, scene.primary)


@fault
async def stop_backup(scene: Scene) -> str:
    return await stopped(scene, scene.backups[0])


@fault
async def stop_all(scene: Scene) -> str:
    return await stopped(scene, scene.primary, *scene.backups)


# --- links -----------------------------------------------------------------------------------------


@fault
async def cut_one_way(scene: Scene) -> str:
    source, target = scene.pair()
    scene.cluster.network.hold(source, target)
    return f"{source} > {target}, {await scene.for_a_while()}"


@fault
async def cut(scene: Scene) -> str:
    a, b = scene.pair()
    scene.cluster.network.cut(a, b)
    return f"{a} - {b}, {await scene.for_a_while()}"


@fault
async def isolate(scene: Scene) -> str:
    one = scene.random.choice([scene.primary, scene.backups[0]])
    scene.cluster.network.cut(one, *(n for n in scene.cluster.cluster.processes if n != one))
    return f"{one}, {await scene.for_a_while()}"


@fault
async def half_open(scene: Scene) -> str:
    source, target = scene.pair()
    scene.cluster.network.swallow(source, target)
    return f"{source} > {target}, {await scene.for_a_while()}"


@fault
async def half_open_both_ways(scene: Scene) -> str:
    a, b = scene.pair()
    scene.cluster.network.swallow(a, b)
    scene.cluster.network.swallow(b, a)
    return f"{a} - {b}, {await scene.for_a_while()}"


@fault
async def slow_link(scene: Scene) -> str:
    source, target = scene.pair()
    delay_s = scene.random.uniform(0.02, 0.4)
    scene.cluster.network.delay(source, target, delay_s)
    return f"{source} > {target} by {delay_s:.2f} s, {await scene.for_a_while()}"


@fault
async def reset_links(scene: Scene) -> str:
    """Reset links repeatedly, with the data that is in transit."""
    times = scene.random.randint(1, 8)
    for _ in range(times):
        scene.cluster.network.lose(scene.primary)
        await asyncio.sleep(scene.random.uniform(0.02, 0.5))
    return f"{scene.primary}, {times} times"


@fault
async def cut_and_kill(scene: Scene) -> str:
    """One backup is behind when the primary dies, and what was under way to it is lost."""
    scene.cluster.network.hold(scene.primary, scene.backups[0])
    await asyncio.sleep(scene.random.uniform(0.05, 1.0))
    scene.cluster.kill(scene.primary)
    scene.cluster.network.lose(scene.primary)
    return f"{scene.primary} > {scene.backups[0]}, {await scene.for_a_while()}"


# --- disks -----------------------------------------------------------------------------------------


async def full(scene: Scene, name: str) -> str:
    scene.cluster.fill(name)
    return f"{name}, {await scene.for_a_while()}"


@fault
async def full_disk_of_primary(scene: Scene) -> str:
    return await full(scene, scene.primary)


@fault
async def full_disk_of_backup(scene: Scene) -> str:
    return await full(scene, scene.backups[0])


@fault
async def full_disk_in_commit(scene: Scene) -> str:
    """A disk gets full while a transaction with megabytes is under way. The others make it, once and wholly."""
    name = scene.random.choice([scene.primary, scene.backups[0]])
    async with Large(scene.cluster.cluster.addresses, scene.random.getrandbits(32)) as large:
        large.begin(scene.random.choice(SIZES))
        await asyncio.sleep(scene.random.uniform(0.0, 0.3))
        scene.cluster.fill(name)
        await large.end()
    return name


@fault
async def wiped_primary(scene: Scene) -> str:
    scene.cluster.kill(scene.primary)
    scene.cluster.wipe(scene.primary)
    return scene.primary


@fault
async def wiped_backup(scene: Scene) -> str:
    said = await killed(scene, scene.backups[0])
    scene.cluster.wipe(scene.backups[0])
    return said


# --- operators and clients -------------------------------------------------------------------------


@fault
async def hand_over(scene: Scene) -> str:
    """Hand over with the command line, as an operator does. There is no other fault, so it must succeed."""
    directory: Path = scene.cluster.work / scene.backups[0]
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "qpidha", "promote", str(directory),
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
    )  # fmt: skip
    said, _ = await process.communicate()
    assert process.returncode == 0, f"qpidha promote: {said.decode()}"
    return f"{scene.primary} to {scene.backups[0]}"


@fault
async def consumer_leaves(scene: Scene) -> str:
    """The consumer leaves with deliveries that it did not accept, and returns while the primary dies."""
    await scene.cluster.consumer_leaves()
    await asyncio.sleep(scene.random.uniform(0.0, 2.0))
    scene.cluster.consumer_comes()
    await asyncio.sleep(scene.random.uniform(0.0, 0.3))
    return await killed(scene, scene.primary)
