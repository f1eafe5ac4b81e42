"""E02, E06, E07 on a real file system: an ext4 image is copied while it is mounted, and the copy is opened.

The copy is what a disk would have after a power cut at that moment: it lacks what the kernel still holds in
memory. Needs root and loop devices; where they are missing, the tests are skipped with a reason.
"""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from qpidha.system.syncing import sync_directory
from tests.storage.oracle import CHECKS, Broken, promised
from tests.storage.shim import Action, Bench, Fault, Op

IMAGE_BYTES = 12 * 1024 * 1024
AT_EVERY_SYNC = Fault(Action.STOP, ops=(Op.SYNC,))
NEVER_WRITE_BACK = "commit=600,data=writeback,noatime"
"""Delays the kernel's periodic writeback, which would hide a missing fsync of the store."""


@contextmanager
def mounted(image: Path, at: Path) -> Iterator[Path]:
    at.mkdir(exist_ok=True)
    subprocess.run(
        ["mount", "-o", f"loop,{NEVER_WRITE_BACK}", str(image), str(at)], check=True, capture_output=True
    )
    try:
        yield at
    finally:
        subprocess.run(["umount", str(at)], check=True)


@pytest.fixture(scope="module")
def blank(memory: Path) -> Path:
    """An empty image; skips the test if this machine cannot make and mount one."""
    scratch = memory / "ext4"
    scratch.mkdir()
    image = scratch / "blank"
    try:
        with image.open("wb") as file:
            file.truncate(IMAGE_BYTES)
        subprocess.run(["mkfs.ext4", "-q", "-F", str(image)], check=True, capture_output=True)
        with mounted(image, scratch / "probe"):
            pass
    except (OSError, subprocess.CalledProcessError) as error:
        reason = (getattr(error, "stderr", b"") or b"").decode(errors="replace").strip() or str(error)
        pytest.skip(f"no ext4 image can be mounted here: {reason}")
    return image


def cuts(
    bench: Bench, workload: str, blank: Path, fault: Fault, sabotage: str, every: int
) -> tuple[int, list[str]]:
    """Run a workload on an image; return the number of power cuts, and what was wrong after them."""
    scratch = blank.parent
    image, copy = scratch / "image", scratch / "copy"
    shutil.copyfile(blank, image)
    wrong, count = [], 0
    with mounted(image, scratch / "mounted") as place:
        (place / "data").mkdir()
        sync_directory(place)  # The parent of the workload's directory exists from the start.
        for number, calls in enumerate(bench.stops(workload, place / "data", fault, sabotage=sabotage)):
            if number % every == 0:
                shutil.copyfile(image, copy)
                count += 1
                with mounted(copy, scratch / "after") as after:
                    try:
                        CHECKS[workload](after / "data", promised(calls))
                    except Exception as error:
                        wrong.append(f"cut {number}: {type(error).__name__}: {error}")
    return count, wrong


@pytest.mark.timeout(1200)
@pytest.mark.parametrize("workload", ["live", "elect"])
def test_a_power_cut_before_every_fsync(bench: Bench, blank: Path, full: bool, workload: str) -> None:
    every = 1 if full or workload == "elect" else 5
    count, wrong = cuts(bench, workload, blank, AT_EVERY_SYNC, "", every)
    print(f"{workload}: {count} power cuts")
    assert count and not wrong, f"{len(wrong)} of {count}: {wrong[0]}"


@pytest.mark.parametrize("sabotage", ["hurried", "eager"])
def test_a_store_that_loses_writes_is_caught(bench: Bench, blank: Path, sabotage: str) -> None:
    """These stores confirm commits that are not on the disk at the power cut."""
    _, wrong = cuts(bench, "live", blank, AT_EVERY_SYNC, sabotage, 4)
    assert any(Broken.__name__ in line for line in wrong)
