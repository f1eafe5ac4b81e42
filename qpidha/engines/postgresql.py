"""A PostgreSQL server for a demonstration."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

from qpidha.engines.missing import DEBIAN, EngineMissing
from qpidha.engines.ports import take_ports
from qpidha.engines.server import Server, ServerFailed

ROLE = "qpidha"
SYSTEM_USER = "postgres"
"""PostgreSQL refuses to run as root."""


def programs() -> Path:
    """The folder of PostgreSQL's programs: Debian has one for each version. Raises `EngineMissing`."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: int(path.parts[4]))
    if found:
        return found[-1].parent
    if (known := shutil.which("initdb")) is not None:
        return Path(known).parent
    raise EngineMissing(f"initdb is not installed; {DEBIAN} postgresql")


def plain_postgresql(folder: Path, host: str) -> tuple[list[Server], str]:
    """One server that serves plain text at an address, and the URL of the record there. Its database is made: seconds.

    Raises:
        EngineMissing: PostgreSQL is not installed.
        ServerFailed: The database cannot be made.
    """
    tools, (port,) = programs(), take_ports(1)
    wrapper = []
    if os.geteuid() == 0:
        shutil.chown(folder, SYSTEM_USER, SYSTEM_USER)
        wrapper = ["setpriv", "--reuid", SYSTEM_USER, "--regid", SYSTEM_USER, "--clear-groups", "--"]
    data, access = folder / "data", folder / "hba.conf"
    access.write_text(f"host all {ROLE} 0.0.0.0/0 trust\n")
    environment = {"LC_ALL": "C", "HOME": str(folder)}
    made = subprocess.run(  # noqa: S603 - our own command line
        [*wrapper, str(tools / "initdb"), "-D", str(data), "-U", ROLE, "--auth=trust", "--no-sync", "--no-locale"],
        cwd=folder, env={**os.environ, **environment}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    if made.returncode:
        raise ServerFailed(f"initdb has failed: {made.stderr.strip()}")
    options = {
        "listen_addresses": host,
        "port": str(port),
        "unix_socket_directories": "",
        "hba_file": str(access),
        "shared_buffers": "16MB",
        "dynamic_shared_memory_type": "mmap",  # In its folder: a killed server leaves nothing elsewhere.
    }
    command = [str(tools / "postgres"), "-D", str(data)]
    for name, value in options.items():
        command += ["-c", f"{name}={value}"]
    server = Server(command, log=folder / "log", environment=environment, user=SYSTEM_USER)
    return [server], f"postgresql://{host}:{port}/postgres?user={ROLE}"
