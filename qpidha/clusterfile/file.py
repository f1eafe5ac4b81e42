"""`ClusterFile`: the cluster file as values, and the parts of a `Node` that are made from it."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypedDict
from urllib.parse import quote, urlencode

from qpidha.checks import NODE_ID, PATH, one_of, text
from qpidha.clusterfile.errors import ClusterFileError
from qpidha.clusterfile.sections import NODE, ClusterNode, read_nodes, read_record, read_settings, read_tls
from qpidha.clusterfile.tables import nearest, read_table
from qpidha.interfaces import MessageStore, Promoter, RecordStore, Transport
from qpidha.settings import Settings
from qpidha.types import Address, NodeId

VARIABLE = "QPIDHA_CLUSTER"
"""The environment variable with the name of the cluster file."""
PLACES = (Path("qpidha.toml"), Path("/etc/qpidha/qpidha.toml"))
"""Where it is looked for, if neither an option nor the variable names it."""
NAME = text(1, 200)


class NodeArguments(TypedDict):
    """Arguments of `qpidha.Node`: all but its id and the broker."""

    store: MessageStore
    transport: Transport
    records: RecordStore
    listen: list[Address]
    advertise: list[Address] | None
    client_address: Address | None
    promoter: Promoter
    settings: Settings
    control: Path


@dataclass(frozen=True, slots=True, kw_only=True)
class ClusterFile:
    """A cluster file that was read and checked. The files that it names are read by `arguments` and `records`."""

    path: Path
    name: str
    nodes: Mapping[NodeId, ClusterNode]
    settings: Settings
    promoter: str
    record_url: str
    record_files: Mapping[str, str]
    tls_files: Mapping[str, str]
    roles_required: bool
    """Whether links refuse certificates without a role."""

    @classmethod
    def load(cls, path: str | Path) -> ClusterFile:
        """Read a cluster file. Blocks while the disk does; costs a millisecond.

        Raises:
            ArgumentError: This is no path.
            ClusterFileError: It cannot be read, is no TOML, or has a wrong key or value. The message names the file, the
                key, and what is allowed.
        """
        PATH("path", path)
        table = read_table(Path(path).absolute())
        name = table.take("cluster", NAME)
        promoter = table.take("promoter", one_of("priority", "operator"), "priority")
        url, record_files = read_record(table)
        nodes = read_nodes(table)
        tls_files, roles_required = read_tls(table)
        settings = read_settings(table)
        table.require_all_taken()
        return cls(
            path=table.path,
            name=name,
            nodes=nodes,
            settings=settings,
            promoter=promoter,
            record_url=url,
            record_files=record_files,
            tls_files=tls_files,
            roles_required=roles_required,
        )

    def node(self, id: NodeId) -> ClusterNode:
        """A node of the file. Raises `ClusterFileError` if there is none with this id."""
        NODE_ID("node id", id)
        found = self.nodes.get(id)
        if found is None:
            raise ClusterFileError(
                f"{self.path}: nodes: there is no node {id!r}{nearest(id, self.nodes)}",
                path=str(self.path),
                key="nodes",
            )
        return found

    def client_address(self, id: NodeId) -> Address:
        """Where clients connect to a node. Raises `ClusterFileError` if there is no such node, or no address in it."""
        address = self.node(id).client_address
        if address is None:
            key = f"nodes.{id}"
            raise ClusterFileError(f"{self.path}: {key} has no client_address", path=str(self.path), key=key)
        return address

    def arguments(self, id: NodeId) -> NodeArguments:
        """The arguments of `Node` for one node, with parts that are new at each call. Nothing is opened or connected.

            file = ClusterFile.load("/etc/qpidha/qpidha.toml")
            node = Node("a", broker=broker, **file.arguments("a"))

        Raises:
            ClusterFileError: There is no such node.
            SettingsError: A certificate or key cannot be used, or the extra of the record's engine is not installed.
        """
        from qpidha.promoters import OperatorPromoter, PriorityPromoter
        from qpidha.stores import SqliteStore
        from qpidha.transports import TcpTransport

        node, tls = self.node(id), self.tls_paths(id)
        return {
            "store": SqliteStore(node.store),
            "transport": TcpTransport.with_certificates(**tls, roles_required=self.roles_required)
            if tls
            else TcpTransport(),
            "records": self.records(id),
            "listen": list(node.listen or node.addresses),
            "advertise": None if node.listen is None else list(node.addresses),
            "client_address": node.client_address,
            "promoter": PriorityPromoter(node.priority)
            if self.promoter == "priority"
            else OperatorPromoter(),
            "settings": self.settings,
            "control": node.control,
        }

    def records(self, id: NodeId | None = None) -> RecordStore:
        """The record store, with the certificate of this node. None: of the first node whose key is on this machine.

        Raises:
            ClusterFileError: There is no such node.
            SettingsError: A file or an option cannot be used, or the extra of the engine is not installed.
        """
        from qpidha.records import open_records

        return open_records(self.record_place(id))

    def tls_paths(self, id: NodeId) -> dict[str, Path]:
        """The files of a node's links, by key of ``[tls]``: for an HTTP port with the same certificate; or none."""
        return self._paths(self.tls_files, self.node(id).id)

    def record_place(self, id: NodeId | None = None) -> Path | str:
        """What `records` opens: a directory, or a URL with the files as options. Raises `ClusterFileError`."""
        from qpidha.records.url import AS_FILE_NAMES, is_url

        if not is_url(self.record_url):
            return self.path.parent / self.record_url
        found = self._paths(self.record_files, self._with_key() if id is None else self.node(id).id)
        joint = "&" if "?" in self.record_url else "?"
        files = {name: str(path) for name, path in found.items()}
        options = urlencode(files, quote_via=quote, safe="/", errors=AS_FILE_NAMES)
        return f"{self.record_url}{joint}{options}" if options else self.record_url

    def _with_key(self) -> NodeId:
        for id in self.nodes:
            paths = self._paths(self.record_files, id)
            if all(os.path.exists(path) for path in paths.values()):
                return id
        return next(iter(self.nodes))

    def _paths(self, files: Mapping[str, str], id: NodeId) -> dict[str, Path]:
        return {name: self.path.parent / given.replace(NODE, id) for name, given in files.items()}


def find_cluster_file(given: str | Path | None = None) -> ClusterFile | None:
    """The cluster file of this process. None: there is none in any of these places.

    It is the file that was given; else the one that the environment variable ``QPIDHA_CLUSTER`` names; else
    ``qpidha.toml`` in the working directory; else ``/etc/qpidha/qpidha.toml``.

    Raises:
        ArgumentError: What was given is no path.
        ClusterFileError: It cannot be used. The other places are not looked at then.
    """
    if given is not None:
        return ClusterFile.load(given)
    named = os.environ.get(VARIABLE)
    if named:
        try:
            return ClusterFile.load(named)
        except ClusterFileError as error:
            raise ClusterFileError(
                f"{error} (the environment variable {VARIABLE} names this file)",
                path=error.path,
                key=error.key,
            ) from error
    return next((ClusterFile.load(place) for place in PLACES if place.exists()), None)
