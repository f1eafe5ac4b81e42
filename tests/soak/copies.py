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

from qpidha.engines.ports import free_ports
from qpidha.node.ask import ask
from tests.soak.scene import Scene, fault

WITHOUT = shutil.ignore_patterns("*.sock", "*.lock")
"""What a process makes anew."""
REFUSED_TIMEOUT_S = 60.0


async def copied(scene: Scene, name: str) -> Path:
    """Copy a store as it is at one moment, in the middle of whatever its process does."""
    copy = scene.cluster.work / f"{name}.copy"
    shutil.rmtree(copy, ignore_errors=True)
    scene.cluster.signal(name, signal.SIGSTOP)
    await asyncio.to_thread(shutil.copytree, scene.cluster.work / name, copy, ignore=WITHOUT)
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
async def restored(scene: Scene) -> str:
    """A store is saved while its node runs, and restored for this node or for another one, whose disk is lost."""
    name, source = scene.random.choice([scene.primary, *scene.backups]), scene.random.choice(scene.backups)
    saved, place = scene.cluster.work / "saved.qpidha", scene.cluster.work / name
    await asyncio.to_thread(saved.unlink, missing_ok=True)
    await qpidha("store", "backup", str(scene.cluster.work / source), str(saved))
    said = await scene.for_a_while()
    scene.cluster.kill(name)
    scene.cluster.wipe(name)
    await qpidha("store", "restore", str(saved), str(place), *(("--as-node", name) if name != source else ()))
    scene.cluster[name].start()
    return f"{name} with a store of {source}, {said} ago"


async def qpidha(*words: str) -> None:
    """Run a command of an operator."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "qpidha",
        *words,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    said, _ = await process.communicate()
    assert process.returncode == 0, f"qpidha {' '.join(words)}: {said.decode()}"


@fault
async def clone(scene: Scene) -> str:
    """A broker goes on with a copy of its store elsewhere; another process with the store itself is refused beside it.

    The copy may be promoted. When it ends, the store itself is an older copy: another broker must be primary before it is
    used again.
    """
    name = scene.random.choice([scene.primary, scene.backups[0]])
    copy = scene.cluster.work / f"{name}.clone"
    scene.cluster.signal(name, signal.SIGSTOP)
    shutil.rmtree(copy, ignore_errors=True)
    shutil.copytree(scene.cluster.work / name, copy, ignore=WITHOUT)
    scene.cluster.kill(name)
    process = await second(scene, name, copy)
    try:
        await scene.cluster.until(lambda: ready(copy), f"{name} with the copy of its store")
        alone = await scene.for_a_while()
        refused = await second(scene, name, scene.cluster.work / name)
        assert await asyncio.wait_for(refused.wait(), REFUSED_TIMEOUT_S) == 1, "two processes are one node"
        assert process.returncode is None, f"it ended beside the other one: {process.returncode}"
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        await process.wait()
    await led_by_another(scene, name)
    return f"of {name} for {alone}"


async def ready(directory: Path) -> bool:
    """Whether the node of this directory is a member, as it says itself."""
    with contextlib.suppress(OSError, asyncio.TimeoutError, ValueError):
        answer = await ask(directory / "control.sock", "status", timeout_s=1.0)
        return answer["status"]["role"] in ("ready", "active")
    return False


async def second(scene: Scene, name: str, copy: Path) -> asyncio.subprocess.Process:
    """Start another process of a broker, with another store, and addresses of its own."""
    own, broker = str(scene.cluster.work / name), scene.cluster[name]
    command = [str(copy) if word == own else word for word in broker._command]
    while "--advertise" in command:
        place = command.index("--advertise")
        del command[place : place + 2]
    ports = free_ports()
    for place, word in enumerate(command):
        if word in ("--listen", "--client"):
            command[place + 1] = f"127.0.0.1:{next(ports)}"
    with broker.log.with_suffix(".clone.log").open("ab") as log:
        return await asyncio.create_subprocess_exec(
            *command, stdin=asyncio.subprocess.PIPE, stdout=log, stderr=log,
            env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}, start_new_session=True,
        )  # fmt: skip
