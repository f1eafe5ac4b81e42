"""Roles are read from the URIs of a certificate, and from nothing else."""

from __future__ import annotations

from typing import Any

import pytest

from qpidha.system.roles import PEER, is_role, not_for, role_names, roles_of


def test_only_verified_uris_are_roles() -> None:
    certificate: dict[str, Any] = {
        "subject": ((("commonName", "qpidha:operator"),), (("organizationalUnitName", "operator"),)),
        "subjectAltName": (
            ("DNS", "qpidha:viewer"),
            ("URI", "qpidha:peer"),
            ("URI", "spiffe://x/qpidha:operator"),
        ),
    }
    assert roles_of(certificate) == {"peer"}
    assert roles_of({}) == roles_of(None) == frozenset()


@pytest.mark.parametrize(
    ("uris", "roles"),
    [
        ((), set()),
        (("qpidha:peer", "qpidha:operator"), {"peer", "operator"}),
        (("QPIDHA:Peer",), {"peer"}),
        (("qpidha:", "qpidha:auditor", "qpidha:peer/a"), {"", "auditor", "peer/a"}),
        (("qpidha", "qpidhas:peer", "urn:qpidha:peer", " qpidha:peer"), set()),
    ],
)
def test_names_of_roles(uris: tuple[str, ...], roles: set[str]) -> None:
    """What is unknown is a role, too: who has only that may do nothing."""
    assert role_names(uris) == roles
    assert all(is_role(uri) for uri in uris) == (len(roles) == len(uris))


def test_the_words_say_what_is_there_and_what_is_needed() -> None:
    needed = "one for peer is needed, with the alternative name URI:qpidha:peer"
    assert not_for(PEER, ()) == f"has no role: {needed}"
    assert not_for(PEER, ("viewer", "operator")) == f"is for operator and viewer: {needed}"
