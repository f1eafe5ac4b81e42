"""All planted bugs, some at a time: is each of them noticed, and by what?"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from queue import SimpleQueue
from tempfile import TemporaryDirectory

from tests.mutants.copies import ROOT, Copy
from tests.mutants.judge import Answer
from tests.mutants.mutant import Mutant

UNIT = "tests/unit/"


def units(folder: str) -> tuple[str, ...]:
    """All unit tests of one package of the library, those of its subpackages too."""
    return tuple(sorted(str(p.relative_to(ROOT)) for p in ROOT.glob(f"{UNIT}{folder}/**/test_*.py")))


CORE = ("tests/scenarios", *units("core"), *units("recovery"))
LOCKS = (UNIT + "stores/test_locks.py",)
STORES = (*units("stores"), UNIT + "system/test_forks.py", "tests/storage/test_damaged_values.py")
RECORDS = (*units("records"), *LOCKS, *units("promoters"))
WIRE = tuple(f"{UNIT}wire/test_{part}.py" for part in ("codec", "framing", "limits"))

NODE = (*units("node"), UNIT + "test_checks.py", UNIT + "test_logs.py")
NODE += tuple(
    f"tests/integration/test_{part}.py"
    for part in ("receipts", "terms", "bad_moments", "role_changes", "bad_input", "standing_causes", "tls")
)
TRANSPORTS = units("transports")
WEB = (*units("web"), "tests/integration/test_web.py", "tests/integration/test_web_certificates.py")
NAMES = ("tests/docs/test_names_page.py",)
PROGRESS = (UNIT + "cli/test_progress.py", UNIT + "test_amounts.py")
QUEUES = (
    *units("queues"),
    "tests/integration/test_queue_types.py",
    "tests/integration/test_queue_hazards.py",
    UNIT + "testing/conformance/test_queue.py",
    UNIT + "node/test_consuming.py",
    UNIT + "node/test_queue.py",
)

SETS = tuple(f"{UNIT}test_{part}.py" for part in ("serial", "sequence_set", "sequence_tracker"))
SETS += tuple(f"tests/property/test_sequence_{part}_model.py" for part in ("set", "tracker"))

TESTS = {
    "qpidha/_seq": SETS,
    "qpidha/_serial": SETS,
    "qpidha/wire/_batch": (UNIT + "wire/test_batch.py",),
    "qpidha/core/": CORE,
    "qpidha/driver.py": (UNIT + "test_driver.py", *CORE),
    "qpidha/bridge/": units("bridge"),
    "qpidha/stores/": STORES,
    "qpidha/recovery/": CORE,
    "qpidha/records/": RECORDS,
    "qpidha/promoters/": RECORDS,
    "qpidha/wire/": WIRE,
    "qpidha/node/": NODE,
    "qpidha/transports/": TRANSPORTS,
    "qpidha/queues/": QUEUES,
    "qpidha/system/roles.py": (UNIT + "system/test_roles.py",),
    "qpidha/web/": WEB,
    "qpidha/events/": NAMES,
    "qpidha/checks.py": (UNIT + "test_checks.py",),
    "qpidha/cli/progress.py": PROGRESS,
    "qpidha/amounts.py": PROGRESS,
}
"""What is run for a bug, by where it is planted: what is fast, and near."""

NOT_WALKED = (
    "qpidha/bridge/",
    "qpidha/records/",
    "qpidha/promoters/",
    "qpidha/node/",
    "qpidha/transports/",
    "qpidha/queues/",
    "qpidha/system/roles.py",
    "qpidha/web/",
    "qpidha/events/",
    "qpidha/checks.py",
    "qpidha/cli/",
    "qpidha/amounts.py",
    "qpidha/_seq",
    "qpidha/_serial",
    "qpidha/wire/_batch",
)
"""What the simulator replaces by something of its own, so that no walk can notice it; and compiled code, which may
keep a walk waiting for ever: its tests must notice by themselves."""


def judges_of(file: str) -> tuple[str, ...]:
    return next(tests for place, tests in TESTS.items() if file.startswith(place))


def is_walked(file: str) -> bool:
    return not file.startswith(NOT_WALKED)


@dataclass(frozen=True, slots=True)
class Verdict:
    """What became of one planted bug."""

    mutant: Mutant
    test: str = ""
    """The first test that failed."""
    error: str = ""
    """What the first walk that failed says."""
    seeds: int | None = None
    """How many walks that took. None: none of them failed."""

    @property
    def caught(self) -> bool:
        return bool(self.test or self.error)


class Workers:
    """Copies of the tree, and a thread for each."""

    def __init__(self, directory: Path, jobs: int, source: Path = ROOT) -> None:
        self._pool = ThreadPoolExecutor(jobs)
        self._free: SimpleQueue[Copy] = SimpleQueue()
        for number in range(jobs):
            place = directory / str(number)
            place.mkdir()
            self._free.put(Copy(place, source))

    def whole(self, mutants: Sequence[Mutant], seeds: int) -> list[str]:
        """What is wrong with the code as it is, in all tests that may judge these bugs. Empty: nothing."""
        files = {m.file for m in mutants}
        questions = [(tests, 0) for tests in dict.fromkeys(map(judges_of, sorted(files)))]
        if any(map(is_walked, files)):
            questions.append(((), seeds))

        def ask(question: tuple[tuple[str, ...], int]) -> list[Answer]:
            with self._copy() as copy:
                return copy.judge(question[0], "", question[1])

        return [a.found for answers in self._pool.map(ask, questions) for a in answers if a.found]

    def verdicts(self, mutants: Sequence[Mutant], seeds: int) -> Iterator[Verdict]:
        """In the order of the table."""

        def verdict(mutant: Mutant) -> Verdict:
            with self._copy() as copy, copy.broken(mutant):
                answers = copy.judge(
                    judges_of(mutant.file), mutant.first, seeds if is_walked(mutant.file) else 0
                )
            by = {answer.by: answer for answer in answers}
            test, walk = by.get("tests"), by.get("walks")
            failed = walk is not None and bool(walk.found)
            return Verdict(
                mutant,
                test.found if test else "",
                walk.found if walk else "",
                walk.count if walk and failed else None,
            )

        return self._pool.map(verdict, mutants)

    @contextmanager
    def _copy(self) -> Iterator[Copy]:
        copy = self._free.get()
        try:
            yield copy
        finally:
            self._free.put(copy)

    def close(self) -> None:
        self._pool.shutdown(cancel_futures=True)


@contextmanager
def workers(jobs: int, source: Path = ROOT) -> Iterator[Workers]:
    with TemporaryDirectory(prefix="qpidha-mutants-") as directory:
        pool = Workers(Path(directory), jobs, source)
        try:
            yield pool
        finally:
            pool.close()
