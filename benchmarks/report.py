"""`docs/performance.md` and its pictures, from what was measured."""

from __future__ import annotations

import datetime as dt
import os
import platform
from collections.abc import Sequence
from pathlib import Path

from benchmarks import peers
from benchmarks.row import US, Row, number

Studies = dict[str, list[tuple[float, float]]]

TIMES = ("ns", "µs", "ms")

LAWS = {
    "queues": "messages are published to each in turn",
    "backups": "of all nodes together",
    "depth": "messages lying in the queue",
    "batch": "messages a publish",
    "size": "bytes a message",
    "holes": "messages in the queue, of which every second was consumed",
    "primary": "backups, in processes of their own; the primary's part of publishing",
    "writes": "sockets that the same bytes are written to, without a broker",
    "queues, one by one": "a call for each message",
    "backups, one by one": "of all nodes together",
    "depth, one by one": "messages lying in the queue, the newest accepted",
    "random accepts": "messages lying in the queue, any of them accepted",
    "connections": "one message at a time on each; three brokers",
    "beyond memory": "size of the queue, in memory_bytes_max; messages of 1 KiB",
}


def markdown(rows: Sequence[Row], repeats: int, studies: Studies, pictures: str) -> str:
    """The whole page but for what `docs/performance.md` says in its own words."""
    lines = [
        f"Measured on {dt.datetime.now(tz=dt.timezone.utc).date()} on {machine()};",
        f"{repeats} runs of each, in turn (A B A B …). The figure is the median, and ± is half the distance of the",
        "extremes. All processes share the machine: three brokers and the client.",
        "",
        f"Not installed there, hence not measured: {', '.join(peers.missing()) or 'nothing'}.",
        "",
        "| | who | figure | | goal | |",
        "|---|---|---:|---|---|---|",
    ]
    for row in rows:
        ours = row.results[US].median
        met = "" if not row.goal else "met" if row.is_met else "**not met**"
        for who, series in row.results.items():
            first = who == US
            takes = "takes" if row.unit.split(",")[0] in TIMES else "is"
            ratio = "" if first else f"qpidha {takes} {ours / series.median:.2g} ×"
            lines.append(
                f"| {row.name if first else ''} | {who} | {number(series.median)} ± {series.spread:.0%} | {row.unit} "
                f"| {row.goal if first else ratio} | {met if first else ''} |"
            )
    if studies:
        lines += ["", f"![Cost of a message as things grow]({pictures})", ""]
        lines += ["| grows | " + " | ".join(["point: µs a message"] * 5) + " |", "|---" * 6 + "|"]
        for name, points in studies.items():
            cells = [f"{x:,.0f}: {y:.3f}" for x, y in points]
            lines.append(f"| {name} — {LAWS[name]} | " + " | ".join(cells + [""] * (5 - len(cells))) + " |")
    return "\n".join(lines) + "\n"


def machine() -> str:
    """Processor, cores, memory, system and Python."""
    model = "an unnamed processor"
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            model = line.partition(":")[2].strip()
            break
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return (
        f"{model}, {os.cpu_count()} cores, {memory:.0f} GiB, {platform.system()} {platform.release().split('-')[0]}, "
        f"Python {platform.python_version()}"
    )


def draw(studies: Studies, file: Path) -> None:
    """One small plot a study: cost of a message against what grows."""
    import matplotlib as mpl

    mpl.use("Agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(
        -(-len(studies) // 4), 4, figsize=(14, 3 * -(-len(studies) // 4)), constrained_layout=True
    )
    for axis, (name, points) in zip(axes.flat, studies.items(), strict=False):
        axis.plot([x for x, _ in points], [y for _, y in points], marker="o", color="#2b6cb0")
        axis.set_xscale("log")
        axis.set_ylim(bottom=0)
        axis.set_title(name)
        axis.set_xlabel(LAWS[name], fontsize=8)
        axis.grid(alpha=0.3)
    for axis in axes[:, 0]:
        axis.set_ylabel("µs of processor time a message")
    figure.savefig(file, metadata={"Date": None})
    plt.close(figure)


def splice(page: Path, measured: str) -> None:
    """Replace what lies between the two markers of the page, and nothing else."""
    begin, end = "<!-- measured -->", "<!-- end -->"
    text = page.read_text(encoding="utf-8")
    head, _, rest = text.partition(begin)
    _, _, tail = rest.partition(end)
    page.write_text(f"{head}{begin}\n\n{measured}\n{end}{tail}", encoding="utf-8")
