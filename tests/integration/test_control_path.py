"""Two nodes configured with one control path: the running node stays reachable, the start of the other is refused."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from qpidha.errors import ControlSocketInUse
from qpidha.node.ask import ask
from tests.support.harness import World


@pytest.mark.parametrize("name", ["a", "b"])
def test_a_running_nodes_control_socket_is_never_taken(tmp_path: Path, name: str) -> None:
    """A second start of the same node, or of another node, is refused and leaves the first one untouched."""
    path = tmp_path / "control.sock"

    async def main() -> None:
        async with World() as world, World() as other:
            await world.start("a", control=path)
            with pytest.raises(ControlSocketInUse, match=f"control socket {path}"):
                await other.start(name, control=path)
            assert (await ask(path, "status"))["status"]["node"] == "a"
            await world.stop("a")
            assert not path.exists()
            await other.start("c", control=path)
            assert (await ask(path, "status"))["status"]["node"] == "c"

    asyncio.run(main())
