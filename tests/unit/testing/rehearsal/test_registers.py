"""What reads of one name may show: nothing older than what was known when they began, nothing that was not written."""

from __future__ import annotations

from qpidha.testing.rehearsal.registers import Register


def written(*values: bytes | None) -> Register:
    """A register with these values, all confirmed."""
    register = Register("key", "k")
    for value in values:
        register.write(value)
        register.done()
    return register


def test_a_read_shows_what_was_confirmed() -> None:
    register = written(b"1", b"2")
    assert register.read(register.known, b"2") is None
    wrong = register.read(register.known, b"1")
    assert wrong == "key k should be b'2', and is b'1'"
    assert register.read(register.known, None) is not None


def test_a_read_that_began_before_the_change_may_show_either() -> None:
    register = written(b"1")
    began = register.known
    register.write(b"2")
    register.done()
    assert register.read(began, b"1") is None
    assert register.read(began, b"2") is None
    assert register.known == 2, "an old answer does not make the new value unknown"


def test_a_change_without_an_answer_stays_once_it_was_read() -> None:
    register = written(b"1")
    register.write(b"2")
    assert not register.certain
    assert register.read(register.known, b"1") is None
    assert not register.certain
    assert register.read(register.known, b"2") is None
    assert register.certain
    assert register.read(register.known, b"1") is not None, "what was read has been undone"


def test_a_repeated_value_is_not_known_to_be_the_newer_one() -> None:
    register = written(b"1")
    register.write(b"1")
    assert register.read(register.known, b"1") is None
    assert not register.certain


def test_a_refused_change_is_never_read() -> None:
    register = written(b"1")
    register.write(b"2")
    assert register.refused() is None
    assert register.certain
    assert register.read(register.known, b"2") is not None
    register.write(b"3")
    assert register.read(register.known, b"3") is None
    assert register.refused() == "S2: the change of key k to b'3' was refused, and it was read"
