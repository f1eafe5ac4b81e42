"""The previous release, built from the history of this repository, as a folder that Python imports from."""

from __future__ import annotations

import io
import subprocess
import sys
import tarfile
from pathlib import Path

from qpidha.demo.cluster import BrokerProcess, Cluster, node_name
from qpidha.types import Address
from tests.support.missing import leave_out
from tests.support.stream import BROKER, ROOT

PREVIOUS = {"0.1 of wire version 3": "38c61dc"}
"""What was released before, by name: the commit, until there are tags."""
WORDS_BEFORE = r"link to the primary: in order again, |broker: client dropped: node '\w+' is \w[\w-]*$"
"""What these say in other words than the newest release, besides `tests.soak.watch.KNOWN`."""
BUILD_TIMEOUT_S = 240


def build(commit: str, folder: Path) -> Path:
    """Build and install a commit. Returns the folder with its packages and its ``examples``.

    Its dependencies are those of this Python; it is never imported from here.
    """
    git = ["git", "-C", str(ROOT), "archive", "--format=tar", commit]
    try:
        archive = subprocess.run(git, capture_output=True, check=True)
    except FileNotFoundError:
        leave_out("git is not installed: the previous release cannot be built")
    except subprocess.CalledProcessError as error:
        leave_out(f"the history does not have {commit}, fetch all of it: {error.stderr.decode().strip()}")
    source, target = folder / "source", folder / "installed"
    with tarfile.open(fileobj=io.BytesIO(archive.stdout)) as tar:
        tar.extractall(source, filter="data")
    install = [
        sys.executable, "-m", "pip", "-q", "--disable-pip-version-check", "install", "--no-deps",
        "--no-build-isolation", "--target", str(target), str(source),
    ]  # fmt: skip
    done = subprocess.run(install, capture_output=True, text=True, timeout=BUILD_TIMEOUT_S, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    (source / "examples").rename(target / "examples")
    return target


class ReleaseProcess(BrokerProcess):
    """A broker whose next life may be another release."""

    def __init__(self, name: str, options: list[str], directory: Path, client: Address) -> None:
        super().__init__(name, [], directory, client)
        self._options = options
        self.use(None)

    def use(self, release: Path | None) -> None:
        """Run this release from the next start on. None: the newest one, from this checkout."""
        packages, program = (
            (ROOT, BROKER) if release is None else (release, release / "examples/simple/broker.py")
        )
        # `start` puts this checkout first.
        self._command = ["env", f"PYTHONPATH={packages}", sys.executable, str(program), *self._options]


class Releases(Cluster):
    """Three brokers on this machine, which all run the same release at first."""

    processes: dict[str, ReleaseProcess]  # type: ignore[assignment]

    def __init__(self, work: Path, ports: list[int], release: Path | None) -> None:
        self.processes = {}
        for number, port in enumerate(ports):
            name, client = node_name(number), ("127.0.0.1", port)
            options = [
                "--id", name, "--dir", str(work / name), "--cluster", str(work / "cluster"), "--listen", "127.0.0.1:0",
                "--client", f"127.0.0.1:{port}", "--priority", str(len(ports) - number), "--until-eof",
            ]  # fmt: skip
            process = ReleaseProcess(name, options, work / name, client)
            process.use(release)
            self.processes[name] = process
