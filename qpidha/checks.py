"""Rules for values that come from outside: what is allowed, and an error that says so.

A rule is called with the name of an argument and the value that was given::

    MESSAGES = integer(1, 2**31 - 1)
    MESSAGES("messages_max", messages_max)

    ArgumentError: messages_max must be an integer from 1 to 2147483647, not '10' (str)

Rules never change a value, never raise anything but the error, and look at types before they compare, so that no
code of a caller's class runs. A bool is no number here, and neither are NaN and infinity.
"""

from __future__ import annotations

import inspect
import math
import reprlib
from collections.abc import Callable, Iterable
from types import FunctionType, MethodType
from typing import Any

from qpidha.errors import ArgumentError
from qpidha.types import NODE_ID_BYTES_MAX, QUEUE_KIND_BYTES_MAX, QUEUE_NAME_BYTES_MAX
from qpidha.wildcard import is_wildcard

SHOWN_CHARACTERS = 80
HOST_BYTES_MAX = 255
ADDRESSES_MAX = 8
"""Addresses of one node for the others."""
PORT_MAX = 65_535
FILE_NAME_BYTES_MAX = 255
PATH_BYTES_MAX = 4_000
"""Somewhat below what systems allow: we append names of our own."""
TIME_S_MIN = 0.001
TIME_S_MAX = 31_536_000.0
"""A year. A longer time was most likely given in milliseconds by mistake."""

Test = Callable[[Any], bool]
Hint = Callable[[Any], str]


def shown(value: object) -> str:
    """A value and its type for an error message: short whatever it is, and never raising."""
    try:
        text = _SHORT.repr(value)
    except Exception:  # noqa: BLE001 - the caller's repr failed, or an integer is too long for decimal digits.
        text = "a value"
    if len(text) > SHOWN_CHARACTERS:
        text = text[:SHOWN_CHARACTERS] + "…"
    return text if value is None else f"{text} ({type(value).__name__})"


_SHORT = reprlib.Repr()
_SHORT.maxstring = _SHORT.maxother = 60
_SHORT.maxlong = 40


class Rule:
    """What one argument may be."""

    __slots__ = ("_fits", "_hint", "allowed")

    def __init__(self, allowed: str, fits: Test, hint: Hint | None = None) -> None:
        """``fits`` must not raise; ``hint`` adds to the error what to write instead, or ""."""
        self.allowed = allowed
        self._fits = fits
        self._hint = hint

    def fits(self, value: object) -> bool:
        """Whether the value obeys the rule. Never raises."""
        return self._fits(value)

    def __call__(self, name: str, value: object, error: type[ArgumentError] = ArgumentError) -> None:
        """Raise the error unless the value is allowed."""
        if not self._fits(value):
            hint = self._hint(value) if self._hint else ""
            raise error(f"{name} must be {self.allowed}, not {shown(value)}{hint}")


# --- numbers and flags ---------------------------------------------------------------------------


def is_integer(value: object) -> bool:
    """Whether this is an int, and not a bool."""
    return isinstance(value, int) and not isinstance(value, bool)


class IntegerRule(Rule):
    """A rule of `integer`. An int passes with one look, because many calls check some."""

    __slots__ = ("_high", "_low")

    def __init__(self, low: int, high: int) -> None:
        def fits(value: Any) -> bool:
            return is_integer(value) and low <= int(value) <= high

        super().__init__(f"an integer from {low} to {high}", fits, _text_for("int"))
        self._low, self._high = low, high

    def __call__(self, name: str, value: object, error: type[ArgumentError] = ArgumentError) -> None:
        """See `Rule`."""
        if type(value) is not int or not self._low <= value <= self._high:
            super().__call__(name, value, error)


def integer(low: int, high: int) -> Rule:
    """A rule: an integer from ``low`` to ``high``, both included."""
    return IntegerRule(low, high)


def number(low: float, high: float) -> Rule:
    """A rule: a finite int or float from ``low`` to ``high``, both included."""

    def fits(value: Any) -> bool:
        if isinstance(value, float):
            return math.isfinite(value) and low <= value <= high
        return is_integer(value) and low <= int(value) <= high

    return Rule(f"a number from {low:.12g} to {high:.12g}", fits, _text_for("float"))


def _text_for(kind: str) -> Hint:
    def hint(value: object) -> str:
        return f"; convert text with {kind}(…)" if isinstance(value, (str, bytes)) else ""

    return hint


SCORE = integer(-(2**63), 2**63 - 1)
"""Eligibility for promotion: published as a number of msgpack."""
SECONDS = number(TIME_S_MIN, TIME_S_MAX)
SECONDS_OR_ZERO = number(0, TIME_S_MAX)
FLAG = Rule("True or False", lambda value: isinstance(value, bool))


# --- text ----------------------------------------------------------------------------------------


def text(bytes_min: int, bytes_max: int) -> Rule:
    """A rule: a str of ``bytes_min`` to ``bytes_max`` bytes in UTF-8, of any characters that can be encoded.

    One of a subclass, such as a member of a `StrEnum`, may be equal to another text and have another hash.
    """

    def fits(value: Any) -> bool:
        if type(value) is not str or len(value) > bytes_max:
            return False
        try:
            return bytes_min <= len(value.encode()) <= bytes_max
        except UnicodeEncodeError:
            return False

    def hint(value: object) -> str:
        if not isinstance(value, str):
            return "; decode bytes with .decode()" if isinstance(value, bytes) else ""
        if type(value) is not str:
            return "; give a plain str, such as the value of an enumeration"
        try:
            return f": it has {len(value.encode())} bytes"
        except UnicodeEncodeError:
            return ": it cannot be encoded as UTF-8"

    return Rule(f"text of {bytes_min} to {bytes_max} bytes in UTF-8", fits, hint)


NODE_ID = text(1, NODE_ID_BYTES_MAX)
QUEUE_NAME = text(1, QUEUE_NAME_BYTES_MAX)
QUEUE_KIND = text(0, QUEUE_KIND_BYTES_MAX)


def _is_path(value: Any) -> bool:
    try:
        path = value if isinstance(value, str) else value.__fspath__()
        raw = path.encode("utf-8", "surrogateescape")  # As names of files are decoded.
    except Exception:  # noqa: BLE001 - not a path, or code of the caller's class failed.
        return False
    if not isinstance(path, str) or not 0 < len(raw) <= PATH_BYTES_MAX or "\0" in path:
        return False
    return all(len(name) <= FILE_NAME_BYTES_MAX for name in raw.split(b"/"))


PATH = Rule("a path, as text or as a Path", lambda value: not isinstance(value, type) and _is_path(value))


def one_of(*choices: str) -> Rule:
    """A rule: one of these texts."""
    return Rule(
        " or ".join(map(repr, choices)), lambda value: isinstance(value, str) and str(value) in choices
    )


# --- objects -------------------------------------------------------------------------------------


class InstanceRule(Rule):
    """A rule of `instance_of`. Values of exactly these classes pass with one look, because every call checks some."""

    __slots__ = ("_classes",)

    def __init__(self, allowed: str, classes: tuple[type, ...], hint: str) -> None:
        super().__init__(allowed, lambda value: isinstance(value, classes), lambda _: hint)
        self._classes = frozenset(classes)

    def __call__(self, name: str, value: object, error: type[ArgumentError] = ArgumentError) -> None:
        """See `Rule`."""
        if type(value) not in self._classes:
            super().__call__(name, value, error)


def instance_of(*classes: type, what: str | None = None, hint: str = "") -> Rule:
    """A rule: an instance of one of these classes. The class itself is not allowed."""
    return InstanceRule(what or " or ".join(f"a {c.__name__}" for c in classes), classes, hint)


def optional(rule: Rule) -> Rule:
    """A rule: None, or what ``rule`` allows."""
    return Rule(f"None or {rule.allowed}", lambda value: value is None or rule.fits(value), rule._hint)


def one_or_more(rule: Rule, high: int) -> Rule:
    """A rule: what ``rule`` allows, or a list or tuple of 1 to ``high`` of it."""

    def fits(value: Any) -> bool:
        return rule.fits(value) or (
            isinstance(value, (list, tuple)) and 1 <= len(value) <= high and all(map(rule.fits, value))
        )

    return Rule(f"{rule.allowed}, or a list of 1 to {high} of them", fits, rule._hint)


def _is_plain(value: Any) -> bool:
    """Whether it can be called, and its result is not to be awaited. Many calls are given one, so few looks."""
    function = value.__func__ if type(value) is MethodType else value
    if (
        type(function) is FunctionType and not function.__dict__
    ):  # Nearly always: `inspect` has no mark on it.
        return not function.__code__.co_flags & inspect.CO_COROUTINE
    return callable(value) and not inspect.iscoroutinefunction(value)


CALLBACK = Rule(
    "a function, or anything that can be called",
    _is_plain,
    lambda value: "; without 'async': its result is not awaited" if callable(value) else "",
)

AWAITED = Rule("a function whose result is awaited, or anything that can be called", callable)


def implements(protocol: str, *, plain: Iterable[str] = (), waiting: Iterable[str] = ()) -> Rule:
    """An instance with these methods: ``waiting`` ones are coroutine functions, ``plain`` ones are not.

    Methods of a mock, of a compiled class or behind a decorator cannot always be told apart, so what is refused
    is a plain Python function where a coroutine function is needed, and the reverse.
    """
    wanted = [(name, False) for name in plain] + [(name, True) for name in waiting]

    def hint(value: object) -> str:
        if isinstance(value, type):
            return f"; give an instance: {value.__name__}(…)"
        return "".join(
            f"; {fault}" for name, coroutine in wanted if (fault := method_fault(value, name, coroutine))
        )

    def fits(value: object) -> bool:
        return not isinstance(value, type) and not any(
            method_fault(value, name, coroutine) for name, coroutine in wanted
        )

    return Rule(f"a {protocol} (see qpidha.interfaces)", fits, hint)


def method_fault(value: object, name: str, coroutine: bool) -> str:
    """What is wrong with a method that an object must have; "": nothing."""
    try:
        method = getattr(value, name, None)
    except Exception:  # noqa: BLE001 - a property of the caller's object failed.
        method = None
    if method is None or not callable(method):
        return f"it has no method {name}()"
    if coroutine and inspect.isroutine(method) and not _is_coroutine(method) and _is_python(method):
        return f"{name}() must be written with 'async def'"
    if not coroutine and _is_coroutine(method):
        return f"{name}() must be a plain method, without 'async'"
    return ""


def _is_coroutine(method: object) -> bool:
    return inspect.iscoroutinefunction(method)


def _is_python(method: Any) -> bool:
    """Whether it is a Python function that wraps no other: only then is it known whether it is a coroutine function."""
    function = inspect.unwrap(method)
    return inspect.isfunction(getattr(function, "__func__", function)) and function is method


# --- addresses -----------------------------------------------------------------------------------


def _is_address(value: object, port_min: int) -> bool:
    if not isinstance(value, tuple) or len(value) != 2:
        return False
    host, port = value
    return HOST.fits(host) and "\0" not in host and is_integer(port) and port_min <= port <= PORT_MAX


def _address_hint(value: object) -> str:
    if isinstance(value, str):
        return '; give host and port apart: ("host", 5671)'
    if isinstance(value, list):
        return "; give a tuple"
    if isinstance(value, tuple) and len(value) == 2 and isinstance(value[1], str):
        return "; convert the port with int(…)"
    return ""


HOST = text(0, HOST_BYTES_MAX)
ADDRESS = Rule(
    f"an address (host, port) with port from 0 to {PORT_MAX}",
    lambda value: _is_address(value, 0),
    _address_hint,
)
"""An address to listen on. With port 0 the system chooses a port."""
PAIR = Rule(
    "an address (host, port)",
    lambda value: (
        isinstance(value, tuple) and len(value) == 2 and isinstance(value[0], str) and is_integer(value[1])
    ),
    _address_hint,
)
DESTINATION = Rule(
    f"an address (host, port) that others can connect to: a name or an address of one machine, and a port from 1 "
    f"to {PORT_MAX}",
    lambda value: _is_address(value, 1) and not is_wildcard(value[0]),
    _address_hint,
)


def check_connect(address: object, on_link: object, timeout_s: object, expect: object) -> None:
    """The arguments of `qpidha.interfaces.Transport.connect`. Raises `ArgumentError`.

    Only types are checked. The address may be another node's mistake: the transport reports that no node answers there.
    """
    PAIR("address", address)
    CALLBACK("on_link", on_link)
    SECONDS_OR_ZERO("timeout_s", timeout_s)
    optional(NODE_ID)("expect", expect)
