"""Commands about the cluster record of a file record store: ``qpidha record show`` and ``rebuild``."""

from __future__ import annotations

import argparse
import asyncio
import os
from pathlib import Path
from typing import TYPE_CHECKING

from qpidha.cli.console import BAD_NEWS, OK, fail, peek, print_ranked, print_record, show_json
from qpidha.errors import CallerError, ClusterError, Conflict, QpidhaError, StoreLocked

if TYPE_CHECKING:
    from qpidha.core.rebuild import Rebuilt
    from qpidha.types import Record, Versioned

TIMEOUT_S = 10.0


def run_show(args: argparse.Namespace) -> int:
    try:
        found = peek(args.cluster)
    except (ClusterError, OSError) as error:
        return fail(f"cannot read the record in {args.cluster}: {error}")
    if args.json:
        show_json({"record": found})
    elif found is None:
        print(f"there is no record in {args.cluster}")
    else:
        print_record(found)
    return OK if found is not None else BAD_NEWS


def run_rebuild(args: argparse.Namespace) -> int:
    """After the record was lost or went back: compare the stores, say what would be written, write it if told to."""
    from qpidha.cluster.file import FileRecordStore
    from qpidha.core.rebuild import rebuilt
    from qpidha.stores.offline import inspect, unused

    try:
        known = args.cluster.is_dir()
        if live := sorted(FileRecordStore.peek_live(args.cluster)) if known else []:
            return fail(f"still running: {', '.join(live)}. Stop all nodes first", BAD_NEWS)
        with unused(args.directory):
            reports = [inspect(directory) for directory in args.directory]
            current = peek(args.cluster) if known else None
            found = rebuilt(
                reports, current.record if current else None, nonce=os.urandom(16), best=args.best
            )
            if args.write:
                asyncio.run(write(args.cluster, current, found.record))
    except (CallerError, Conflict, StoreLocked) as error:
        return fail(f"nothing was written: {error}", BAD_NEWS)
    except (QpidhaError, OSError) as error:
        return fail(str(error))
    if args.json:
        show_json({"record": found.record, "ranked": found.ranked, "written": args.write})
    else:
        print_rebuilt(found, written=args.write)
    return OK


async def write(directory: Path, current: Versioned | None, record: Record) -> None:
    """Put this record in the place of the current one, if that is still the current one."""
    from qpidha.cluster.file import FileRecordStore

    records = FileRecordStore(directory)
    try:
        if current is None:
            await records.create(record)
        else:
            await records.compare_and_set(current.version, record, timeout_s=TIMEOUT_S)
    finally:
        await records.close()


def print_rebuilt(found: Rebuilt, *, written: bool) -> None:
    for place in found.ranked:
        print_ranked(place)
    (member,) = found.record.members
    is_now = "is now" if written else "would be"
    print(
        f"the record {is_now} at generation {found.record.generation}, with node {member.node} alone in sync"
    )
    print("what only other stores hold is set aside when their nodes join, and handed to their brokers")
    print("start the nodes" if written else "nothing was written: add --write to do it")
