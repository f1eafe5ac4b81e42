"""Watches the processes: each line of their logs must be expected, and their memory is measured."""

from __future__ import annotations

import re
import statistics
import time
from collections.abc import Container, Iterator
from pathlib import Path

KNOWN = re.compile(
    r"""^\d{4}-\d\d-\d\d\ [\d:,]+\ (
      qpidha:\ node\ \w+:\ (
          role | link\ closed | resynchronised | removing\ a\ member | stepped\ down | compare-and-set\ lost
        | record | live\ nodes | session | promote\ refused | cluster\ manager
        | fenced | fenced\ a\ stale\ primary | not\ the\ recorded\ primary | event\ loop\ stalled
      ):\ .*
    | qpidha:\ node\ \w+:\ stopped:\ it\ was\ asked\ to\ stop
    | qpidha:\ node\ \w+:\ link\ from\ node\ '\w+':\ (?!two\ processes | refused:).*
    | qpidha:\ node\ \w+:\ link\ from\ [\d.]+:\ no\ handshake\ in\ 5\ s.*
    | qpidha:\ node\ \w+:\ link\ to\ the\ primary:\ (
          (in\ order\ again | not\ seen\ again\ for\ \d+\ s);\ .*
        | \w+:\ (?!refused:).*
        | \w+:\ refused:\ (
              \w+\ is\ (joining | catch-up | ready) | generation\ \d+\ has\ another\ primary | stopping
          )
      )
    | broker:\ (
          primary\ of\ generation\ \d+,\ \d+\ messages
        | not\ primary\ any\ more
        | \d+\ unconfirmed\ messages\ discarded
        | client\ dropped:\ (
              nothing\ heard\ for\ 5\ s | node\ '\w+'\ is\ not\ the\ primary\ \((joining | catch-up | ready)\):\ .*
          )
      )
    )$""",
    re.VERBOSE,
)
"""Lines that a broker may log at any time. A fault must explain every other line."""
FULL_DISK = re.compile(
    r"qpidha: node \w+: stopping: StoreFailed\(|"
    r"(qpidha: node \w+: stopped|broker: node \w+ has stopped): failed: the disk or the database failed in "
)


class Logs:
    """Reads the lines that were added to the log of each process since the last call."""

    def __init__(self, files: dict[str, Path], known: str = "") -> None:
        """``known``: a pattern of lines that are expected besides `KNOWN`."""
        self._files = files
        self._read = dict.fromkeys(files, 0)
        self._known = re.compile(known) if known else None
        self.lines = 0
        self.unexplained: list[str] = []
        self.resyncs = 0
        self.discarded = 0

    def look(self, full: Container[str]) -> list[str]:
        """Return new lines that no fault explains. ``full``: the brokers whose disk was full."""
        found = []
        for name, file in self._files.items():
            for line in self._added(name, file):
                self.lines += 1
                self.resyncs += ": resynchronised: " in line
                self.discarded += " unconfirmed messages discarded" in line
                known = KNOWN.match(line) or (self._known and self._known.search(line))
                if not known and not (name in full and FULL_DISK.search(line)):
                    found.append(f"{name}: {line}")
        self.unexplained += found
        return found

    def _added(self, name: str, file: Path) -> Iterator[str]:
        """Yield the complete new lines; an incomplete last line is read later."""
        with file.open("rb") as log:
            log.seek(self._read[name])
            data = log.read()
        whole = data[: data.rfind(b"\n") + 1]
        self._read[name] += len(whole)
        return iter(whole.decode(errors="replace").splitlines())


class Memory:
    """Resident memory of each process, measured from its start to its end."""

    SETTLED_S = 20.0
    """Age at which a process has allocated its buffers and caught up; later increases count as growth."""

    def __init__(self) -> None:
        self.samples: list[float] = []
        """Measurements in MiB of all processes, in order of time."""
        self.growth = (0.0, 0.0)
        """Largest growth of one process after that age: MiB, and the seconds it took."""
        self._lives: dict[int, tuple[float, float]] = {}
        """By process id: when it was first seen, and its memory in MiB at `SETTLED_S` (0: not that old yet)."""

    def look(self, pids: dict[str, int]) -> None:
        now = time.monotonic()
        for pid in pids.values():
            mib = resident_mib(pid)
            if not mib:
                continue  # Gone meanwhile.
            self.samples.append(mib)
            born, base = self._lives.setdefault(pid, (now, 0.0))
            if not base and now - born >= self.SETTLED_S:
                self._lives[pid] = (now, mib)
            elif base:
                self.growth = max(self.growth, (mib - base, now - born))

    def report(self) -> str:
        third = max(1, len(self.samples) // 3)
        first, last = statistics.median(self.samples[:third]), statistics.median(self.samples[-third:])
        return (
            f"resident memory of a broker: median {first:.0f} MiB in the first third of the run, {last:.0f} MiB in the "
            f"last; most {max(self.samples):.0f} MiB; one life grew by {self.growth[0]:.1f} MiB in "
            f"{self.growth[1]:.0f} s at most"
        )


def resident_mib(pid: int) -> float:
    try:
        found = re.search(r"VmRSS:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
    except OSError:
        return 0.0
    return int(found[1]) / 1024 if found else 0.0
