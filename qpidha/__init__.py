"""High availability for message brokers: hot-standby replication that loses no acknowledged message.

A broker embeds a `Node`, hands it a store, a transport and a record store, and works with its queues::

    node = Node("a", broker=my_broker, store=SqliteStore(path), transport=TcpTransport(),
                records=FileRecordStore(shared), promoter=PriorityPromoter())
    await node.start()
    ...
    receipt = await node.queue("orders").enqueue(b"...")     # every member has it on disk

Without asyncio: `qpidha.core`, `qpidha.driver` and `qpidha.bridge`. See ``docs/without-asyncio.md``.
"""

from qpidha import compiled as compiled  # Before all others: it says which of them are compiled.
from qpidha.core.explanation import Explanation, Verdict
from qpidha.core.unconfirmed import Unconfirmed
from qpidha.errors import (
    ArgumentError,
    BackupTooOld,
    CallerError,
    CallTimeout,
    ClusterError,
    HandOverRefused,
    InDoubt,
    MessagesGone,
    NotEnoughMembers,
    NotPrimary,
    ObjectMismatch,
    OperationError,
    OpTimeout,
    PeerError,
    PromotionRefused,
    QpidhaError,
    QueueMismatch,
    SequenceGap,
    SettingsError,
    StaleHandle,
    StoreError,
    TooManyProducers,
    UnknownProducer,
    UnknownQueue,
    WrongThread,
)
from qpidha.node import (
    Answers,
    Configuration,
    NewQueue,
    Node,
    NodeStatus,
    Op,
    Producer,
    ProducerInfo,
    ProducerOp,
    Queue,
    SyncConfiguration,
    SyncNode,
    SyncOp,
    SyncQueue,
    SyncTable,
    SyncTransaction,
    Table,
    Transaction,
    one_change,
)
from qpidha.seq import SequenceSet
from qpidha.settings import Settings
from qpidha.types import Discarded, Fate, Level, ProducerSequence, Receipt, Role, Settle, Stopped
from qpidha.wire.batch import Batch, Landing

__version__ = "0.1.0"

__all__ = [
    "Answers",
    "ArgumentError",
    "BackupTooOld",
    "Batch",
    "CallTimeout",
    "CallerError",
    "ClusterError",
    "Configuration",
    "Discarded",
    "Explanation",
    "Fate",
    "HandOverRefused",
    "InDoubt",
    "Landing",
    "Level",
    "MessagesGone",
    "NewQueue",
    "Node",
    "NodeStatus",
    "NotEnoughMembers",
    "NotPrimary",
    "ObjectMismatch",
    "Op",
    "OpTimeout",
    "OperationError",
    "PeerError",
    "Producer",
    "ProducerInfo",
    "ProducerOp",
    "ProducerSequence",
    "PromotionRefused",
    "QpidhaError",
    "Queue",
    "QueueMismatch",
    "Receipt",
    "Role",
    "SequenceGap",
    "SequenceSet",
    "Settings",
    "SettingsError",
    "Settle",
    "StaleHandle",
    "Stopped",
    "StoreError",
    "SyncConfiguration",
    "SyncNode",
    "SyncOp",
    "SyncQueue",
    "SyncTable",
    "SyncTransaction",
    "Table",
    "TooManyProducers",
    "Transaction",
    "Unconfirmed",
    "UnknownProducer",
    "UnknownQueue",
    "Verdict",
    "WrongThread",
    "__version__",
    "one_change",
]
