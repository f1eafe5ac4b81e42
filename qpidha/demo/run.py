"""``qpidha demo``: kills a primary again and again under a stream of messages, and shows that none is lost."""

from __future__ import annotations

import argparse
import asyncio
import importlib.util
import math
import random
import shutil
import signal
import sys
import tempfile
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING

from qpidha.cli.text import one_line
from qpidha.demo.cluster import Cluster
from qpidha.demo.examples import EXAMPLES, SIMPLE, ExampleMissing, Found, find
from qpidha.demo.hosts import BRIDGE_ADDRESS, Hosts, HostsMissing
from qpidha.demo.input import BATCH_MESSAGES_MAX, Input, InputError, from_files, from_library
from qpidha.demo.pace import Pace
from qpidha.demo.progress import Display, display_for
from qpidha.demo.report import EXIT_INTERRUPTED, EXIT_USAGE, Report, counted
from qpidha.demo.session import DemoFailed, Session
from qpidha.demo.topology import Topology, Untouched
from qpidha.demo.traffic import Traffic, backlog_of, load_module
from qpidha.errors import SettingsError
from qpidha.system.words import in_words

if TYPE_CHECKING:
    from qpidha.engines import Ensemble

TIMEOUT_S, SHORT_TIMEOUT_S = 900.0, 120.0
RECORDS = ("file", "etcd", "zookeeper", "postgresql")
"""A file, or one of `qpidha.engines.ENGINES`: those are imported when they are used, for other commands start without."""
NODES_MAX, KILLS_MAX = 100, 10_000
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Tell a parser the options of the demo."""
    parser.add_argument("--input", nargs="+", metavar="FILE", help="stream the lines of these files ('-': standard"
                        " input) instead of the source lines of Python's standard library")  # fmt: skip
    parser.add_argument(
        "--kills", type=int, default=3, metavar="N", help="how often to kill the primary (default: 3)"
    )
    parser.add_argument(
        "--short",
        action="store_true",
        help=f"stream only the first {SIMPLE.short_lines:,} lines, or less with amqp",
    )
    parser.add_argument("--out", type=Path, default=Path("demo-out"), metavar="DIR",
                        help="where the picture and report.json go (default: demo-out)")  # fmt: skip
    parser.add_argument("--batch", type=int, default=BATCH_MESSAGES_MAX, metavar="N",
                        help=f"lines that are published together at most (default: {BATCH_MESSAGES_MAX})")  # fmt: skip
    parser.add_argument("--nodes", type=int, default=3, metavar="N", help="brokers (default: 3)")
    parser.add_argument("--records", choices=RECORDS, default=RECORDS[0],
                        help="what keeps the record: the demo starts the engine's servers (default: file)")  # fmt: skip
    parser.add_argument("--hosts", action="store_true", help="give each broker a network namespace (as root), and cut"
                        " the primary's off instead of every second kill")  # fmt: skip
    parser.add_argument("--memory", action="store_true", help="brokers without disks")
    parser.add_argument("--seed", type=int, help="seed for the times of the kills (default: random)")
    parser.add_argument("--keep", action="store_true", help="keep stores and logs afterwards")
    parser.add_argument("--broker", metavar="NAME", help=f"which example broker: {' or '.join(EXAMPLES)} (default:"
                        f" {SIMPLE.name}), or the path of its broker.py")  # fmt: skip
    parser.add_argument("--timeout", type=float, metavar="S", help="give up after so many seconds")


class UsageError(Exception):
    """The demo was asked for something that it cannot do."""


class Interrupted(BaseException):
    """A signal asked for the end. Not an Exception: nothing on the way may swallow it."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.exit_code = 128 + number


def main(args: argparse.Namespace) -> int:
    """Run the demo. Returns 0 if nothing was lost, 1 if something was, 2 for wrong usage, 130 after Ctrl-C."""
    sys.stdout.reconfigure(errors="replace")  # type: ignore[union-attr]  # Whatever the terminal can show.
    before = {number: signal.signal(number, interrupt) for number in SIGNALS}
    work = Path(tempfile.mkdtemp(prefix="qpidha-demo-"))
    try:
        return demo(args, work)
    except (UsageError, ExampleMissing, InputError) as error:
        print(f"qpidha demo: {one_line(str(error))}", file=sys.stderr)
        return EXIT_USAGE
    except Interrupted as interrupted:
        print("qpidha demo: interrupted", file=sys.stderr)
        return interrupted.exit_code
    except KeyboardInterrupt:
        return EXIT_INTERRUPTED
    finally:
        clean_up(work, keep=args.keep)
        for number, handler in before.items():
            signal.signal(number, handler)


def interrupt(number: int, _: FrameType | None) -> None:
    """The signal handler: raises `Interrupted`."""
    raise Interrupted(number)


def clean_up(work: Path, *, keep: bool) -> None:
    """Remove stores and logs, even if the user is impatient and presses Ctrl-C again."""
    for number in SIGNALS:
        signal.signal(number, signal.SIG_IGN)
    if keep:
        print(f"stores and logs: {work}")
    else:
        shutil.rmtree(work, ignore_errors=True)


def demo(args: argparse.Namespace, work: Path) -> int:
    """Everything between the arguments and the exit code."""
    check(args)
    found = find(args.broker)
    source = replace(source_of(args, found, work), batch=args.batch)
    seed = random.randrange(1_000_000) if args.seed is None else args.seed
    report = Report(
        input=source.name, files=len(source.files), messages=source.messages, nbytes=source.nbytes,
        nodes=args.nodes, store="memory" if args.memory else "durable (SQLite)",
        broker=found.example.name, records=args.records, seed=seed, kills_wanted=args.kills,
    )  # fmt: skip
    display = display_for(sys.stdout)
    display.say(
        f"streaming {source.name}: {counted(source.messages, 'message')} of {counted(len(source.files), 'file')}"
        f" through {args.nodes} brokers; {counted(args.kills, 'kill')}, seed {seed}"
    )
    with ExitStack() as running:
        cluster = running.enter_context(cluster_of(args, found.broker, work, running, display))
        try:
            perform(args, found, source, cluster, display, report)
        except DemoFailed as failed:
            report.problems.append(str(failed))
        finally:
            display.close()
        print("\n".join(report.lines()))
        if report.complaints:
            diagnose(cluster, args.out)
    write_results(report, args.out)
    return report.exit_code


def source_of(args: argparse.Namespace, found: Found, work: Path) -> Input:
    """What is streamed: the user's files, or as much of Python's library as the broker takes in a minute or two."""
    short = found.example.short_lines if args.short else None
    return from_files(args.input, work, short) if args.input else from_library(short or found.example.lines)


def cluster_of(
    args: argparse.Namespace, broker: Path, work: Path, running: ExitStack, display: Display
) -> Cluster:
    """The brokers, and what they need that is entered into ``running``: hosts, and an engine. Raises `UsageError`."""
    hosts, records = None, None
    try:
        if args.hosts:
            hosts = running.enter_context(Hosts())
        if args.records != "file":
            records = running.enter_context(engine(args.records, display, hosted=args.hosts)).url
        return Cluster(broker, work, args.nodes, memory=args.memory, records=records, hosts=hosts)
    except (HostsMissing, SettingsError) as error:
        raise UsageError(f"--hosts: {error}") from error


def engine(name: str, display: Display, *, hosted: bool) -> Ensemble:
    """The servers of an engine, which answer. Raises `UsageError` if they cannot be started here."""
    from qpidha.engines import EngineMissing, Ensemble
    from qpidha.engines.server import ServerFailed

    try:
        ensemble = Ensemble(name, BRIDGE_ADDRESS if hosted else "127.0.0.1")
    except (EngineMissing, ServerFailed, SettingsError) as error:
        raise UsageError(f"--records {name}: {error}") from error
    display.say(f"starting {counted(len(ensemble.servers), 'server')} of {name}, which keep the record")
    try:
        asyncio.run(ensemble.start())
    except ServerFailed as error:
        ensemble.stop()
        raise UsageError(f"--records {name}: {error}") from error
    except BaseException:
        ensemble.stop()
        raise
    return ensemble


def perform(
    args: argparse.Namespace, found: Found, source: Input, cluster: Cluster, display: Display, report: Report
) -> None:
    """Run the session in an event loop. Raises `DemoFailed` or `Interrupted`."""
    timeout_s = args.timeout or (SHORT_TIMEOUT_S if args.short else TIMEOUT_S)

    async def session() -> None:
        backlog = backlog_of(source)
        pace = Pace(source.messages, backlog, args.kills, report.seed)
        traffic = Traffic(load_module(found.broker, "client"), cluster.addresses, source, pace, backlog)
        topology = topology_of(found, cluster, report.seed)
        loop, task = asyncio.get_running_loop(), asyncio.current_task()
        assert task is not None
        caught: list[int] = []

        def cancel(number: int) -> None:
            caught.append(number)
            task.cancel()

        for number in SIGNALS:
            loop.add_signal_handler(number, cancel, number)
        try:
            await Session(cluster, traffic, topology, pace, display, report).run(timeout_s)
        except asyncio.CancelledError:
            raise Interrupted(caught[0] if caught else signal.SIGINT) from None
        except ConnectionError as error:
            raise DemoFailed(in_words(error)) from error

    try:
        asyncio.run(session())
    finally:
        for number in SIGNALS:  # The loop left the defaults behind.
            signal.signal(number, interrupt)


def topology_of(found: Found, cluster: Cluster, seed: int) -> Topology | Untouched:
    """What changes besides the stream."""
    if not found.example.changes:
        return Untouched()
    return Topology(load_module(found.broker, "changer").Changer(cluster.addresses, "demo"), seed)


def check(args: argparse.Namespace) -> None:
    """Refuse what makes no sense before anything is started."""
    if args.nodes < 2:
        raise UsageError("--nodes must be at least 2: another node has to take over")
    if args.nodes > NODES_MAX:
        raise UsageError(f"--nodes must be at most {NODES_MAX}: each is a process")
    if args.kills < 0:
        raise UsageError("--kills must not be negative")
    if args.batch < 1:
        raise UsageError("--batch must be at least 1")
    if args.hosts and args.records == "file":
        raise UsageError(
            f"--hosts needs --records {' or '.join(RECORDS[1:])}: a host that is cut off would still reach a file"
        )
    if args.kills > KILLS_MAX:
        raise UsageError(f"--kills must be at most {KILLS_MAX}")
    if args.timeout is not None and not 0 < args.timeout < math.inf:
        raise UsageError("--timeout must be positive")
    if not str(args.out).isprintable():
        raise UsageError("--out must be a name that can be printed")
    try:
        args.out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"cannot write to {args.out}: {error.strerror}") from error


def diagnose(cluster: Cluster, out: Path) -> None:
    """Show the end of every broker's log, and keep the whole of it."""
    for process in cluster.processes.values():
        print(f"\n--- broker {process.name}: the end of its log\n{process.tail()}")
        if process.log.exists():
            shutil.copy(process.log, out / process.log.name)
    print(f"\nthe whole logs: {out}")


def write_results(report: Report, out: Path) -> None:
    """The report for programs, and the picture."""
    try:
        (out / "report.json").write_text(report.to_json())
        print(f"report   {out / 'report.json'}")
        if importlib.util.find_spec("matplotlib") is None:
            print("picture  none: matplotlib is not installed (pip install 'qpidha[demo]')")
            return
        from qpidha.demo.picture import draw

        print(f"picture  {draw(report, out)}")
    except OSError as error:  # What the demo has shown stays true.
        print(f"qpidha demo: nothing more can be written to {out}: {in_words(error)}", file=sys.stderr)
