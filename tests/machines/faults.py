"""Faults of the network between machines, as coroutines. `Site.mend` ends what they leave broken.

All random choices come from the generator of the scene: a seed determines the schedule.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from tests.machines.forwarder import Quality
from tests.machines.site import BROKERS, CLIENTS, ENGINES, Site
from tests.soak.scene import Scene

Fault = Callable[[Site, Scene], Awaitable[str]]
FAULTS: dict[str, Fault] = {}
FLAP_S = 0.3
WAN = Quality(delay_s=0.0125, jitter_s=0.002)
"""Both ends of a link have such a cable: 50 ms for a round trip, and as much jitter as makes frames overtake."""


def fault(function: Fault) -> Fault:
    FAULTS[function.__name__.replace("_", "-")] = function
    return function


# --- nothing passes ----------------------------------------------------------------------------------


@fault
async def cut_from_backups(site: Site, scene: Scene) -> str:
    site.network.cut(scene.primary, scene.backups)
    return await scene.for_a_while()


@fault
async def cut_from_manager(site: Site, scene: Scene) -> str:
    site.network.cut(scene.primary, ENGINES)
    return await scene.for_a_while()


@fault
async def cut_from_clients(site: Site, scene: Scene) -> str:
    site.network.cut(scene.primary, CLIENTS)
    return await scene.for_a_while()


@fault
async def cut_off(site: Site, scene: Scene) -> str:
    """The primary's machine is cut from everything, for long enough that another one is primary."""
    site.network.cut(scene.primary)
    took_s = await site.next_confirmation()
    await asyncio.sleep(max(0.0, site.long_s - took_s))
    return f"{scene.primary}, next confirmation after {took_s:.2f} s"


@fault
async def backup_cut_off(site: Site, scene: Scene) -> str:
    site.network.cut(scene.backups[0])
    return f"{scene.backups[0]}, {await scene.for_a_while()}"


@fault
async def unplugged(site: Site, scene: Scene) -> str:
    """The machine sees that its link is down, the others only that it is silent."""
    one = scene.random.choice([scene.primary, scene.backups[0]])
    site.network.unplug(one)
    return f"{one}, {await scene.for_a_while()}"


@fault
async def powered_off(site: Site, scene: Scene) -> str:
    """The machine is gone: no packet says so."""
    site.network.cut(scene.primary)
    scene.cluster.kill(scene.primary)
    return await scene.for_a_while()


@fault
async def primary_is_deaf(site: Site, scene: Scene) -> str:
    site.network.cut_one_way(site.others(scene.primary), scene.primary)
    return await scene.for_a_while()


@fault
async def primary_is_mute(site: Site, scene: Scene) -> str:
    site.network.cut_one_way(scene.primary, site.others(scene.primary))
    return await scene.for_a_while()


@fault
async def in_a_minority(site: Site, scene: Scene) -> str:
    """The primary is on the side of one member of the manager, its backups are with the other two. Clients reach both."""
    site.network.cut([scene.primary, ENGINES[0]], [*scene.backups, *ENGINES[1:]])
    return await scene.for_a_while()


@fault
async def manager_without_quorum(site: Site, scene: Scene) -> str:
    site.network.cut(ENGINES[0])
    site.network.cut(ENGINES[1])
    return await scene.for_a_while()


@fault
async def bridge_of_three(site: Site, scene: Scene) -> str:
    """Two brokers cannot see one another; the third one sees both."""
    ends = scene.random.sample(BROKERS, 2)
    site.network.cut(*ends)
    return f"{' - '.join(ends)}, primary {scene.primary}, {await scene.for_a_while()}"


@fault
async def flapping(site: Site, scene: Scene) -> str:
    """The cable of a broker has a loose contact."""
    one = scene.random.choice(BROKERS)
    times = scene.random.randint(4, 12)
    for _ in range(times):
        site.network.unplug(one)
        await asyncio.sleep(FLAP_S)
        site.network.plug_in(one)
        await asyncio.sleep(FLAP_S)
    return f"{one}, {times} times"


# --- something passes --------------------------------------------------------------------------------


@fault
async def half_open(site: Site, scene: Scene) -> str:
    site.network.forget_connections(scene.primary)
    return await scene.for_a_while()


@fault
async def half_open_backup(site: Site, scene: Scene) -> str:
    site.network.forget_connections(scene.backups[0])
    return f"{scene.backups[0]}, {await scene.for_a_while()}"


@fault
async def black_hole(site: Site, scene: Scene) -> str:
    """Between the brokers small packets pass, and large ones do not."""
    site.network.swallow_large(scene.primary, scene.backups)
    return await scene.for_a_while()


@fault
async def without_a_family(site: Site, scene: Scene) -> str:
    """Brokers listen at an address of each family; one of them loses one family."""
    one, version = scene.random.choice(scene.backups), scene.random.choice([4, 6])
    site.network.cut_family(one, version)
    return f"{one} IPv{version}, {await scene.for_a_while()}"


@fault
async def lossy(site: Site, scene: Scene) -> str:
    one, percent = scene.random.choice(BROKERS), scene.random.choice([1, 10])
    site.network.lose(one, percent)
    return f"{one} {percent} %, {await scene.for_a_while()}"


@fault
async def slow_cable(site: Site, scene: Scene) -> str:
    one = scene.random.choice(BROKERS)
    site.network.slow_down(one, 1.0)
    return f"{one}, {await scene.for_a_while()}"


@fault
async def wide_area(site: Site, scene: Scene) -> str:
    """All brokers are far from one another."""
    for one in BROKERS:
        site.network.delay(one, WAN)
    return await scene.for_a_while()


@fault
async def disorder(site: Site, scene: Scene) -> str:
    """Frames of a broker overtake one another, and some come twice."""
    one = scene.random.choice(BROKERS)
    site.network.delay(one, Quality(delay_s=0.005, jitter_s=0.02, reordered=0.1, duplicated=0.1))
    return f"{one}, {await scene.for_a_while()}"
