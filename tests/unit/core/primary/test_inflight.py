"""How many chunks of a catch-up may be under way, and what counts as staged."""

from __future__ import annotations

import pytest

from qpidha import Settings
from qpidha.core.primary.inflight import InFlight
from qpidha.errors import RemoteProtocolError

SETTINGS = Settings(window_bytes_max=4000, plan_chunks_in_flight_max=4)


def test_it_is_full_with_as_many_chunks_or_bytes_as_the_settings_allow() -> None:
    flow = InFlight(SETTINGS)
    assert not flow.is_full
    flow.sent(999)
    assert not flow.is_full
    flow.sent(1)
    assert flow.is_full, "a quarter of the window"
    flow.progress(1)
    for _ in range(3):
        assert not flow.is_full
        flow.sent(1)
    assert flow.is_full, "four chunks"
    flow.wanted = 5
    assert not flow.is_full, "changes need more of them"


def test_a_staged_chunk_counts_with_at_least_its_share_of_the_window() -> None:
    flow = InFlight(SETTINGS)
    flow.sent(10)
    flow.sent(600)
    flow.progress(2)
    assert (flow.bytes, flow.staged_bytes, flow.chunk_min) == (0, 250 + 600, 250)


@pytest.mark.parametrize("chunks", [0, 3])
def test_a_backup_cannot_have_staged_fewer_than_before_or_more_than_were_sent(chunks: int) -> None:
    flow = InFlight(SETTINGS)
    flow.sent(1)
    flow.sent(1)
    flow.progress(1)
    with pytest.raises(RemoteProtocolError, match=f"Progress of {chunks} chunks, 2 were sent"):
        flow.progress(chunks)
