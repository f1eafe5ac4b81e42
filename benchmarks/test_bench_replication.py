"""Messages a second from a client process through the primary to two backups and back to the confirmation.

Run ``pytest benchmarks/test_bench_replication.py``; one line per case also says msg/s and processor time.
"""

from __future__ import annotations

import statistics

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from benchmarks.cluster import Brokers, PipelinedClient
from qpidha import Batch

CASES = [
    # durable, bytes per message, messages per batch, batches per round
    (False, 100, 1000, 600),
    (False, 1024, 250, 600),
    (True, 100, 1000, 300),
    (True, 1024, 250, 300),
]


@pytest.mark.parametrize(("durable", "size", "per_batch", "batches"), CASES)
def test_publish_to_two_backups(
    benchmark: BenchmarkFixture, durable: bool, size: int, per_batch: int, batches: int
) -> None:
    batch = Batch.pack([b"x" * size] * per_batch)
    rates: list[float] = []
    with Brokers(durable=durable) as brokers:
        client = PipelinedClient(brokers.ports[brokers.primary()])
        client.publish(batch, 20, window=16)  # Warm up.
        before = brokers.cpu_s()

        def work() -> None:
            rates.append(per_batch * batches / client.publish(batch, batches, window=16))

        benchmark.pedantic(work, rounds=3, iterations=1)
        cpu = (brokers.cpu_s() - before) / (len(rates) * per_batch * batches) * 1e6
        client.close()
    rate = statistics.median(rates)
    benchmark.extra_info.update(msg_s=round(rate), brokers_cpu_us_per_message=round(cpu, 3))
    store = "durable" if durable else "memory"
    print(f"\n{store:8} {size:5} B  {rate:12,.0f} msg/s  {cpu:6.3f} µs of brokers' cpu a message")


@pytest.mark.parametrize("durable", [False, True])
def test_one_message_at_a_time(benchmark: BenchmarkFixture, durable: bool) -> None:
    """Latency: publish one message of 100 B, wait for its confirmation."""
    batch = Batch.pack([b"x" * 100])
    with Brokers(durable=durable) as brokers:
        client = PipelinedClient(brokers.ports[brokers.primary()])
        benchmark.pedantic(
            client.publish, args=(batch, 1), kwargs={"window": 1}, rounds=500, warmup_rounds=50
        )
        client.close()
