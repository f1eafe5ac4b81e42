"""Copies of the tree to break, one for each worker: the checkout is never touched."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict
from importlib.util import cache_from_source
from pathlib import Path

from tests.mutants.judge import Answer, Question
from tests.mutants.mutant import Mutant

ROOT = Path(__file__).resolve().parents[2]
NEEDED = ("qpidha", "tests", "docs", "pyproject.toml")
SECONDS_MAX = 300
"""A walk over broken code may never end. What was answered until then counts."""


class Copy:
    """One copy, and the judge that runs in it."""

    def __init__(self, directory: Path, source: Path = ROOT) -> None:
        self.root = directory
        self._answers = directory / "answers"
        for name in NEEDED:
            if (source / name).is_dir():
                ignored = shutil.ignore_patterns("__pycache__", "*.c")
                shutil.copytree(source / name, directory / name, ignore=ignored)
            else:
                shutil.copy2(source / name, directory / name)

    @contextmanager
    def broken(self, mutant: Mutant) -> Iterator[None]:
        """With this bug in it. What was compiled of the file goes: its time and size may well be the same."""
        path = self.root / mutant.file
        whole, patched = path.read_bytes(), mutant.patched_file(self.root)
        try:
            self._write(path, patched.encode())
            yield
        finally:
            self._write(path, whole)

    @staticmethod
    def _write(path: Path, content: bytes) -> None:
        Path(cache_from_source(str(path))).unlink(missing_ok=True)
        path.write_bytes(content)

    def judge(self, tests: tuple[str, ...], first: str, seeds: int) -> list[Answer]:
        """Ask about the copy as it is now.

        Raises:
            RuntimeError: The tests could not run in it.
        """
        question = Question(tests, first, seeds, str(self._answers))
        environment = {
            **{name: value for name, value in os.environ.items() if name not in ("QPIDHA_REWRITE", "CI")},
            "PYTHONPATH": str(self.root),
            "PYTHONHASHSEED": "0",
            "HYPOTHESIS_PROFILE": "quick",
        }
        self._answers.unlink(missing_ok=True)
        done = None
        with suppress(subprocess.TimeoutExpired):
            done = subprocess.run(
                [sys.executable, "-m", "tests.mutants.judge", json.dumps(asdict(question))],
                cwd=self.root,
                env=environment,
                capture_output=True,
                text=True,
                check=False,
                timeout=SECONDS_MAX,
            )
        if done is not None and done.returncode:
            raise RuntimeError(f"{done.stdout}\n{done.stderr}")
        return [Answer(**json.loads(line)) for line in self._answers.read_text(encoding="utf-8").splitlines()]
