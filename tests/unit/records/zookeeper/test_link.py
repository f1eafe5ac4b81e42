"""One connection to ZooKeeper, with a server that says nothing."""

from __future__ import annotations

import asyncio
import os

import pytest

from qpidha.errors import ForkedError
from qpidha.records import ZooKeeperRecordStore
from tests.support.harness import until


def test_a_forked_child_gives_up_the_connection() -> None:
    async def main() -> None:
        served = asyncio.Event()

        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            served.set()
            await reader.read()
            writer.close()

        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        store = ZooKeeperRecordStore([f"127.0.0.1:{port}"])
        reading = asyncio.ensure_future(store.read())
        await asyncio.wait_for(served.wait(), 30)
        link = store._requests._link
        assert link is not None
        # The server may have accepted before the thread that connected goes on.
        await until(lambda: link._socket is not None)
        held = set(link.forked())
        assert link._socket is not None and link._socket.fileno() in held
        assert all(os.fstat(fd) for fd in held)
        with pytest.raises(ForkedError, match="this record store belongs to the parent"):
            await store.live()
        with pytest.raises(ForkedError):
            await store.open_session("a", b"", ttl_s=1)
        await store.close()
        link._forked, link._end = False, None
        reading.cancel()
        await asyncio.gather(reading, return_exceptions=True)
        await link.close()
        server.close()

    asyncio.run(main())
