"""Faults that stop processes with SIGSTOP at bad moments: of a commit, a hand-over, a catch-up, just after a promotion.

A process that goes on after a pause has a clock that jumped, and acts on what it knew before.
"""

from __future__ import annotations

import asyncio
import sys
import time
from pathlib import Path

from tests.soak.large import MIB, SIZES, Large
from tests.soak.scene import Scene, fault


@fault
async def stop_both(scene: Scene) -> str:
    """The primary and a backup are stopped, one of them later than the other; each goes on after a time of its own."""
    names = [scene.primary, scene.backups[0]]
    scene.random.shuffle(names)
    first, second, between = scene.seconds, scene.seconds, scene.random.uniform(0.0, 1.5)

    async def later() -> None:
        await asyncio.sleep(between)
        await scene.stop(names[1], seconds=second)

    await asyncio.gather(scene.stop(names[0], seconds=first), later())
    return f"{names[0]} {first:.1f} s, {names[1]} {second:.1f} s after {between:.1f} s"


@fault
async def stutter(scene: Scene) -> str:
    """Each broker is stopped again and again, for some milliseconds or for longer than a time-out."""
    until = time.monotonic() + scene.random.uniform(2.0, 6.0)
    stops = 0

    async def one(name: str) -> None:
        nonlocal stops
        while time.monotonic() < until:
            await asyncio.sleep(scene.random.uniform(0.0, 0.3))
            await scene.stop(
                name, seconds=scene.random.choice([0.002, 0.02, 0.2, scene.random.uniform(0.0, 3.0)])
            )
            stops += 1

    await asyncio.gather(*map(one, (scene.primary, *scene.backups)))
    return f"{stops} stops"


@fault
async def stop_in_commit(scene: Scene) -> str:
    """A transaction with megabytes is under way when a broker stops, or all of them do. It is made once, wholly."""
    size = scene.random.choice(SIZES)
    brokers = [scene.primary, *scene.backups]
    names = scene.random.choice([[name] for name in brokers] + [brokers[:2], brokers])
    after, seconds, killed = scene.random.uniform(0.0, 0.4), scene.seconds, scene.random.random() < 0.4
    async with Large(scene.cluster.cluster.addresses, scene.random.getrandbits(32)) as large:
        large.begin(size)
        await asyncio.sleep(after)
        await scene.stop(*names, seconds=seconds)
        if killed:
            scene.cluster.kill(names[0])
        await large.end()
    what = "killed then, " if killed else ""
    return f"{' '.join(names)} {after:.2f} s after a commit of {size // MIB} MiB, {what}{seconds:.1f} s"


@fault
async def stop_promoted(scene: Scene) -> str:
    """The primary dies, and the next one stops as soon as it is promoted, or shortly before or after."""
    scene.cluster.kill(scene.primary)

    async def another() -> str | None:
        statuses = await scene.cluster.cluster.statuses()
        return next((name for name, said in statuses.items() if said and said["role"] != "backup"), None)

    if scene.random.random() < 0.7:
        promoted = await scene.cluster.until(another, "another primary")
    else:
        await asyncio.sleep(scene.random.uniform(0.0, 1.0))
        promoted = scene.backups[0]
    back = scene.random.random() < 0.5
    if back:
        scene.cluster[scene.primary].start()
    await asyncio.sleep(scene.random.choice([0.0, scene.random.uniform(0.0, 0.5)]))
    seconds = scene.seconds
    await scene.stop(promoted, seconds=seconds)
    return f"{scene.primary} killed{' and back' if back else ''}, {promoted} stopped for {seconds:.1f} s"


@fault
async def stop_in_hand_over(scene: Scene) -> str:
    """One of the two stops in the middle of a hand-over, which may fail then."""
    target = scene.backups[0]
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "qpidha", "promote", str(Path(scene.cluster.work / target)),
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
    )  # fmt: skip
    name = scene.random.choice([scene.primary, target])
    after, seconds = scene.random.uniform(0.2, 1.0), scene.seconds
    await asyncio.sleep(after)
    await scene.stop(name, seconds=seconds)
    said, _ = await process.communicate()
    assert b"Traceback" not in said, said.decode()
    return f"{name} {after:.2f} s after the request, for {seconds:.1f} s; status {process.returncode}"


@fault
async def stop_in_catch_up(scene: Scene) -> str:
    """A backup comes back, and one of the two stops while it catches up; then the primary dies."""
    one = scene.backups[0]
    scene.cluster.kill(one)
    if wiped := scene.random.random() < 0.5:
        scene.cluster.wipe(one)
    await asyncio.sleep(scene.random.uniform(0.0, 2.0))
    scene.cluster[one].start()
    await asyncio.sleep(scene.random.uniform(0.2, 1.0))
    name, seconds = scene.random.choice([scene.primary, one]), scene.seconds
    await scene.stop(name, seconds=seconds)
    if killed := scene.random.random() < 0.5:
        scene.cluster.kill(scene.primary)
        await asyncio.sleep(scene.random.uniform(0.0, 2.0))
    return f"{one}{' wiped' if wiped else ''}, {name} stopped for {seconds:.1f} s{', primary killed' if killed else ''}"
