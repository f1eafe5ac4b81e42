"""Proton's client for C++ and a primary that is killed five times: an exact ledger. The test compiles the client."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from tests.amqp.brokers import Brokers
from tests.amqp.scripts import check_ledger
from tests.support.missing import leave_out

SOURCE = Path(__file__).with_name("cpp_client.cpp")
HEADER = "#include <proton/container.hpp>\n"


@pytest.mark.slow
@pytest.mark.external
@pytest.mark.processes
@pytest.mark.timeout(280)
def test_five_kills_lose_and_repeat_nothing_of_proton_cpp(tmp_path: Path) -> None:
    compiler = shutil.which("g++")
    if compiler is None or not _has_proton(compiler):
        leave_out("needs g++ and Proton for C++: apt-get install g++ libqpid-proton-cpp12-dev")
    program = tmp_path / "client"
    command = [compiler, "-std=c++17", "-o", str(program), str(SOURCE), "-lqpid-proton-cpp"]
    subprocess.run(command, check=True)
    with Brokers(tmp_path / "nodes") as brokers:
        brokers.start()
        check_ledger(brokers, [str(program)])


def _has_proton(compiler: str) -> bool:
    command = [compiler, "-std=c++17", "-fsyntax-only", "-x", "c++", "-"]
    return not subprocess.run(command, input=HEADER, text=True, capture_output=True).returncode
