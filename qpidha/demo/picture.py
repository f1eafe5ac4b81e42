"""The picture of a run: throughput over time, and below it what each broker was at every moment."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

from qpidha.demo.report import Kill, Report, Sample, size
from qpidha.demo.watch import Phase

BIN_S_MIN, BINS_MAX = 0.12, 240
ROOM = 2.0
"""The axis ends at so many times the highest rate between the kills; what is higher is written down."""
INK, FAINT = "#1f2933", "#8a94a0"
ACKNOWLEDGED, DELIVERED, QUEUE, KILL = "#0b6fb8", "#e07b1a", "#c9d3dc", "#c0202b"
PHASES = {
    Phase.PRIMARY: "#0b6fb8",
    Phase.IN_SYNC: "#8cc5a2",
    Phase.CATCHING_UP: "#f2c14e",
    Phase.DOWN: "#ffffff",
}


def rates(at: Sequence[float], counts: Sequence[int]) -> tuple[list[float], list[float]]:
    """Messages a second in bins of equal width: (middles, rates). The counters only grow."""
    if len(at) < 2 or at[-1] <= at[0]:
        return [], []
    bins = min(BINS_MAX, max(1, round((at[-1] - at[0]) / BIN_S_MIN)))
    width = (at[-1] - at[0]) / bins
    edges = [at[0] + i * width for i in range(bins + 1)]
    values = [interpolate(at, counts, edge) for edge in edges]
    middles = [edge + width / 2 for edge in edges[:-1]]
    return middles, [(after - before) / width for before, after in pairwise(values)]


def interpolate(xs: Sequence[float], ys: Sequence[int], x: float) -> float:
    """The straight line between the two neighbours of x."""
    low, high = 0, len(xs) - 1
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if xs[middle] <= x else (low, middle)
    span = xs[high] - xs[low]
    share = min(1.0, max(0.0, (x - xs[low]) / span)) if span else 1.0
    return ys[low] + share * (ys[high] - ys[low])


@dataclass(slots=True)
class Band:
    """A time in which one broker was the same thing."""

    since: float
    until: float
    phase: Phase
    generation: int


def bands(samples: Sequence[Sample], node: str) -> list[Band]:
    """What one broker was, without gaps. Two terms as primary are two bands."""
    found: list[Band] = []
    for sample, following in pairwise(samples):
        phase = Phase(sample.phases.get(node, Phase.DOWN.value))
        last = found[-1] if found else None
        if (
            last
            and last.phase is phase
            and (phase is not Phase.PRIMARY or last.generation == sample.generation)
        ):
            last.until = following.at
        else:
            found.append(Band(sample.at, following.at, phase, sample.generation))
    return found


def draw(report: Report, out: Path) -> Path:
    """Write demo.png and demo.svg into the directory; returns the path of the first."""
    import matplotlib as mpl

    style: Any = {
        "font.family": "sans-serif", "font.size": 10, "text.color": INK, "axes.edgecolor": FAINT,
        "axes.labelcolor": INK, "xtick.color": INK, "ytick.color": INK, "svg.hashsalt": "qpidha",
    }  # fmt: skip
    with mpl.rc_context(style):
        figure = compose(report)
        for name in ("demo.svg", "demo.png"):
            figure.savefig(out / name, dpi=150)
    return out / "demo.png"


def compose(report: Report) -> Any:
    """The figure. Uses no window system: its own figure, never pyplot."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(12, 7), facecolor="white")
    FigureCanvasAgg(figure)
    height = min(2.4, 0.45 * report.nodes)
    top, bottom = figure.subplots(
        2, 1, sharex=True, gridspec_kw={"height_ratios": (4, height), "hspace": 0.08}
    )
    figure.subplots_adjust(left=0.085, right=0.915, top=0.83, bottom=0.135)
    draw_throughput(top, report)
    draw_brokers(bottom, report)
    end = report.samples[-1].at if report.samples else 1.0
    bottom.set_xlim(0, max(end, 0.1))
    write_titles(figure, report)
    return figure


def draw_throughput(axes: Any, report: Report) -> None:
    """Both rates as lines, the depth of the queue as a pale area behind them."""
    samples = report.samples
    at = [s.at for s in samples]
    depth = axes.twinx()
    depth.fill_between(
        at, [s.depth for s in samples], color=QUEUE, alpha=0.45, linewidth=0, label="in the queue"
    )
    depth.set_ylabel("messages in the queue", color=FAINT)
    depth.set_ylim(0, max(1.0, 2.6 * max((s.depth for s in samples), default=0)))
    depth.tick_params(axis="y", colors=FAINT, length=0)
    lines = (
        ([s.acknowledged for s in samples], ACKNOWLEDGED, "acknowledged to the publisher"),
        ([s.delivered for s in samples], DELIVERED, "delivered to the consumer"),
    )
    curves = [(*rates(at, counts), colour, label) for counts, colour, label in lines]
    top = height_of([(middles, speed) for middles, speed, _, _ in curves], report.kills)
    for middles, speed, colour, label in curves:
        axes.plot(middles, speed, color=colour, linewidth=1.6, label=label, solid_joinstyle="round")
        mark_peak(axes, middles, speed, colour, top)
    axes.set_ylim(0, top)
    axes.set_ylabel("messages a second")
    axes.set_zorder(depth.get_zorder() + 1)
    axes.patch.set_visible(False)
    axes.grid(axis="y", color="#e6eaee", linewidth=0.8)
    axes.set_axisbelow(True)
    for axis in (axes, depth):
        thousands(axis.yaxis)
        for side in ("top", "right", "left"):
            axis.spines[side].set_visible(False)
    axes.tick_params(axis="both", length=0)
    for kill in report.kills:
        mark_kill(axes, kill, top)
    handles = [*axes.get_legend_handles_labels()[0], *depth.get_legend_handles_labels()[0]]
    axes.legend(
        handles, [h.get_label() for h in handles], loc="lower left", bbox_to_anchor=(0, 1.0),
        ncols=3, frameon=False, borderpad=0, borderaxespad=0.6, handlelength=1.6,
    )  # fmt: skip


def height_of(curves: Sequence[tuple[Sequence[float], Sequence[float]]], kills: Sequence[Kill]) -> float:
    """Where the axis of the rates ends, so that the time around the kills is not dwarfed by the rest."""
    whole = 1.22 * max([1.0, *(rate for _, speed in curves for rate in speed)])
    if not kills:
        return whole
    since, until = kills[0].at - 0.2, kills[-1].at + 0.5
    among = [
        rate
        for middles, speed in curves
        for at, rate in zip(middles, speed, strict=True)
        if since <= at <= until
    ]
    return min(whole, ROOM * max([1.0, *among]))


def mark_peak(axes: Any, middles: Sequence[float], speed: Sequence[float], colour: str, top: float) -> None:
    """Write down the highest rate where the curve leaves the picture."""
    if not speed or max(speed) <= top:
        return
    above = [at for at, rate in zip(middles, speed, strict=True) if rate > top]
    middle = (middles[0] + middles[-1]) / 2
    left = middles[speed.index(max(speed))] < middle
    # Beside the curve, on the side where it is back in the picture.
    at = max(at for at in above if at < middle) if left else min(at for at in above if at >= middle)
    axes.annotate(
        f"up to {round(max(speed), -4):,.0f}/s", (at, top), xytext=(12 if left else -12, -40), textcoords="offset points",
        ha="left" if left else "right", va="top", fontsize=9, color=colour,
        bbox={"facecolor": "white", "edgecolor": "none", "boxstyle": "round,pad=0.2", "alpha": 0.85},
    )  # fmt: skip


def mark_kill(axes: Any, kill: Kill, top: float) -> None:
    """A red line at the kill, and the time without acknowledgements shaded."""
    axes.axvline(kill.at, color=KILL, linewidth=1.2, linestyle=(0, (4, 2)))
    if kill.failover_s is not None:
        axes.axvspan(kill.at, kill.at + kill.failover_s, color=KILL, alpha=0.10, linewidth=0)
    silence = f"silent {kill.failover_s:.2f} s" if kill.failover_s is not None else "no ack"
    axes.annotate(
        f"kill {kill.number}: {kill.node}\n{silence}", (kill.at, top), xytext=(5, -4), textcoords="offset points",
        va="top", ha="left", fontsize=9, color=KILL, linespacing=1.3,
    )  # fmt: skip


def draw_brokers(axes: Any, report: Report) -> None:
    """One row for each broker, coloured by what it was."""
    names = sorted({name for sample in report.samples for name in sample.phases})
    for row, name in enumerate(names):
        for band in bands(report.samples, name):
            down = band.phase is Phase.DOWN
            axes.barh(
                row, band.until - band.since, left=band.since, height=0.62, color=PHASES[band.phase],
                edgecolor=FAINT if down else PHASES[band.phase], linewidth=0.5 if down else 0.0,
                hatch="////" if down else None,
            )  # fmt: skip
            if band.phase is Phase.PRIMARY:
                axes.annotate(
                    f"generation {band.generation}", (band.since, row), xytext=(5, 0), textcoords="offset points",
                    va="center", fontsize=8.5, color="white", clip_on=True,
                )  # fmt: skip
    for kill in report.kills:
        axes.axvline(kill.at, color=KILL, linewidth=1.2, linestyle=(0, (4, 2)))
        mark_return(axes, kill, names)
    axes.set_yticks(range(len(names)), names)
    axes.set_ylim(max(1, len(names)) - 0.5, -0.5)
    axes.set_xlabel("seconds since the stream began", loc="right")
    axes.tick_params(axis="y", length=0)
    for side in ("top", "right", "left"):
        axes.spines[side].set_visible(False)
    draw_phase_legend(axes)


def mark_return(axes: Any, kill: Kill, names: Sequence[str]) -> None:
    """While a killed broker was away: what it was sent to catch up, and what it would have been without."""
    if kill.returned_s is None or kill.node not in names:
        return
    axes.text(
        kill.at + kill.returned_s / 2, names.index(kill.node),
        f"sent {size(kill.resync_bytes)}\nof {size(kill.queue_bytes)}",
        va="center", ha="center", fontsize=7.5, color=INK, linespacing=1.15, clip_on=True,
        bbox={"facecolor": "white", "edgecolor": "none", "boxstyle": "round,pad=0.15", "alpha": 0.92},
    )  # fmt: skip


def draw_phase_legend(axes: Any) -> None:
    """Draw what the colours of the phases mean."""
    from matplotlib.patches import Patch

    patches = [
        Patch(
            facecolor=colour, label=phase.value, edgecolor=FAINT if phase is Phase.DOWN else colour,
            linewidth=0.5, hatch="////" if phase is Phase.DOWN else None,
        )
        for phase, colour in PHASES.items()
    ]  # fmt: skip
    axes.legend(
        handles=patches, loc="upper left", bbox_to_anchor=(0, -0.27), ncols=4, frameon=False,
        borderpad=0, borderaxespad=0, handlelength=1.4, fontsize=9,
    )  # fmt: skip


def thousands(axis: Any) -> None:
    """Numbers on an axis with separators."""
    from matplotlib.ticker import FuncFormatter, MaxNLocator

    axis.set_major_locator(MaxNLocator(nbins=6, integer=True))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))


def write_titles(figure: Any, report: Report) -> None:
    """What is to be seen, and the verdict."""
    good = not report.complaints
    kills = f"{len(report.kills)} primaries killed" if len(report.kills) != 1 else "one primary killed"
    verdict = "nothing lost" if good else "FAILED: " + report.complaints[0]
    figure.text(
        0.085, 0.955, f"{kills}, {verdict}", fontsize=17, fontweight="bold", color=INK if good else KILL
    )
    facts = [
        f"{report.messages:,} messages, {size(report.nbytes)}",
        f"{report.nodes} brokers, {report.store}",
    ]
    if report.failovers:
        median, worst = statistics.median(report.failovers), max(report.failovers)
        facts.append(f"failover {median:.2f} s median, {worst:.2f} s worst")
    facts.append(f"{report.duplicates:,} duplicates removed")
    figure.text(0.085, 0.917, "  ·  ".join(facts), fontsize=10.5, color=FAINT)
    sums = f"SHA-256 in {report.went_in[:16]}…  out {report.came_out[:16]}…"
    figure.text(0.915, 0.012, sums, fontsize=8, color=FAINT, ha="right", family="monospace")
