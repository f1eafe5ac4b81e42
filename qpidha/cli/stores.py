"""Commands about stores while no node uses them: ``qpidha store inspect``, ``rank`` and ``compact``."""

from __future__ import annotations

import argparse
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from qpidha.cli.cluster import peek
from qpidha.cli.console import (
    OK,
    PARTLY,
    PROBLEM,
    UNREACHABLE,
    about,
    complain,
    deliver,
    lines_of_place,
    words,
)
from qpidha.cli.inspection import inspect_all
from qpidha.cli.progress import progress
from qpidha.cli.text import name, printable
from qpidha.cli.work import one, require_directory, require_no_cluster
from qpidha.errors import QpidhaError, StoreDirty

if TYPE_CHECKING:
    from qpidha.stores.database import Space
    from qpidha.stores.report import AuditLine, StoreReport


def run_inspect(args: argparse.Namespace) -> int:
    """Run ``qpidha store inspect``; returns the exit code."""
    found = inspect_all(args.directory, args.timeout)
    reports = [answer for _, answer in found if not isinstance(answer, BaseException)]
    code = PROBLEM if any(report.damage for report in reports) else OK
    if len(reports) < len(found) or not found:
        code = PARTLY if reports else UNREACHABLE
    if args.json:
        documents = [
            {"name": str(directory), "error": words(answer)} if isinstance(answer, BaseException) else answer
            for directory, answer in found
        ]
        document = documents[0] if len(args.directory) == 1 and documents else documents
        deliver(args, code, document, ())
    for directory, answer in found:
        if isinstance(answer, BaseException):
            complain(about(directory, answer))
        elif not args.json:
            deliver(args, code, None, lines_of_report(answer))
    return code


def lines_of_report(report: StoreReport) -> list[str]:
    """The lines that show what is in a store."""
    s = report.status
    store = name(report.name)
    if s is None:
        lines = [f"store {store}: no status can be read"]
    else:
        was_primary = ", was primary" if s.primary else ""
        lines = [
            f"store {store}: {s.state.value}, node {name(s.node)}, generation {s.generation}{was_primary}",
            f"  cluster {s.cluster or 'none'}; epoch {s.epoch}",
        ]
    lines += [
        f"  queue {name(q.name)}: {q.held} messages, {q.nbytes} bytes, next id {q.next}, {q.holes} holes"
        for q in report.queues
    ]
    if report.file_bytes:
        lines.append(f"  {report.file_bytes} bytes on disk, {report.free_bytes} of them free")
    if report.quarantined:
        lines.append(f"  {report.quarantined} messages in quarantine")
    lines += [line_of_audit(line) for line in report.audit]
    return lines + [f"  DAMAGED: {printable(damage)}" for damage in report.damage]


def line_of_audit(line: AuditLine) -> str:
    """One line of the audit record."""
    where = f"generation {line.generation}, queue {name(line.queue)}"
    return f"  audit: {name(line.event)}, {where}: {printable(line.detail)}"


def run_compact(args: argparse.Namespace) -> int:
    """Run ``qpidha store compact``; returns the exit code."""
    from qpidha.stores.compaction import compact

    def compacted() -> tuple[Space, Space]:
        require_directory(args.directory, "store")
        require_no_cluster(args.directory)
        with progress("compacting") as line:
            return compact(args.directory, progress=line)

    try:
        before, after = compacted()
    except (QpidhaError, OSError) as error:
        code = PROBLEM if isinstance(error, StoreDirty) else UNREACHABLE
        if args.json:
            deliver(args, code, {"name": str(args.directory), "error": words(error)}, ())
        complain(about(args.directory, error))
        return code
    document = {"name": str(args.directory), "before": asdict(before), "after": asdict(after)}
    said = f"store {name(str(args.directory))}: {before.file_bytes} bytes before, {after.file_bytes} now"
    deliver(args, OK, document, [said])
    return OK


def run_rank(args: argparse.Namespace) -> int:
    """Run ``qpidha store rank``; returns the exit code."""
    from qpidha.recovery.findings import Finding, Severity
    from qpidha.recovery.ranking import Ranked, rank

    found = inspect_all(args.directory, args.timeout)
    reports = [answer for _, answer in found if not isinstance(answer, BaseException)]
    record, record_error = record_of(args)
    ranked = rank(reports, record)
    code = OK if any(place.place for place in ranked) else PROBLEM
    if len(reports) < len(found) or not found or record_error:
        code = PARTLY if reports else UNREACHABLE
    for directory, answer in found:
        if isinstance(answer, BaseException):
            finding = Finding(Severity.ERROR, "unreadable", words(answer))
            ranked.append(Ranked(str(directory), None, (finding,)))
            if not reports:
                complain(about(directory, answer))
    if args.json or reports:
        deliver(args, code, ranked, [line for place in ranked for line in lines_of_place(place)])
    if record_error:
        complain(f"ranked without the record, which cannot be read: {about(args.cluster, record_error)}")
    return code


def record_of(args: argparse.Namespace) -> tuple[Any, BaseException | None]:
    """The record to rank by, if one was named and is there; and why it cannot be read."""
    if not args.cluster:
        return None, None
    try:
        found = one(lambda: peek(args.cluster), args.timeout)
    except Exception as error:  # noqa: BLE001 - whatever it is, the stores can be ranked
        return None, error
    if found is None:
        complain(f"there is no record in {name(args.cluster)}: ranked without it")
    return (found.record if found else None), None
