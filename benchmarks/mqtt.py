"""The MQTT broker: processor time of the primary for each message of QoS 1, and the same of amqtt alone.

    python -m benchmarks.mqtt [--messages 5000] [--nodes 3] [--bytes 200] [--alone]

One paho client publishes, with 50 messages on their way. Another one, with a session that outlives its connection,
receives and acknowledges each. With ``--alone`` the broker is amqtt without the library: it keeps nothing on disk, and no
other node has the messages.
"""

from __future__ import annotations

import argparse
import contextlib
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from benchmarks.cluster import cpu_of
from qpidha.engines.ports import free_ports
from tests.mqtt.brokers import Brokers, until
from tests.mqtt.clients import Client

WINDOW = 50
ALONE = """
import asyncio, sys
from amqtt.broker import Broker
async def main():
    plugins = {"amqtt.plugins.authentication.AnonymousAuthPlugin": {"allow_anonymous": False}}
    listeners = {"default": {"type": "tcp", "bind": "127.0.0.1:" + sys.argv[1]}}
    await Broker({"listeners": listeners, "plugins": plugins}).start()
    await asyncio.Event().wait()
asyncio.run(main())
"""


@contextlib.contextmanager
def alone() -> Iterator[tuple[int, list[int]]]:
    """The process id and the port of amqtt without the library."""
    port = next(free_ports())
    process = subprocess.Popen([sys.executable, "-c", ALONE, str(port)], stderr=subprocess.DEVNULL)
    try:
        yield process.pid, [port]
    finally:
        process.kill()
        process.wait()


@contextlib.contextmanager
def replicated(nodes: int) -> Iterator[tuple[int, list[int]]]:
    """The process id of the primary, and the ports of all nodes."""
    with tempfile.TemporaryDirectory() as work, Brokers(Path(work), nodes) as brokers:
        brokers.start()
        process: Any = brokers.processes[until(brokers.primary)]._process
        yield process.pid, brokers.ports


def main() -> None:
    parser = argparse.ArgumentParser(prog="benchmarks.mqtt")
    parser.add_argument("--messages", type=int, default=5_000)
    parser.add_argument("--nodes", type=int, default=3)
    parser.add_argument("--bytes", type=int, default=200)
    parser.add_argument("--alone", action="store_true", help="amqtt without the library")
    args = parser.parse_args()
    with alone() if args.alone else replicated(args.nodes) as (pid, ports):
        subscriber, publisher = Client(ports, "subscriber").start(), Client(ports, "publisher").start()
        subscriber.subscribe("bench", 1)
        free = threading.Semaphore(WINDOW)
        publisher.paho.on_publish = lambda *_: free.release()
        cpu, began = cpu_of(pid), time.monotonic()
        for _ in range(args.messages):
            free.acquire()
            publisher.paho.publish("bench", b"x" * args.bytes, 1)
        until(lambda: len(subscriber.received) >= args.messages)
        spent, took = (cpu_of(pid) - cpu) / args.messages, time.monotonic() - began
        for client in (subscriber, publisher):
            client.stop()
    print(
        f"{'alone' if args.alone else f'{args.nodes} nodes'}: {spent * 1e6:.0f} us of processor time a message, ",
        end="",
    )
    print(f"{args.messages / took:,.0f} messages a second")


if __name__ == "__main__":
    main()
