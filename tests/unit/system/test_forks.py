"""A forked child keeps no lock, link, port or database of its parent, and the library's calls in it are refused.

Method: programs that fork with `os.fork` and with multiprocessing; the parent goes on and is then killed. The child
reports what it still holds, and the test checks the locks, ports and links that other processes see.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from qpidha.errors import StoreLocked
from qpidha.records.file.sessionfile import live_sessions
from qpidha.stores import SqliteStore, inspect
from qpidha.system import forks

PROGRAM = r"""
import asyncio, gc, json, multiprocessing, os, socket, sys, time
from pathlib import Path
from qpidha import Node
from qpidha.records import FileRecordStore
from qpidha.promoters import PriorityPromoter
from qpidha.errors import ForkedError
from qpidha.stores import SqliteStore
from qpidha.transports import TcpTransport

base, way = Path(sys.argv[1]), sys.argv[2]

class Broker:
    async def on_promote(self, generation): pass
    async def on_demote(self, generation): pass
    async def on_discarded(self, messages): pass

def make(name="a"):
    return Node(name, broker=Broker(), store=SqliteStore(base / name), transport=TcpTransport(), records=records,
                promoter=PriorityPromoter(), control=base / "control.sock")

def refused(call):
    try:
        result = call()
        if asyncio.iscoroutine(result):
            try:
                result.send(None)
            finally:
                result.close()
    except ForkedError:
        return "refused"
    except BaseException as error:
        return repr(error)
    return "done"

def child(node, queue, op, store, record, unused):
    held = {}
    for fd in os.listdir("/proc/self/fd"):
        try:
            held[fd] = os.readlink(f"/proc/self/fd/{fd}")
        except OSError:
            pass
    files = sorted({name for name in held.values() if str(base) in name})
    sockets = [name for name in held.values() if name.startswith("socket:")]
    calls = {
        "status": node.status, "queue": lambda: node.queue("q"), "declare": lambda: node.declare("r"),
        "promote": node.promote, "demote": node.demote, "stop": node.stop, "start": node.start,
        "enqueue": lambda: queue.enqueue(b"x"), "read": lambda: queue.read(0), "dequeue": lambda: queue.dequeue(1),
        "callback": lambda: op.add_safe_callback(print), "commit": lambda: store.commit([]),
        "look": store.verify_files, "close": lambda: store.close(clean=True), "open": lambda: store.open("a"),
        "open again": lambda: SqliteStore(base / "a").open("a"), "record": record.read, "live": record.live,
    }
    said = {name: refused(call) for name, call in calls.items()}
    unused.open("unused")
    unused.close(clean=True)
    del node, queue, op, store
    gc.collect()
    out = {"pid": os.getpid(), "files": files, "sockets": len(sockets), "calls": said, "serving": serving()}
    (base / "child.new").write_text(json.dumps(out))
    (base / "child.new").rename(base / "child")
    time.sleep(60)

def serving():
    return [the_node.serving, the_node.role.value]

async def main():
    global records, the_node
    records = FileRecordStore(base / "cluster")
    the_node = node = make()
    unused = SqliteStore(base / "unused")
    await node.start()
    while not node.serving:
        await asyncio.sleep(0.02)
    queue = node.declare("q")
    op = queue.enqueue(b"kept")
    await op
    mine, theirs = socket.socketpair()  # Sockets of the application stay open.
    reader, writer = await asyncio.open_connection(*node.address)
    await asyncio.sleep(0.2)
    arguments = (node, queue, op, node._parts.engine._store, records, unused)
    if way == "fork":
        if os.fork() == 0:
            try:
                child(*arguments)
            finally:
                os._exit(0)
    else:
        multiprocessing.get_context("fork").Process(target=child, args=arguments, daemon=False).start()
    print(node.address[1], flush=True)
    n = 0
    while True:
        await asyncio.sleep(0.02)
        await queue.enqueue(b"after")
        n += 1
        if n == 5:
            print("goes on", flush=True)

asyncio.run(main())
"""


@contextmanager
def parent(base: Path, way: str) -> Iterator[tuple[subprocess.Popen[str], int]]:
    """A node that has forked, and its port."""
    program = base / "program.py"
    program.write_text(PROGRAM)
    run = [sys.executable, "-W", "ignore", str(program), str(base), way]
    with subprocess.Popen(run, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            yield process, int(process.stdout.readline())
        finally:
            process.kill()
            if (base / "child").exists():
                os.kill(json.loads((base / "child").read_text())["pid"], signal.SIGKILL)


def child_says(base: Path, process: subprocess.Popen[str]) -> dict[str, Any]:
    while not (base / "child").exists():
        assert process.poll() is None
    found: dict[str, Any] = json.loads((base / "child").read_text())
    return found


@pytest.mark.parametrize("way", ["fork", "multiprocessing"])
def test_the_child_holds_nothing_and_the_parent_keeps_everything(tmp_path: Path, way: str) -> None:
    with parent(tmp_path, way) as (process, port):
        found = child_says(tmp_path, process)
        assert found["files"] == []
        # The two ends of the pair, the two of the self-pipe of asyncio, and the test's own connection.
        assert found["sockets"] == 5
        assert set(found["calls"].values()) == {"refused"}, found["calls"]
        assert found["serving"] == [False, "stopped"]
        assert process.stdout is not None
        assert (
            process.stdout.readline() == "goes on\n"
        )  # The store works too: the child has not closed its files.
        with pytest.raises(StoreLocked, match=f"process {process.pid}"):
            SqliteStore(tmp_path / "a").open("a")
        assert list(live_sessions(tmp_path / "cluster" / "sessions")) == ["a"]
        # After the kill all resources of the node are free, although its child lives.
        link = socket.create_connection(("127.0.0.1", port), timeout=20)
        process.kill()
        process.wait()
        os.kill(found["pid"], 0)
        with link:
            link.settimeout(20)
            try:
                while link.recv(4096):
                    pass
            except ConnectionResetError:
                pass
        assert live_sessions(tmp_path / "cluster" / "sessions") == {}
        with socket.socket() as again:
            again.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            again.bind(("127.0.0.1", port))
            again.listen()
        with socket.socket(socket.AF_UNIX) as control, pytest.raises(ConnectionRefusedError):
            control.connect(str(tmp_path / "control.sock"))
        report = inspect(tmp_path / "a")
        (queue,) = (queue for queue in report.queues if queue.name == "q")
        assert not report.damage and queue.held >= 6
        store = SqliteStore(tmp_path / "a")
        store.open("a")
        store.close(clean=True)


def test_a_holder_that_fails_does_not_keep_others_from_closing_their_files() -> None:
    class Careless:
        def forked(self) -> list[int]:
            raise RuntimeError

    class Careful:
        def __init__(self) -> None:
            self.ends = os.pipe()

        def forked(self) -> list[int]:
            return [*self.ends, -1, 999_999]

    holders = [Careless(), Careful(), Careless(), Careful()]
    for holder in holders:
        forks.watch(holder)
    for holder in holders[3:]:
        forks.release(holder)
        forks.release(holder)
    pid = os.fork()
    if pid == 0:
        kept = [os.readlink(f"/proc/self/fd/{fd}") for h in (holders[1], holders[3]) for fd in h.ends]  # type: ignore[attr-defined]
        os._exit(kept[:2] != ["/dev/null"] * 2 or "/dev/null" in kept[2:])
    assert os.waitpid(pid, 0)[1] == 0
    for holder in (holders[1], holders[3]):
        os.write(holder.ends[1], b"x")  # type: ignore[attr-defined]
        assert os.read(holder.ends[0], 1) == b"x"  # type: ignore[attr-defined]
        for fd in holder.ends:  # type: ignore[attr-defined]
            os.close(fd)
