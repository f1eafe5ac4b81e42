"""Certificates with roles, from the authorities of the tests."""

from __future__ import annotations

from collections.abc import Iterable

import trustme
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, load_pem_private_key


def with_roles(authority: trustme.CA, certificate: bytes, roles: Iterable[str]) -> bytes:
    """The same certificate with URIs for these roles, signed anew, as PEM. A role with a colon is the whole URI."""
    found = x509.load_pem_x509_certificate(certificate)
    made = x509.CertificateBuilder(
        found.issuer,
        found.subject,
        found.public_key(),
        found.serial_number,
        found.not_valid_before_utc,
        found.not_valid_after_utc,
    )
    uris = [x509.UniformResourceIdentifier(role if ":" in role else f"qpidha:{role}") for role in roles]
    for extension in found.extensions:
        value = extension.value
        if isinstance(value, x509.SubjectAlternativeName):
            value = x509.SubjectAlternativeName([*value, *uris])
        made = made.add_extension(value, extension.critical)
    key = load_pem_private_key(authority.private_key_pem.bytes(), None)
    assert isinstance(key, EllipticCurvePrivateKey)
    return made.sign(key, SHA256()).public_bytes(Encoding.PEM)
