"""Rules for stores that can verify their files (`qpidha.interfaces.WatchfulStore`). Other stores pass the checks."""

from __future__ import annotations

import shutil

from qpidha.errors import StoreFailed
from qpidha.interfaces import WatchfulStore
from qpidha.testing.conformance.changes import CREATE, STATUS, ids, insert, remove, some_commits
from qpidha.testing.conformance.store import RULES
from qpidha.testing.conformance.storebench import StoreBench


@RULES
def a_look_at_the_files_changes_nothing(bench: StoreBench) -> None:
    """`verify_files` returns between any two commits of a healthy store, and what comes back is the same."""
    opened, _ = bench.open()
    if not isinstance(opened.store, WatchfulStore):
        return
    opened.verify_files()
    for changes in some_commits():
        opened.commit(*changes)
        opened.verify_files()
    opened.verify_files()
    opened.close(clean=True)
    looked = bench.open()[1]
    bench.home = bench.directory / "other"
    bench.home.mkdir()
    bench.agrees(bench.reopened(*some_commits()), looked)


@RULES
def files_that_were_removed_are_missed(bench: StoreBench) -> None:
    """Once its files are gone, `verify_files` raises StoreFailed; so does every commit, that look or not."""
    for look in (True, False):
        bench.home = bench.directory / f"looking-{look}"
        bench.home.mkdir()
        opened, _ = bench.open()
        if not isinstance(opened.store, WatchfulStore):
            return
        opened.commit(STATUS, CREATE, insert(ids((1, 3))))
        bench.did("remove all files")
        for path in bench.home.iterdir():
            shutil.rmtree(path) if path.is_dir() else path.unlink()
        if look:
            with bench.raises(StoreFailed, "verify_files()"):
                opened.verify_files()
        with bench.raises(StoreFailed, "commit()"):
            opened.commit(remove(ids(1)))
