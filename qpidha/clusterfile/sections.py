"""The tables of a cluster file, one function for each: ``[record]``, ``[nodes]``, ``[tls]`` and ``[settings]``."""

from __future__ import annotations

import os
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from qpidha.addresses import parse_address
from qpidha.checks import ADDRESSES_MAX, DESTINATION, FLAG, NODE_ID, PATH, Rule, integer, one_or_more, text
from qpidha.clusterfile.tables import Table, nearest
from qpidha.errors import ArgumentError, SettingsError
from qpidha.settings import RULES, Settings
from qpidha.types import Address, NodeId

NODE = "{node}"
"""In a path: the id of the node. So one file serves all machines."""

PATH_TEXT = Rule("a path", lambda value: isinstance(value, str) and PATH.fits(value))
ADDRESS_TEXT = text(1, 300)
ADDRESS_TEXTS = one_or_more(ADDRESS_TEXT, ADDRESSES_MAX)
PRIORITY = integer(-(2**31), 2**31 - 1)
FILE_KEYS = ("ca", "certificate", "key", "password_file")
"""Files that the record store reads. In a URL they are options of the same names."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ClusterNode:
    """One node of the file. Paths are absolute."""

    id: NodeId
    addresses: tuple[Address, ...]
    """Where the other nodes find it, in the order of preference."""
    listen: tuple[Address, ...] | None
    """Where it listens, if not there."""
    client_address: Address | None
    store: Path
    control: Path
    priority: int

    def is_here(self) -> bool:
        """Whether its store is on this machine. True also if that cannot be found out: then it is not elsewhere."""
        try:
            os.stat(self.store)
        except (FileNotFoundError, NotADirectoryError):
            return False
        except OSError:
            return True
        return True


def read_record(outer: Table) -> tuple[str, dict[str, str]]:
    """``[record]``: its URL or directory, and the files for it."""
    from qpidha.records.url import SCHEMES, is_url, parse

    table = outer.table("record", required=True)
    assert table is not None
    url: str = table.take("url", text(1, 4000))
    files = _files(table, FILE_KEYS)
    table.require_all_taken()
    if not is_url(url):
        if not PATH.fits(url):
            table.fail("url", f"it must be a directory, or a URL such as {next(iter(SCHEMES))}://…")
        if files:
            table.fail(next(iter(files)), "a record in a directory needs no certificates: remove this key")
        return url, files
    try:
        found = parse(url)
    except SettingsError as error:
        table.fail("url", str(error))
    if found.scheme not in SCHEMES:
        table.fail("url", f"there is no record store for {found.scheme}://{nearest(found.scheme, SCHEMES)}")
    for option in FILE_KEYS:
        if option in found.options:
            table.fail("url", f"write {option} as a key of [record]: there its path is relative to this file")
    return url, files


def read_tls(outer: Table) -> tuple[dict[str, str], bool]:
    """``[tls]``: the files of the links between nodes, none without the table; and whether certificates need a role."""
    table = outer.table("tls")
    if table is None:
        return {}, False
    files = _files(table, ("ca", "certificate", "key", "crl"))
    roles_required: bool = table.take("roles_required", FLAG, False)
    table.require_all_taken()
    for needed in ("ca", "certificate"):
        if needed not in files:
            table.fail(needed, "this key is missing: links need an authority and the node's certificate")
    return files, roles_required


def _files(table: Table, names: tuple[str, ...]) -> dict[str, str]:
    found = {name: table.take(name, PATH_TEXT, None) for name in names}
    return {name: given for name, given in found.items() if given is not None}


def read_settings(outer: Table) -> Settings:
    """``[settings]``: `Settings` with these values. The text "none" stands for None, which TOML does not have."""
    table = outer.table("settings")
    if table is None:
        return Settings()
    known = {field.name for field in fields(Settings)}
    given: dict[str, Any] = {}
    for name, value in table.values.items():
        if name not in known:
            table.fail(name, f"there is no such setting{nearest(name, known)}")
        given[name] = None if value == "none" and RULES[name].fits(None) else value
        if not RULES[name].fits(given[name]):
            table.fail(name, f"it must be {RULES[name].allowed}, not {value!r}")
    try:
        return Settings(**given)
    except SettingsError as error:  # Two of them contradict each other.
        table.fail("", str(error))


def read_nodes(outer: Table) -> dict[NodeId, ClusterNode]:
    """``[nodes]``: all nodes, in the order of the file."""
    table = outer.table("nodes", required=True)
    assert table is not None
    if not table.values:
        table.fail("", "there is no node: write [nodes.NAME] for each")
    nodes = {id: _node(table, id) for id in table.values}
    seen: dict[object, NodeId] = {}
    for node in nodes.values():
        client = [] if node.client_address is None else [(node.client_address, "client_address")]
        for what, key in (
            (node.store, "store"),
            *((address, "addresses") for address in node.addresses),
            *client,
        ):
            other = seen.setdefault(what, node.id)
            if key == "client_address" and what in node.addresses:
                table.fail(
                    f"{node.id}.{key}", "the node's own links use this address: give clients another port"
                )
            if other != node.id:
                hint = f"; write {NODE} in it for the node's id" if key == "store" else ""
                table.fail(f"{node.id}.{key}", f"node {other!r} has the same{hint}")
    return nodes


def _node(outer: Table, id: NodeId) -> ClusterNode:
    if not NODE_ID.fits(id) or "/" in id or id in (".", ".."):
        outer.fail(id, f"a node id must be {NODE_ID.allowed}, without a slash")
    table = outer.table(id, required=True)
    assert table is not None
    addresses = _addresses(table, "addresses")
    for address in addresses:
        if not DESTINATION.fits(address):
            table.fail(
                "addresses", f"others must be able to connect to it: {DESTINATION.allowed}; see also listen"
            )
    listen = _addresses(table, "listen") if "listen" in table.values else None
    client = table.take("client_address", ADDRESS_TEXT, None)
    store = _node_path(table, "store", id, table.take("store", PATH_TEXT))
    control = _node_path(table, "control", id, table.take("control", PATH_TEXT, str(store / "control.sock")))
    found = ClusterNode(
        id=id,
        addresses=addresses,
        listen=listen,
        client_address=None if client is None else _address(table, "client_address", client),
        store=store,
        control=control,
        priority=table.take("priority", PRIORITY, 0),
    )
    table.take("listen", ADDRESS_TEXTS, None)
    table.require_all_taken()
    return found


def _node_path(table: Table, key: str, id: NodeId, given: str) -> Path:
    found = table.path.parent / given.replace(NODE, id)
    if not PATH.fits(found):
        table.fail(key, f"it must be {PATH_TEXT.allowed}, not {str(found)!r}")
    return found


def _addresses(table: Table, key: str) -> tuple[Address, ...]:
    given = table.take(key, ADDRESS_TEXTS)
    return tuple(_address(table, key, each) for each in ([given] if isinstance(given, str) else given))


def _address(table: Table, key: str, given: str) -> Address:
    try:
        return parse_address(given)
    except ArgumentError as error:
        table.fail(key, str(error))
