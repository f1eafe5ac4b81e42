"""The worker thread of the file record store: the result of a job whose caller was cancelled."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import threading
import time

import pytest

from qpidha.records.file.worker import Worker


def test_an_error_during_a_cancellation_is_not_logged_as_never_retrieved(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Both happen in one turn of the loop: the job fails, and the caller is cancelled before it reads the result."""
    begun, ends = threading.Event(), threading.Event()

    def job() -> None:
        begun.set()
        ends.wait(10)
        raise ZeroDivisionError

    async def main() -> None:
        worker = Worker("test")
        caller = asyncio.ensure_future(worker.run(job, None))
        await asyncio.sleep(0)
        assert begun.wait(10)
        ends.set()
        time.sleep(0.2)  # noqa: ASYNC251 - the thread posts its result while this turn blocks the loop.
        await asyncio.sleep(0)  # The result arrives, and wakes the caller's `wait` …
        caller.cancel()  # … which is cancelled before it reads the result.
        with contextlib.suppress(asyncio.CancelledError, ZeroDivisionError):
            await caller
        await worker.close()

    with caplog.at_level(logging.ERROR, "asyncio"):
        asyncio.run(main())
        gc.collect()
    assert caplog.text == ""
