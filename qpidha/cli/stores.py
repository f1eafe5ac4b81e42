"""Commands that look into stores while no node uses them: ``qpidha store inspect`` and ``rank``."""

from __future__ import annotations

import argparse
from typing import Any

from qpidha.cli.console import BAD_NEWS, OK, fail, peek, print_ranked, show_json
from qpidha.errors import ClusterError, StoreError


def run_inspect(args: argparse.Namespace) -> int:
    from qpidha.stores.offline import inspect

    try:
        report = inspect(args.directory)
    except (StoreError, OSError) as error:
        return fail(str(error))
    if args.json:
        show_json(report)
    else:
        print_report(report)
    return BAD_NEWS if report.damage else OK


def print_report(report: Any) -> None:
    s = report.status
    if s is None:
        print(f"store {report.name}: no status can be read")
    else:
        print(
            f"store {report.name}: {s.state.value}, node {s.node}, generation {s.generation}"
            f"{', was primary' if s.primary else ''}"
        )
        print(f"  cluster {s.cluster or 'none'}; epoch {s.epoch}")
    for q in report.queues:
        print(f"  queue {q.name}: {q.held} messages, {q.nbytes} bytes, next id {q.next}, {q.holes} holes")
    if report.quarantined:
        print(f"  {report.quarantined} messages in quarantine")
    for line in report.audit:
        print(f"  audit: {line.event}, generation {line.generation}, queue {line.queue}: {line.detail}")
    for damage in report.damage:
        print(f"  DAMAGED: {damage}")


def run_rank(args: argparse.Namespace) -> int:
    from qpidha.core.ranking import rank
    from qpidha.stores.offline import inspect

    reports = []
    for directory in args.directory:
        try:
            reports.append(inspect(directory))
        except (StoreError, OSError) as error:
            return fail(str(error))
    found = None
    if args.cluster:
        try:
            found = peek(args.cluster)
        except (ClusterError, OSError) as error:
            return fail(f"cannot read the record in {args.cluster}: {error}")
    ranked = rank(reports, found.record if found else None)
    if args.json:
        show_json(ranked)
    else:
        for place in ranked:
            print_ranked(place)
    return OK if any(place.place for place in ranked) else BAD_NEWS
