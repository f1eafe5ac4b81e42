"""Runs the fuzz targets for a while: ``python -m tests.fuzz.run --target frame --seconds 60``.

With atheris, which feeds back what was reached in the library's Python code; without it, by changing the
kept inputs at random. An input that breaks a target is kept in ``.fuzz/`` and its path is printed.
"""

from __future__ import annotations

import argparse
import io
import subprocess
import sys
import time
from contextlib import redirect_stderr
from importlib.util import find_spec
from pathlib import Path

HERE = Path(__file__).resolve().parent
CORPUS = HERE / "corpus"
FOUND = HERE.parent.parent / ".fuzz"
"""Not in the repository: everything that atheris found interesting, and what broke a target."""
FOLLOWED = [
    "qpidha.wire",
    "qpidha.core",
    "qpidha.stores",
    "qpidha.records.format",
    "qpidha.records.file.sessionfile",
]
"""What is instrumented, which takes time: the code that the targets reach."""


def main() -> int:
    parser = argparse.ArgumentParser(prog="fuzz", description="Fuzz what reads bytes from outside.")
    parser.add_argument(
        "--target", default="all", help="one of tests/fuzz/targets.py; all in turn by default"
    )
    parser.add_argument("--seconds", type=float, default=10.0, help="for each target (default: 10)")
    parser.add_argument("--input", type=Path, help="only this input, as after a failure")
    parser.add_argument("--blind", action="store_true", help="without atheris, even if it is there")
    given = parser.parse_args()
    if given.target == "all":
        from tests.fuzz.targets import TARGETS

        arguments = [["--target", name, "--seconds", str(given.seconds)] for name in TARGETS]
        blind = ["--blind"] if given.blind else []
        runs = [[sys.executable, "-m", "tests.fuzz.run", *these, *blind] for these in arguments]
        return max(subprocess.run(run).returncode for run in runs)
    if given.input is not None:
        from tests.fuzz.targets import TARGETS

        TARGETS[given.target](given.input.read_bytes())
        return 0
    (FOUND / given.target).mkdir(parents=True, exist_ok=True)
    if given.blind or find_spec("atheris") is None:
        return guess(given.target, given.seconds)
    follow(given.target, given.seconds)
    return 0


def follow(name: str, seconds: float) -> None:
    """Let atheris look for inputs that reach something new. Does not return if one breaks the target."""
    import atheris

    with redirect_stderr(io.StringIO()), atheris.instrument_imports(include=FOLLOWED):
        from tests.fuzz.targets import TARGETS
    options = [
        f"-max_total_time={max(1, round(seconds))}",
        f"-artifact_prefix={FOUND / name}-",
        "-max_len=4096",
        "-timeout=10",
        "-rss_limit_mb=1024",
        "-verbosity=0",
        "-print_final_stats=1",
    ]
    print(f"{name}: with atheris, {seconds:g} s", flush=True)
    atheris.Setup([name, *options, str(FOUND / name), str(CORPUS / name)], TARGETS[name])
    atheris.Fuzz()


def guess(name: str, seconds: float) -> int:
    """Change the kept inputs at random."""
    from tests.fuzz.mutation import kept, mutations
    from tests.fuzz.targets import TARGETS

    seed = time.time_ns()
    until = time.monotonic() + seconds
    inputs = 0
    for data in mutations(list(kept(name).values()), seed):
        if time.monotonic() >= until:
            break
        try:
            TARGETS[name](data)
        except BaseException:
            broken = FOUND / f"{name}-crash-{seed}"
            broken.write_bytes(data)
            print(f"{name}: broken by {broken}", file=sys.stderr)
            raise
        inputs += 1
    print(f"{name}: without atheris, {inputs} inputs in {seconds:g} s")
    return 0


if __name__ == "__main__":
    sys.exit(main())
