"""Faults with copies of a store: an older one is put back, or a second process runs on a copy.

An older copy that follows a primary is corrected. A node that is promoted with one cannot know it (the fault model of
docs/protocol.md): so in each of these faults another node is primary before the copy starts.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import signal
import sys
from pathlib import Path

from tests.soak.scene import Scene, fault


async def copied(scene: Scene, name: str) -> Path:
    """Copy a store as it is at one moment, in the middle of whatever its process does."""
    copy = scene.cluster.work / f"{name}.copy"
    shutil.rmtree(copy, ignore_errors=True)
    scene.cluster.signal(name, signal.SIGSTOP)
    await asyncio.to_thread(
        shutil.copytree, scene.cluster.work / name, copy, ignore=shutil.ignore_patterns("*.sock", "*.lock")
    )
    scene.cluster.signal(name, signal.SIGCONT)
    return copy


async def led_by_another(scene: Scene, name: str) -> None:
    """Wait until another broker is primary."""

    async def found() -> bool:
        statuses = await scene.cluster.cluster.statuses()
        return any(said and other != name and said["role"] == "active" for other, said in statuses.items())

    await scene.cluster.until(found, f"a primary that is not {name}")


def put_back(scene: Scene, name: str, copy: Path) -> None:
    scene.cluster.wipe(name)
    copy.rename(scene.cluster.work / name)
    scene.cluster[name].start()


@fault
async def older_copy_of_backup(scene: Scene) -> str:
    """A backup starts with a store as it was some seconds ago, of this generation or of the one before."""
    name = scene.backups[0]
    copy = await copied(scene, name)
    said = await scene.for_a_while()
    if failover := scene.random.random() < 0.4:
        scene.cluster.kill(scene.primary)
        await scene.cluster.whole(without=scene.primary)
    scene.cluster.kill(name)
    if not failover:
        put_back(scene, name, copy)
        return f"{name} of {said} ago"
    scene.cluster[scene.primary].start()
    await led_by_another(scene, name)
    put_back(scene, name, copy)
    return f"{name} of {said} ago, from before a failover"


@fault
async def older_copy_of_primary(scene: Scene) -> str:
    """A primary dies, and comes back with a store as it was some seconds before."""
    name = scene.primary
    copy = await copied(scene, name)
    said = await scene.for_a_while()
    scene.cluster.kill(name)
    await led_by_another(scene, name)
    put_back(scene, name, copy)
    return f"{name} of {said} before"


@fault
async def clone(scene: Scene) -> str:
    """A second process runs on a copy of a backup's store while the first one is stopped, and after that beside it."""
    name = scene.backups[0]
    copy = scene.cluster.work / f"{name}.clone"
    scene.cluster.signal(name, signal.SIGSTOP)
    shutil.rmtree(copy, ignore_errors=True)
    shutil.copytree(scene.cluster.work / name, copy, ignore=shutil.ignore_patterns("*.sock", "*.lock"))
    command = [
        str(copy) if word == str(scene.cluster.work / name) else word for word in scene.cluster[name]._command
    ]
    for option, value in (("--listen", "127.0.0.1:0"), ("--client", "127.0.0.1:0"), ("--advertise", "")):
        for place in [place for place, word in enumerate(command) if word == option]:
            command[place + 1] = value
    with (scene.cluster.work / f"{name}.clone.log").open("ab") as log:
        process = await asyncio.create_subprocess_exec(
            *command, stdin=asyncio.subprocess.PIPE, stdout=log, stderr=log,
            env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}, start_new_session=True,
        )  # fmt: skip
    try:
        alone = await scene.for_a_while()
        scene.cluster.signal(name, signal.SIGCONT)
        beside = await scene.for_a_while()
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        await process.wait()
    return f"of {name}, alone for {alone}, beside it for {beside}"
