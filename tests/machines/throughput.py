"""Throughput over a wide-area network: `python -m tests.machines.throughput --seconds 10`, as root.

Messages of 100 bytes in batches of 500, to three brokers under TLS whose cables are the same forwarders, first without a
delay, then with one: so the cost of the forwarders is in both figures. The figures are not asserted.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import tempfile
from pathlib import Path

from tests.machines.forwarder import Quality
from tests.machines.network import Network
from tests.machines.site import BROKERS, Site
from tests.support.stream import Consumer, Publisher, client

MESSAGE, BATCH, WINDOW = b"x" * 100, 500, 20_000
SETTLE_S = 15.0
"""BBR believes in the shortest round trip of the last 10 s, and sends at most what that allows."""
SILENCE_MAX_S = 30.0


async def confirmed_per_second(site: Site, seconds: float) -> float:
    """How many messages are confirmed in a second, while a consumer takes them."""
    addresses = site.cluster.cluster.addresses

    async def publish() -> None:
        while True:
            await publisher.publish([MESSAGE] * BATCH)

    async def consume() -> None:
        while True:
            consumer.accept(await consumer.receive())

    async with (
        Publisher(addresses, window=WINDOW) as publisher,
        Consumer(addresses, credit=WINDOW) as consumer,
    ):
        tasks = [asyncio.create_task(publish()), asyncio.create_task(consume())]
        await asyncio.sleep(SETTLE_S)
        before = publisher.confirmed
        await asyncio.sleep(seconds)
        found = (publisher.confirmed - before) / seconds
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
    return found


async def measure(site: Site, seconds: float, delay_s: float) -> tuple[float, float]:
    """Messages a second without and with a delay of a cable, which a link has twice in each direction."""
    site.cluster.cluster.start()
    try:
        await site.cluster.whole()
        near = await confirmed_per_second(site, seconds)
        for broker in BROKERS:
            site.network.delay(broker, Quality(delay_s=delay_s))
        return near, await confirmed_per_second(site, seconds)
    finally:
        site.cluster.cluster.stop()


def main() -> None:
    """Print both figures."""
    parser = argparse.ArgumentParser(prog="tests.machines.throughput", description=__doc__)
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--round-trip-ms", type=float, default=50.0, help="between two brokers")
    args = parser.parse_args()
    logging.getLogger("asyncio").setLevel(logging.ERROR)
    work = Path(tempfile.mkdtemp(prefix="qpidha-throughput-"))
    (work / "cluster").mkdir(mode=0o700)
    with Network() as network, Site(network, work) as site:
        client.SILENCE_MAX_S = (
            SILENCE_MAX_S  # A window of 2 MB goes before the answer to a ping. The site sets it back.
        )
        near, far = site.run(measure(site, args.seconds, args.round_trip_ms / 4000))
    print(f"{near:.0f} messages a second near, {far:.0f} with {args.round_trip_ms:.0f} ms: {far / near:.0%}")


if __name__ == "__main__":
    main()
