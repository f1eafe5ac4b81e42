"""The asyncio parts of a node for a broker that has no asyncio loop: record stores, sessions and promoters in a thread.

    Bridge       blocking calls to start and stop, requests and events in between
    LoopThread   an event loop in a thread, if a single adapter is all that you need
    ThreadBroker a `qpidha.broker.Broker` made of one whose methods are plain, for a node that threads use
    ask          performs one `Request` of the core at a record store, in a loop of your own

See ``docs/without-asyncio.md``.
"""

from qpidha.bridge.bridge import Bridge
from qpidha.bridge.events import Answered, BridgeEvent, Decided, Failed, LiveSeen, RecordSeen, Retrying
from qpidha.bridge.loopthread import LoopThread
from qpidha.bridge.requests import ask
from qpidha.bridge.threadbroker import PlainBroker, ThreadBroker

__all__ = [
    "Answered",
    "Bridge",
    "BridgeEvent",
    "Decided",
    "Failed",
    "LiveSeen",
    "LoopThread",
    "PlainBroker",
    "RecordSeen",
    "Retrying",
    "ThreadBroker",
    "ask",
]
