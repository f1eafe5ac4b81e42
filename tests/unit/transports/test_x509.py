"""What a node reads in its own certificate is what is in it; bytes that are none are refused."""

from __future__ import annotations

import ssl
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest

from qpidha.errors import SettingsError
from qpidha.transports.x509 import facts, read_facts
from tests.support.transports import Authority

NOW = datetime.now(timezone.utc)


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


@pytest.mark.parametrize("days", [-3, 0.5, 90, 15_000, 200_000])
def test_the_end_of_a_certificate_is_read(authority: Authority, days: float) -> None:
    """In years up to 2049 it is a UTCTime, later a GeneralizedTime."""
    before = min(NOW, NOW + timedelta(days=days)) - timedelta(days=2)
    certificate, _ = authority.issue("a", not_before=before, not_after=NOW + timedelta(days=days))
    found = read_facts(certificate)
    begin, end = found.not_before, found.not_after
    assert end == (NOW + timedelta(days=days)).replace(microsecond=0)
    assert begin == before.replace(microsecond=0)


def test_a_certificate_without_an_end_never_ends() -> None:
    """RFC 5280, 4.1.2.5: 99991231235959Z."""
    times = b"\x17\x0d200101000000Z" + b"\x18\x0f99991231235959Z"
    fields = b"\x02\x01\x01" + b"\x30\x00" * 2 + b"\x30" + bytes([len(times)]) + times
    tbs = b"\x30" + bytes([len(fields)]) + fields
    assert facts(b"\x30" + bytes([len(tbs)]) + tbs).not_after.year == 9999


@pytest.mark.parametrize("kept", [0, 1, 2, 3, 5, 20, 60, 100, 150])
def test_an_invalid_certificate_is_an_error(authority: Authority, kept: int) -> None:
    certificate, _ = authority.issue("a")
    whole = ssl.PEM_cert_to_DER_cert(certificate.read_text())
    with pytest.raises(ValueError, match=r"it is|it ends|its validity"):
        facts(whole[:kept])
    certificate.write_text("nothing")
    with pytest.raises(SettingsError, match=f"cannot use certificate {certificate}"):
        read_facts(certificate)


def test_its_uris_are_read(authority: Authority) -> None:
    """Other names are not, nor other extensions; and without any there are none."""
    certificate, _ = authority.issue("a", roles=("peer", "viewer"))
    assert read_facts(certificate).uris == ("qpidha:peer", "qpidha:viewer")
    certificate, _ = authority.issue("b")
    assert read_facts(certificate).uris == ()
