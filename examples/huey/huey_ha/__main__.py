"""One node of the huey server: a node of the cluster, the port for clients, and the consumer while it is primary."""

from __future__ import annotations

import argparse
import logging
import os
import signal
import sys
import threading
from collections.abc import Callable, Sequence

from huey.api import Huey
from huey.utils import load_class

from huey_ha.consumer import Consumer
from huey_ha.remote import Port
from huey_ha.storage import ReplicatedStorage
from huey_ha.unit import QUEUE_TYPES
from qpidha import Discarded, Node, QpidhaError
from qpidha.bridge import LoopThread, ThreadBroker
from qpidha.clusterfile import ClusterFile


class Server:
    """What the node tells of its role. Its methods are called in a thread."""

    storage: ReplicatedStorage

    def __init__(self, huey: Huey, workers: int) -> None:
        self._huey = huey
        self._workers = workers
        self._consumer: Consumer | None = None

    def on_promote(self, generation: int) -> None:
        """No task is executed elsewhere: locks of tasks that were under way are of nobody."""
        self.storage.promoted()
        self._consumer = Consumer(self._huey, workers=self._workers, flush_locks=True)
        self._consumer.start()

    def on_demote(self, generation: int) -> None:
        """Tasks that are under way go on; what they leave is refused, and the next primary executes them again."""
        self.storage.demoted()
        self.stop(graceful=False)

    def on_discarded(self, messages: Sequence[Discarded]) -> None:
        """Tasks that no client was told of: clients repeat what was not answered."""

    def stop(self, graceful: bool) -> None:
        """Execute no more tasks. ``graceful``: wait for those that are under way."""
        if self._consumer is not None:
            self._consumer.stop(graceful)


def run(args: argparse.Namespace) -> None:
    arguments = ClusterFile.load(args.cluster).arguments(args.id)
    if arguments["client_address"] is None:
        sys.exit(f"huey: {args.cluster}: nodes.{args.id} has no client_address")
    arguments["control"].parent.mkdir(parents=True, exist_ok=True)
    os.environ["QPIDHA_CLUSTER"] = args.cluster
    sys.path.insert(0, os.getcwd())
    huey = load_class(args.huey)
    server = Server(huey, args.workers)
    node = Node(args.id, broker=ThreadBroker(server), queue_types=QUEUE_TYPES, **arguments)
    huey.storage = server.storage = ReplicatedStorage(huey.name, node=node)
    stopping = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stopping.set())
    loop = LoopThread("qpidha")
    port = Port(arguments["client_address"], server.storage)
    try:
        loop.run(node.start())
        when(node.sync.wait_stopped, stopping)
        if args.until_eof:
            when(sys.stdin.read, stopping)
        stopping.wait()
        server.stop(graceful=True)
    finally:
        port.shutdown()
        loop.run(node.stop())
        loop.run(arguments["records"].close())
    if (stopped := node.sync.wait_stopped()).error is not None:
        sys.exit(f"huey: node {args.id} has stopped: {stopped.reason}")


def when(returns: Callable[[], object], stopping: threading.Event) -> None:
    """Stop when this returns."""

    def wait() -> None:
        _ = returns()
        stopping.set()

    threading.Thread(target=wait, daemon=True).start()


def main() -> None:
    parser = argparse.ArgumentParser(description="One node of a highly available huey.")
    parser.add_argument("--id", required=True, help="name of this node in the cluster file")
    parser.add_argument("--cluster", default="qpidha.toml", help="the cluster file")
    parser.add_argument("--huey", default="app.huey", help="the Huey of your application: module.name")
    parser.add_argument("--workers", type=int, default=4, help="threads that execute tasks")
    parser.add_argument("--until-eof", action="store_true", help="stop when standard input closes")
    args = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(name)s: %(message)s")
    try:
        run(args)
    except (QpidhaError, OSError) as error:
        sys.exit(f"huey: {error}")


if __name__ == "__main__":
    main()
