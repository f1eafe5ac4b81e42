"""What a rehearsal writes when it finds a violation: everything that helps to understand it, as files.

violation.txt      the rule that is broken, the seed, and how to run it again
schedule.txt       what was done to the cluster, with virtual times
clients.txt        what clients did and were told, with virtual times
report.json        counts, and what callbacks of the broker raised
record.txt         the record of the cluster
node-a.txt         for each node: what its disk has, and its processes
status-a.json      for each node that was shown (`NodeParts.show`): its status
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

from qpidha.records.memory import MemoryRecordStore
from qpidha.testing.rehearsal.host import Host
from qpidha.testing.rehearsal.ledger import Ledger
from qpidha.testing.rehearsal.report import Report


def new_directory(parent: Path | None, seed: int) -> Path:
    """Make the directory of a dump: a new one below this parent, or a temporary one."""
    if parent is None:
        return Path(tempfile.mkdtemp(prefix=f"qpidha-rehearsal-{seed}-"))
    number = 1
    while True:
        found = parent / (f"seed-{seed}" if number == 1 else f"seed-{seed}.{number}")
        try:
            found.mkdir(parents=True)
        except FileExistsError:
            number += 1
        else:
            return found


def write(
    directory: Path,
    *,
    violation: str,
    parameters: Mapping[str, object],
    report: Report,
    hosts: Sequence[Host],
    ledger: Ledger,
    record: MemoryRecordStore,
) -> None:
    """Write all files. What cannot be read is described where it would be."""
    arguments = ", ".join(f"{name}={value!r}" for name, value in parameters.items())
    (directory / "violation.txt").write_text(f"{violation}\n\nRehearsal(…, {arguments}).run()\n")
    (directory / "schedule.txt").write_text("\n".join(report.log) + "\n")
    (directory / "clients.txt").write_text("\n".join(ledger.events) + "\n")
    counts = {name: value for name, value in asdict(report).items() if name != "log"}
    (directory / "report.json").write_text(json.dumps(counts, indent=2) + "\n")
    (directory / "record.txt").write_text(f"{record._record.value}\n")
    for host in hosts:
        (directory / f"node-{host.name}.txt").write_text("\n".join(described(host)) + "\n")
        if host.node is not None:
            (directory / f"status-{host.name}.json").write_text(status_of(host) + "\n")


def status_of(host: Host) -> str:
    """The status of a node as JSON; the error if it has none, which must not hide the violation."""
    try:
        return json.dumps(asdict(host.node.status()), indent=2, default=str)
    except Exception as error:  # noqa: BLE001 - the node may be in any state
        return json.dumps({"error": repr(error)})


def described(host: Host) -> Iterator[str]:
    """Lines about one node: its process, then its disk."""
    yield f"node {host.name}, {host.processes} processes, now {host.process or 'down'}"
    if host.process is not None:
        yield from (f"raised: {error!r}" for error in host.process.raised)
    contents = host.disk._contents
    if contents is None:
        yield "an empty disk"
        return
    image = contents.image()
    yield f"{image.status}"
    for queue in image.queues:
        yield ""
        yield f"queue {queue.spec.name!r} {queue.queue}, {queue.spec}"
        yield f"  next {queue.next}, lineage {queue.lineage}"
        for ids, batch in queue.held:
            for n, id in enumerate(ids):
                yield f"  {id}: data {bytes(batch.data(n))!r}, props {bytes(batch.props(n))!r}, order {batch.order(n)}"
    for shelved in image.quarantine:
        yield ""
        yield f"quarantine of {shelved.name!r}, generation {shelved.generation}, {shelved.fate.value}"
        yield from (f"  {id}: {bytes(data)!r}" for id, data in zip(shelved.ids, shelved.batch, strict=True))
