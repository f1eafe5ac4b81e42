"""`run_node`: one node as the whole work of a process, from its start to its end."""

from __future__ import annotations

import asyncio
import signal
import sys

from qpidha.checks import instance_of
from qpidha.errors import NodeStopped
from qpidha.node import Node
from qpidha.service.service import HAND_OVER_S, Service

NODE = instance_of(Node)
FLAG = instance_of(bool)
SIGNALS = (signal.SIGTERM, signal.SIGINT)


async def run_node(node: Node, *, until_eof: bool = False, hand_over_s: float = HAND_OVER_S) -> None:
    """Start a node, and stop it at SIGTERM or SIGINT, after it has handed over: the work of a process that has one node.

    Meanwhile the service manager is told (`Service`). At the end the record store of the node is closed, too. Call it in
    the main thread. Open before it what the node needs, and close that afterwards.

    Args:
        node: It may not be started yet.
        until_eof: Stop also when standard input is closed: for a process that must not outlive the one that started it.
        hand_over_s: How long another node may take to take over.

    Raises:
        qpidha.errors.NodeStopped: The node has stopped because of an error. End the process with an error, so that the
            service manager starts it again.
        ArgumentError: This is no node, or a wrong argument.
        StoreError, ClusterError, OSError, LocalProtocolError: As for `Node.start`.
    """
    NODE("node", node)
    FLAG("until_eof", until_eof)
    service, stopping = Service(node, hand_over_s=hand_over_s), asyncio.Event()
    _listen(stopping, until_eof)
    try:
        async with service:
            await node.start()
            ended = asyncio.ensure_future(node.wait_stopped())
            asked = asyncio.ensure_future(stopping.wait())
            await asyncio.wait({ended, asked}, return_when=asyncio.FIRST_COMPLETED)
            asked.cancel()
            await service.leave()
            await node.stop()
    finally:
        await node.stop()
        await node._parts.records.close()
        _ignore(until_eof)
    stopped = await ended
    if stopped.error is not None:
        raise NodeStopped(f"node {node.id} has stopped: {stopped.reason}") from stopped.error


def _listen(stopping: asyncio.Event, until_eof: bool) -> None:
    loop = asyncio.get_running_loop()
    for number in SIGNALS:
        loop.add_signal_handler(number, stopping.set)
    if until_eof:
        loop.add_reader(sys.stdin.fileno(), stopping.set)


def _ignore(until_eof: bool) -> None:
    loop = asyncio.get_running_loop()
    for number in SIGNALS:
        loop.remove_signal_handler(number)
    if until_eof:
        loop.remove_reader(sys.stdin.fileno())
