"""The AMQP broker: durable messages a second from publish to accept, and the library's share of its processor time.

    python -m benchmarks.amqp [--messages 50000] [--nodes 3] [--bytes 200]

Each message is published unsettled by Proton's client in a process of its own, with 1000 on their way, and counts
when the broker has accepted it: every node has it on disk then. The processor time of the primary says what it could
do on an idle machine. With ``--profile`` one node runs under cProfile instead, and the share of the library's own
code is printed; profiling slows the broker, so the rate of that run means nothing.
"""

from __future__ import annotations

import argparse
import pstats
import subprocess
import sys
import tempfile
from pathlib import Path

from benchmarks.cluster import cpu_of
from tests.amqp.brokers import Brokers, until

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
        self.began = time.monotonic()
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
            print(self.messages / (time.monotonic() - self.began))
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
    work = Path(tempfile.mkdtemp())
    with Brokers(work, 1 if args.profile else args.nodes, memory=args.memory) as brokers:
        profile = work / "profile"
        if args.profile:
            script = work / "profiled.py"
            script.write_text(
                BROKER_PROFILED.format(path=str(Path("examples/amqp").resolve()), out=str(profile))
            )
            for process in brokers.processes.values():
                process._command[1] = str(script)
        brokers.start()
        brokers.manage("CREATE", "queue", "bench")
        until(lambda: brokers.in_sync(len(brokers.processes) - 1))
        url = brokers.urls[list(brokers.processes).index(until(brokers.primary))]
        process = brokers.processes[until(brokers.primary)]._process
        assert process is not None
        cpu = cpu_of(process.pid)
        rate = subprocess.run(
            [sys.executable, "-c", CLIENT, url, str(args.messages), str(args.bytes)],
            check=True, capture_output=True, text=True,
        ).stdout  # fmt: skip
        spent = (cpu_of(process.pid) - cpu) / args.messages
        print(f"{float(rate):,.0f} messages a second, {len(brokers.processes)} nodes; ", end="")
        print(f"processor time of the primary: {spent * 1e6:.0f} us a message")
        if args.profile:
            brokers.stop()
            print(f"the library: {share(profile):.0%} of the time that the broker was busy")


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
