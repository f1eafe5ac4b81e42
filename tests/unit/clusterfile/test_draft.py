"""A new cluster file says what was drafted, whatever characters are in it."""

from __future__ import annotations

from pathlib import Path

from qpidha import Settings
from qpidha.clusterfile import ClusterFile
from qpidha.clusterfile.draft import Draft


def test_it_can_be_loaded(tmp_path: Path) -> None:
    draft = Draft(
        cluster='or"ders\\ \x7f\n€',
        nodes={"a": ["127.0.0.1:1"], "b.example": ["[::1]:2", "127.0.0.1:2"]},
        clients={"a": "127.0.0.1:3"},
        record="etcd://10.0.0.1/x",
        store='stores "of"/{node}',
        tls=True,
        roles_required=True,
        record_tls=True,
    )
    path = tmp_path / "qpidha.toml"
    path.write_text(draft.text())
    file = ClusterFile.load(path)
    assert file.name == draft.cluster
    assert {id: len(node.addresses) for id, node in file.nodes.items()} == {"a": 1, "b.example": 2}
    assert file.node("a").client_address == ("127.0.0.1", 3)
    assert file.node("b.example").store == tmp_path / 'stores "of"/b.example'
    assert file.tls_files == file.record_files
    assert file.tls_files["key"] == "certificates/{node}.key"
    assert file.settings == Settings() and file.roles_required


def test_certificates_of_ones_own_need_no_roles(tmp_path: Path) -> None:
    draft = Draft(
        cluster="x",
        nodes={"a": ["h:1"]},
        record="etcd://h/x",
        store="{node}",
        tls=True,
        roles_required=False,
        record_tls=True,
    )
    path = tmp_path / "qpidha.toml"
    path.write_text(draft.text())
    file = ClusterFile.load(path)
    assert file.tls_files and not file.roles_required
    assert "# roles_required = true" in draft.text()


def test_without_certificates(tmp_path: Path) -> None:
    draft = Draft(
        cluster="x",
        nodes={"a": ["h:1"]},
        record="record",
        store="{node}",
        tls=False,
        roles_required=False,
        record_tls=False,
    )
    path = tmp_path / "qpidha.toml"
    path.write_text(draft.text())
    file = ClusterFile.load(path)
    assert (file.tls_files, file.record_files, file.node("a").client_address) == ({}, {}, None)
