"""Copies of the tree to break, one for each worker: the checkout is never touched.

A copy has the compiled modules of the checkout. A bug in a Cython file is built into the one module that it is of,
without optimisation: some seconds. Afterwards the module of the checkout is put back.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict
from importlib.util import cache_from_source
from pathlib import Path

from tests.mutants.judge import RUNNING, Answer, Question
from tests.mutants.mutant import Mutant

ROOT = Path(__file__).resolve().parents[2]
NEEDED = ("qpidha", "tests", "docs", "pyproject.toml", "CHANGELOG.md")
SECONDS_MAX = 600
"""A walk over broken code may never end. What was answered until then counts."""


def is_compiled(file: str) -> bool:
    return file.endswith((".pyx", ".pxd"))


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
        """With this bug in it. What was compiled of the file goes: its time and size may well be the same.

        Raises:
            RuntimeError: It is in a Cython file, and does not compile.
        """
        path = self.root / mutant.file
        whole, patched = path.read_bytes(), mutant.patched_file(self.root)
        module = self._module_of(path) if is_compiled(mutant.file) else None
        built = module.read_bytes() if module else b""
        try:
            self._write(path, patched.encode())
            if module:
                module.unlink()
                self._build(path.with_suffix(".pyx"))
            yield
        finally:
            self._write(path, whole)
            if module:
                module.unlink(missing_ok=True)  # Never written in place: a process may have it mapped.
                module.write_bytes(built)

    @staticmethod
    def _module_of(path: Path) -> Path:
        return path.with_name(path.stem + str(sysconfig.get_config_var("EXT_SUFFIX")))  # Of this Python.

    def _build(self, path: Path) -> None:
        done = subprocess.run(
            [sys.executable, "-m", "Cython.Build.Cythonize", "--inplace", "--force", "--quiet", str(path)],
            cwd=self.root,
            env={**os.environ, "CFLAGS": "-O0"},
            capture_output=True,
            text=True,
            check=False,
            timeout=SECONDS_MAX,
        )
        if done.returncode:
            raise RuntimeError(f"{path} does not compile:\n{done.stdout}\n{done.stderr}")

    @staticmethod
    def _write(path: Path, content: bytes) -> None:
        Path(cache_from_source(str(path))).unlink(missing_ok=True)
        path.write_bytes(content)

    def judge(self, tests: tuple[str, ...], first: str, seeds: int) -> list[Answer]:
        """Ask about the copy as it is now. A test that ends the process, or never ends, has failed.

        Raises:
            RuntimeError: The tests could not run in it.
        """
        question = Question(tests, first, seeds, str(self._answers))
        environment = {
            **{name: value for name, value in os.environ.items() if name not in ("QPIDHA_REWRITE", "CI")},
            "PYTHONPATH": str(self.root),
            "QPIDHA_PURE": "1",  # What is broken is the source.
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
        if done is not None and done.returncode > 0:
            raise RuntimeError(f"{done.stdout}\n{done.stderr}")
        lines = self._answers.read_text(encoding="utf-8").splitlines()
        answers = [Answer(**json.loads(line)) for line in lines if not line.startswith(RUNNING)]
        if (done is None or done.returncode) and not answers and lines:
            return [Answer("tests", lines[-1].removeprefix(RUNNING), len(lines) - 1)]
        return answers
