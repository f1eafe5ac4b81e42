"""Proton's client for C++ publishes and consumes exactly once while the primary is killed. The test compiles it."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from tests.amqp.brokers import Brokers
from tests.amqp.scripts import check_exactly_once
from tests.support.missing import leave_out

SOURCE = Path(__file__).with_name("cpp_client.cpp")
HEADER = "#include <proton/container.hpp>\n"


@pytest.mark.slow
@pytest.mark.external
@pytest.mark.processes
@pytest.mark.timeout(280)
def test_numbered_messages_of_proton_cpp_are_there_once(tmp_path: Path) -> None:
    compiler = shutil.which("g++")
    if compiler is None or not _has_proton(compiler):
        leave_out("needs g++ and Proton for C++: apt-get install g++ libqpid-proton-cpp12-dev")
    program = tmp_path / "client"
    command = [compiler, "-std=c++17", "-o", str(program), str(SOURCE), "-lqpid-proton-cpp"]
    subprocess.run(command, check=True)
    with Brokers(tmp_path / "nodes", 2) as brokers:
        brokers.start()
        check_exactly_once(brokers, [str(program)])


def _has_proton(compiler: str) -> bool:
    command = [compiler, "-std=c++17", "-fsyntax-only", "-x", "c++", "-"]
    return not subprocess.run(command, input=HEADER, text=True, capture_output=True).returncode
