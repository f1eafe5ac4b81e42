"""Roles in certificates: what the holder of one may do, besides the names that say who the holder is.

A role is a URI among the alternative names: ``qpidha:peer``, ``qpidha:operator`` or ``qpidha:viewer``. A certificate may
have several. One that names only roles that this version does not know has roles, and may do nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

SCHEME = "qpidha:"
PEER = "peer"
"""May open and accept links between nodes."""
OPERATOR = "operator"
"""May give commands on the HTTP port of a node."""
VIEWER = "viewer"
"""May read metrics, status and history there."""


def role_names(uris: Iterable[str]) -> frozenset[str]:
    """The roles among these URIs, in lower case."""
    return frozenset(uri[len(SCHEME) :].lower() for uri in uris if is_role(uri))


def is_role(uri: str) -> bool:
    """Whether a URI stands for a role, also for one that is not known: then it is no name of the holder."""
    return uri[: len(SCHEME)].lower() == SCHEME


def roles_of(certificate: Mapping[str, Any] | None) -> frozenset[str]:
    """The roles in ``SSLObject.getpeercert()``; none if nothing was verified."""
    names = (certificate or {}).get("subjectAltName", ())
    return role_names(value for kind, value in names if kind == "URI")


def not_for(role: str, found: Iterable[str]) -> str:
    """In words: what roles a certificate has, and how to get one that has this one."""
    named = " and ".join(sorted(found))
    has = f"is for {named}" if named else "has no role"
    return f"{has}: one for {role} is needed, with the alternative name URI:{SCHEME}{role}"
