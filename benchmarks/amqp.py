"""The AMQP broker: durable messages a second from publish to accept, and the library's share of its processor time.

    python -m benchmarks.amqp [--messages 50000] [--nodes 3] [--bytes 200]

Each message is published unsettled by Proton's client in a process of its own, with 1000 on their way, and counts
when the broker has accepted it: every node has it on disk then. The processor time of the primary says what it could
do on an idle machine. With ``--profile`` one node runs under cProfile instead, and the share of the library's own
code is printed; profiling slows the broker, so its rate is not. The table of ``make bench`` has both.
"""

from __future__ import annotations

import argparse
import os
import pstats
import subprocess
import sys
import tempfile
from pathlib import Path

from benchmarks.cluster import cpu_of
from tests.amqp.brokers import Brokers, until

MICRO = 1e6
CLIENT = """
import sys, time
from proton import Message
from proton.handlers import MessagingHandler
from proton.reactor import Container

class Publisher(MessagingHandler):
    def __init__(self, url, messages, size):
        super().__init__()
        self.url, self.messages = url, messages
        self.sent = self.accepted = 0
        self.data = Message(body=b"x" * size, durable=True).encode()
    def on_start(self, event):
        self.connection = event.container.connect(self.url)
        self.sender = event.container.create_sender(self.connection, "bench")
        self.began, self.spent = time.monotonic(), time.process_time()
    def on_sendable(self, event):
        self.go()
    def go(self):
        while self.sender.credit and self.sent < self.messages and self.sent - self.accepted < 1000:
            delivery = self.sender.delivery(str(self.sent))
            self.sender.stream(self.data)
            self.sender.advance()
            self.sent += 1
    def on_accepted(self, event):
        self.accepted += 1
        if self.accepted == self.messages:
            print(self.messages / (time.monotonic() - self.began), time.process_time() - self.spent)
            self.connection.close()
        elif self.accepted % 50 == 0:
            self.go()

Container(Publisher(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))).run()
"""
BROKER_PROFILED = """
import cProfile, sys
sys.path.insert(0, {path!r})
from amqp_broker.__main__ import main
profile = cProfile.Profile()
try:
    profile.runcall(main)
finally:
    profile.dump_stats({out!r})
"""


def measure(messages: int, size: int, nodes: int = 3, *, memory: bool = False) -> dict[str, float]:
    """Messages a second, and the processor time of a message on the primary, on each backup and in the client."""
    with tempfile.TemporaryDirectory() as work, Brokers(Path(work), nodes, memory=memory) as brokers:
        primary = begun(brokers)
        pids = {name: process._process.pid for name, process in brokers.processes.items() if process._process}
        before = {name: cpu_of(pid) for name, pid in pids.items()}
        rate, client = publish(brokers.urls[list(pids).index(primary)], messages, size)
        spent = {name: (cpu_of(pid) - before[name]) / messages * MICRO for name, pid in pids.items()}
        own = spent.pop(primary)
        backup = max(spent.values(), default=0.0)
        return {"rate": rate, "primary": own, "backup": backup, "client": client / messages * MICRO}


def profiled(messages: int, size: int) -> float:
    """The library's share of the time that one node is busy."""
    with tempfile.TemporaryDirectory() as work, Brokers(Path(work), 1) as brokers:
        profile, script = Path(work) / "profile", Path(work) / "profiled.py"
        path = str(Path(__file__).resolve().parents[1] / "examples" / "amqp")
        script.write_text(BROKER_PROFILED.format(path=path, out=str(profile)))
        for process in brokers.processes.values():
            process._command[1] = str(script)
        publish(brokers.urls[list(brokers.processes).index(begun(brokers))], messages, size)
        brokers.stop()
        return share(profile)


def begun(brokers: Brokers) -> str:
    """Start them. Returns the primary's name when all are in sync and the queue is there."""
    brokers.start()
    brokers.manage("CREATE", "queue", "bench")
    until(lambda: brokers.in_sync(len(brokers.processes) - 1))
    return until(brokers.primary)


def publish(url: str, messages: int, size: int) -> tuple[float, float]:
    """Messages a second, and the processor time of the client while it published."""
    command = [sys.executable, "-c", CLIENT, url, str(messages), str(size)]
    rate, spent = subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()
    return float(rate), float(spent)


def main() -> None:
    parser = argparse.ArgumentParser(prog="benchmarks.amqp")
    parser.add_argument("--messages", type=int, default=50_000)
    parser.add_argument("--nodes", type=int, default=3)
    parser.add_argument("--bytes", type=int, default=200)
    parser.add_argument("--memory", action="store_true", help="keep messages in memory only")
    parser.add_argument(
        "--profile", action="store_true", help="one node, under cProfile: the library's share"
    )
    args = parser.parse_args()
    if args.profile:
        found = profiled(args.messages, args.bytes)
        print(f"the library: {found:.0%} of the time that the broker was busy")
        return
    figures = measure(args.messages, args.bytes, args.nodes, memory=args.memory)
    print(f"{figures['rate']:,.0f} messages a second, {args.nodes} nodes; load {os.getloadavg()[0]:.1f}")
    print(f"processor time of a message, in µs: primary {figures['primary']:.0f}, ", end="")
    print(f"a backup {figures['backup']:.0f}, the client {figures['client']:.0f}; ", end="")
    print(f"a core of its own would do {MICRO / figures['primary']:,.0f} a second on the primary")


def share(profile: Path) -> float:
    """The share of functions in ``qpidha``, with what they call of Python's and of compiled code, in the busy time."""
    stats = pstats.Stats(str(profile)).stats  # type: ignore[attr-defined]
    own = busy = 0.0
    for (file, _, name), (_, _, spent, _, callers) in stats.items():
        if name in ("<method 'poll' of 'select.epoll' objects>", "<built-in method run>") or "uvloop" in name:
            continue
        busy += spent
        if "/qpidha/" in file:
            own += spent
        elif file == "~":  # Built in: it belongs to those who call it.
            own += sum(part for (caller, _, _), (_, _, part, _) in callers.items() if "/qpidha/" in caller)
    return own / busy


if __name__ == "__main__":
    main()
