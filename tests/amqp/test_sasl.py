"""Who a client is: the exchange byte by byte, without a network. `test_access` has real clients."""

from __future__ import annotations

from pathlib import Path

import pytest
from amqp_broker.codec import decode, described, listed, symbol
from amqp_broker.sasl import (
    AMQP_HEADER,
    FRAME_BYTES_MAX,
    SASL_HEADER,
    Sasl,
    SaslError,
    Users,
    UsersError,
    frame,
    line_of,
)


def init(mechanism: str, response: bytes = b"") -> bytes:
    return frame(described(0x41, listed(symbol(mechanism), b"\xa0" + bytes([len(response)]) + response)))


@pytest.fixture
def users(tmp_path: Path) -> Users:
    path = tmp_path / "users"
    path.write_text(line_of("ada", "engine", "0f") + "\n" + line_of("bob", "builder", "f0") + "\n")
    return Users(path)


def outcome(sasl: Sasl, data: bytes) -> tuple[int, bytes]:
    answer, rest = sasl.received(data)
    value, _ = decode(answer, answer.rindex(b"\x00\x53\x44"))
    return value.value[0], rest


@pytest.mark.parametrize(
    ("response", "code"),
    [(b"\0ada\0engine", 0), (b"\0ada\0builder", 1), (b"\0eve\0engine", 1), (b"nonsense", 1), (b"\0ada\0", 1)],
)
def test_plain(users: Users, response: bytes, code: int) -> None:
    sasl = Sasl(users, anonymous=False, certificate_name=None)
    assert sasl.mechanisms == ["PLAIN"]
    assert outcome(sasl, SASL_HEADER + init("PLAIN", response) + AMQP_HEADER) == (code, AMQP_HEADER)
    assert (sasl.failed, sasl.user) == (code != 0, "ada" if code == 0 else None)


@pytest.mark.parametrize("line", ["ada:0:ff", "ada:xyz:00", "ada", "ada:0f:" + "é" * 64, "ada::"])
def test_a_line_of_another_form_is_no_user(tmp_path: Path, line: str) -> None:
    path = tmp_path / "users"
    path.write_text(f"{line}\n{line_of('bob', 'builder', 'f0')}\n", encoding="utf-8")
    assert not Users(path).check("ada", "engine")
    assert Users(path).check("bob", "builder")


def test_a_file_that_cannot_be_read_is_an_error_that_names_it(tmp_path: Path) -> None:
    path = tmp_path / "users"
    with pytest.raises(UsersError, match=f"{path} cannot be read: No such file"):
        Users(path)
    path.write_bytes(b"\xff\xfe")
    with pytest.raises(UsersError, match="no text in UTF-8"):
        Users(path)
    path.write_text("")
    users = Users(path)
    path.unlink()
    with pytest.raises(UsersError, match="cannot be read"):
        users.check("ada", "engine")


def test_a_mechanism_that_was_not_offered_is_refused(users: Users) -> None:
    for mechanism in ("ANONYMOUS", "EXTERNAL", "OTHER"):
        sasl = Sasl(users, anonymous=False, certificate_name=None)
        assert outcome(sasl, SASL_HEADER + init(mechanism))[0] == 1
        assert sasl.failed


def test_external_is_the_name_in_the_certificate() -> None:
    sasl = Sasl(Users(), anonymous=True, certificate_name="ada")
    assert sasl.mechanisms == ["EXTERNAL", "ANONYMOUS"]
    assert outcome(sasl, SASL_HEADER + init("EXTERNAL", b"somebody else"))[0] == 0
    assert sasl.user == "ada"


def test_bytes_may_come_one_by_one() -> None:
    sasl = Sasl(Users(), anonymous=True, certificate_name=None)
    data, rest = SASL_HEADER + init("ANONYMOUS") + AMQP_HEADER, b""
    for n in range(len(data)):
        if sasl.done:
            rest += data[n : n + 1]
        else:
            rest += sasl.received(data[n : n + 1])[1]
    assert sasl.done and not sasl.failed and rest == AMQP_HEADER


def test_without_sasl_only_where_anonymous_is_permitted() -> None:
    sasl = Sasl(Users(), anonymous=True, certificate_name=None)
    assert sasl.received(AMQP_HEADER) == (b"", AMQP_HEADER)
    strict = Sasl(Users(), anonymous=False, certificate_name="x")
    assert strict.received(AMQP_HEADER) == (SASL_HEADER, b"") and strict.failed


def test_what_is_no_sasl_ends_the_connection() -> None:
    for data in (b"\xff" * 8, (FRAME_BYTES_MAX + 1).to_bytes(4, "big") + b"\x02\x01\0\0", frame(b"\xff\xff")):
        sasl = Sasl(Users(), anonymous=True, certificate_name=None)
        sasl.received(SASL_HEADER)
        with pytest.raises(SaslError):
            sasl.received(data)
