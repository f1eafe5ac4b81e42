"""The path of a control socket: a socket that answers is kept, and one that does not answer is replaced."""

from __future__ import annotations

import os
import re
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from qpidha.errors import ControlSocketInUse
from qpidha.node.ask import ShortPath
from qpidha.node.socketpath import SocketPath


@contextmanager
def listening(path: Path) -> Iterator[socket.socket]:
    """A node that answers on this path, as a version without the lock file did."""
    with socket.socket(socket.AF_UNIX) as server:
        with ShortPath(path) as short:
            server.bind(short)
        server.listen(1)
        yield server


def serve(held: SocketPath, path: Path) -> socket.socket:
    held.take()
    server = socket.socket(socket.AF_UNIX)
    with ShortPath(path) as short:
        server.bind(short)
    server.listen(1)
    held.bound()
    return server


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / ("d" * 120) / "control.sock"


def test_a_second_node_is_refused_and_told_who_has_the_path(path: Path) -> None:
    first, second = SocketPath(path), SocketPath(path)
    with serve(first, path):
        inode = path.lstat().st_ino
        assert path.lstat().st_mode & 0o777 == 0o600
        for _ in range(2):
            with pytest.raises(ControlSocketInUse, match=f"process {os.getpid()} .*another path as control"):
                second.take()
            second.release()
            assert path.lstat().st_ino == inode
    first.release()
    assert not path.exists()
    second.take()
    second.release()


def test_the_socket_alone_keeps_a_second_node_away(path: Path) -> None:
    """Its lock file was removed, or it is of a version that had none."""
    path.parent.mkdir()
    with listening(path):
        with pytest.raises(ControlSocketInUse, match=f"process {os.getpid()} answers"):
            SocketPath(path).take()
        with socket.socket(socket.AF_UNIX) as client, ShortPath(path) as short:
            client.connect(short)


def test_a_socket_that_takes_no_more_connections_is_in_use(path: Path) -> None:
    """Its node is stopped or busy, so waiting connections are not accepted."""
    path.parent.mkdir()
    with listening(path) as server:
        server.listen(0)
        waiting = [socket.socket(socket.AF_UNIX) for _ in range(4)]
        full = False
        for each in waiting:
            each.setblocking(False)
            try:
                with ShortPath(path) as short:
                    each.connect(short)
            except BlockingIOError:
                full = True
        assert full
        with pytest.raises(ControlSocketInUse, match="another process answers"):
            SocketPath(path).take()
        for each in waiting:
            each.close()
        assert path.exists()


def test_the_socket_that_a_killed_node_left_is_replaced(path: Path) -> None:
    path.parent.mkdir()
    program = (
        "import os,signal,socket,sys\nfrom pathlib import Path\n"
        "from qpidha.node.ask import ShortPath\nfrom qpidha.node.socketpath import SocketPath\n"
        "path=Path(sys.argv[1])\nheld=SocketPath(path)\nheld.take()\ns=socket.socket(socket.AF_UNIX)\n"
        "with ShortPath(path) as short: s.bind(short)\ns.listen(1)\nheld.bound()\nos.kill(os.getpid(), signal.SIGKILL)"
    )
    subprocess.run([sys.executable, "-c", program, str(path)], check=False, timeout=60)
    assert path.is_socket()
    held = SocketPath(path)
    with serve(held, path):
        assert path.is_socket()
    held.release()
    assert not path.exists()


def test_only_the_own_socket_is_removed(path: Path) -> None:
    """If another process removed our socket and made a new one, the new one stays."""
    held = SocketPath(path)
    with serve(held, path):
        path.unlink()
        with listening(path):
            held.release()
            assert path.is_socket()
    held.release()  # May be called twice.
    assert path.is_socket()


@pytest.mark.parametrize("kind", ["file", "directory", "link"])
def test_what_is_not_a_socket_is_left_alone(path: Path, kind: str) -> None:
    path.parent.mkdir()
    if kind == "file":
        path.write_text("precious")
    elif kind == "directory":
        path.mkdir()
    else:
        path.symlink_to("elsewhere")
    held = SocketPath(path)
    with pytest.raises(ControlSocketInUse, match=re.escape(f"{path} exists and is not a socket")):
        held.take()
    assert os.path.lexists(path)
    if kind == "file":
        assert path.read_text() == "precious"
    assert held.lock_fd < 0
