"""Commands about saved stores: ``qpidha store backup``, ``verify`` and ``restore``."""

from __future__ import annotations

import argparse
import time
from typing import TYPE_CHECKING, Any

from qpidha.cli.console import OK, PARTLY, PROBLEM, UNREACHABLE, about, complain, deliver, words
from qpidha.cli.progress import progress
from qpidha.cli.stores import lines_of_report
from qpidha.cli.text import name
from qpidha.cli.work import require_directory, require_no_cluster
from qpidha.errors import QpidhaError, StoreDamaged, StoreMismatch

if TYPE_CHECKING:
    from pathlib import Path

    from qpidha.stores.saved import SavedReport


def run_backup(args: argparse.Namespace) -> int:
    """Run ``qpidha store backup``; returns the exit code."""
    from qpidha.stores.saved import save

    try:
        require_directory(args.directory, "store")
        require_no_cluster(args.directory)
        with progress("saving") as line:
            saved = save(args.directory, args.file, progress=line)
    except (QpidhaError, OSError) as error:
        return failed(args, args.directory, error)
    return deliver(args, OK, document_of(saved), lines_of_saved(saved))


def run_verify(args: argparse.Namespace) -> int:
    """Run ``qpidha store verify``; returns the exit code."""
    from qpidha.stores.saved import read_saved

    documents: list[Any] = []
    codes, lines = set(), []
    for file in args.file:
        try:
            with progress(f"verifying {name(str(file))}") as line:
                saved = read_saved(file, progress=line)
        except (QpidhaError, OSError) as error:
            codes.add(UNREACHABLE)
            documents.append({"name": str(file), "error": words(error)})
            complain(about(file, error))
            continue
        codes.add(PROBLEM if saved.store.damage else OK)
        documents.append(document_of(saved))
        lines += lines_of_saved(saved)
    code = PARTLY if UNREACHABLE in codes and len(codes) > 1 else max(codes)
    return deliver(args, code, documents[0] if len(documents) == 1 else documents, lines)


def run_restore(args: argparse.Namespace) -> int:
    """Run ``qpidha store restore``; returns the exit code."""
    from qpidha.stores.saved import restore

    try:
        with progress("restoring") as line:
            report = restore(args.file, args.directory, node=args.as_node, progress=line)
    except (QpidhaError, OSError) as error:
        return failed(args, args.directory, error)
    said = [
        *lines_of_report(report),
        "its node joins the cluster as a new one, and is corrected by difference",
        "if all members of the cluster are lost, see `qpidha record rebuild` with --members-lost",
    ]
    return deliver(args, OK, report, said)


def failed(args: argparse.Namespace, place: Path, error: BaseException) -> int:
    """Say why nothing was written; returns the exit code."""
    code = PROBLEM if isinstance(error, (StoreDamaged, StoreMismatch)) else UNREACHABLE
    if args.json:
        deliver(args, code, {"name": str(place), "error": words(error)}, ())
    complain(about(place, error))
    return code


def document_of(saved: SavedReport) -> dict[str, Any]:
    """For JSON."""
    return {"saved_at": saved.at or None, "store": saved.store}


def lines_of_saved(saved: SavedReport) -> list[str]:
    """The lines that show a saved store."""
    at = time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(saved.at)) if saved.at else "at an unknown time"
    verdict = "it does not verify" if saved.store.damage else "it verifies"
    return [f"{name(saved.store.name)}: saved {at}; {verdict}", *lines_of_report(saved.store)]
