"""One line of JSON for each record, whatever is in it: every event with its fields, an exception, text from outside."""

from __future__ import annotations

import ast
import asyncio
import dataclasses
import inspect
import io
import json
import logging
import os
import sys
import typing
from collections.abc import Iterator
from enum import Enum
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from uuid import UUID

import pytest

from qpidha import Settings, logs
from qpidha.errors import ArgumentError, StoreFailed
from qpidha.events import NodeEvent, NodeFailing, RoleEntered, Trouble
from qpidha.logs import JsonFormatter, RateLimit, configure
from qpidha.node.runtime import Runtime
from qpidha.types import Role
from tests.docs.test_events_page import kinds

WILD = 'x\n{"level": "error"}\x1b[2J\u2028'
HARMFUL = f"{WILD}\udcff"


@pytest.fixture
def log() -> Iterator[io.StringIO]:
    """What `configure` sends to a stream; the loggers are as they were afterwards."""
    root = logging.getLogger()
    before = root.handlers[:], root.level
    root.handlers = []
    stream = io.StringIO()
    configure("json", node="default", stream=stream)
    yield stream
    root.handlers, root.level = before


def lines(log: io.StringIO) -> list[dict[str, Any]]:
    whole = log.getvalue()
    assert whole.isascii() and whole.endswith("\n")
    return [json.loads(line) for line in whole.splitlines()]


def sample(kind: Any) -> Any:
    """A value of a field's type; texts are harmful ones."""
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin is tuple:
        return tuple(sample(each) for each in arguments if each is not Ellipsis)
    if origin in (frozenset, set):
        return origin([sample(arguments[0])])
    if arguments:  # A union.
        return sample(arguments[0])
    if isinstance(kind, type) and issubclass(kind, Enum):
        return next(iter(kind))
    values: dict[Any, Any] = {
        str: HARMFUL,
        int: 2**32,
        float: 1.5,
        bool: True,
        UUID: UUID(int=1),
        BaseException: StoreFailed(HARMFUL),
    }
    return values[kind]


def made(kind: type[NodeEvent]) -> NodeEvent:
    return kind(*[sample(type_of(kind, field)) for field in dataclasses.fields(kind)])


def type_of(kind: type[NodeEvent], field: dataclasses.Field[object]) -> object:
    """The type of one field. Not of the whole class: Python 3.10 does not resolve a plain ``ClassVar``."""
    owner = next(one for one in kind.__mro__ if field.name in inspect.get_annotations(one))
    alone = SimpleNamespace(__annotations__={field.name: field.type})
    return typing.get_type_hints(alone, vars(sys.modules[owner.__module__]))[field.name]


@pytest.mark.parametrize("kind", kinds(), ids=lambda kind: kind.__name__)
def test_every_event_is_one_line_with_its_fields(kind: type[NodeEvent], log: io.StringIO) -> None:
    event = made(kind)
    runtime = Runtime("a", Settings(), None)
    if isinstance(event, Trouble):
        runtime.troubles.report(event)
    else:
        runtime.tell(event)
    (line,) = lines(log)
    keys = [
        "time",
        "level",
        "logger",
        "node",
        "message",
        "event",
        *["cause"] * isinstance(event, Trouble),
        "fields",
    ]
    assert list(line) == keys
    assert (line["logger"], line["node"], line["event"]) == ("qpidha", "a", kind.name)
    assert line["level"] == kind.level.name.lower()
    assert list(line["fields"]) == [field.name for field in dataclasses.fields(kind)]
    assert line["message"].startswith("node a: ") and line["message"].isprintable()


def test_the_line_of_a_role(log: io.StringIO) -> None:
    Runtime("a", Settings(), None).tell(RoleEntered(Role.ACTIVE, 3))
    (line,) = lines(log)
    assert line["fields"] == {"role": "active", "generation": 3}
    assert line["message"] == "node a: role: active, generation 3"


def fail() -> None:
    raise StoreFailed(WILD)  # pytest keeps a copy of the traceback, which must be valid text.


def test_an_exception_is_one_line(log: io.StringIO) -> None:
    try:
        fail()
    except StoreFailed:
        logging.getLogger("broker").exception("it failed")
    assert log.getvalue().count("\n") == 1
    (line,) = lines(log)
    assert (line["node"], line["level"], line["message"]) == ("default", "error", "it failed")
    error = line["error"]
    assert error["type"] == "StoreFailed" and error["text"] == str(StoreFailed(WILD))
    assert error["traceback"].startswith("Traceback") and "test_logs.py" in error["traceback"]


def test_an_error_in_a_field(log: io.StringIO) -> None:
    Runtime("a", Settings(), None).tell(NodeFailing(ValueError("boom")))
    assert lines(log)[0]["fields"] == {"error": "ValueError: boom"}


def test_time_is_utc_and_exact() -> None:
    record = logging.LogRecord("x", logging.INFO, "", 0, "said %d", (7,), None)
    record.created = 1_700_000_000.000001
    line = json.loads(JsonFormatter().format(record))
    assert line == {"time": "2023-11-14T22:13:20.000001Z", "level": "info", "logger": "x", "node": None,
                    "message": "said 7"}  # fmt: skip


class Odd:
    def __repr__(self) -> str:
        return "odd"


@pytest.mark.parametrize(
    ("value", "shown"),
    [(float("nan"), None), (b"\xff", "b'\\xff'"), ({1: (Role.READY,)}, {"1": ["ready"]}), ({2, 1}, [1, 2]),
     (UUID(int=1), str(UUID(int=1))), (Path("/x"), "/x"), (Odd(), "odd"), ("x" * 5000, "x" * 4000 + "…"), (True, True)],
)  # fmt: skip
def test_every_value_has_a_form(value: object, shown: object) -> None:
    event = BrokerSaid(value)
    record = logging.LogRecord("x", logging.INFO, "", 0, "", (), None)
    record.event = event
    assert json.loads(JsonFormatter().format(record))["fields"] == {"value": shown}


class Broken:
    def __repr__(self) -> str:
        raise ValueError("no text")


@pytest.mark.parametrize(
    ("node", "shown"),
    [("b", "b"), (None, None), (7, 7), (Odd(), "odd"), ({1: {2}}, {"1": [2]}), (HARMFUL, f"{WILD}\\udcff")],
)
def test_a_record_of_any_library_may_have_a_node_of_its_own(node: object, shown: object) -> None:
    record = logging.LogRecord("x", logging.INFO, "", 0, "said", (), None)
    record.node = node
    assert json.loads(JsonFormatter("a").format(record))["node"] == shown


def test_a_value_that_cannot_say_what_it_is() -> None:
    record = logging.LogRecord("x", logging.INFO, "", 0, "said", (), None)
    record.node = Broken()
    assert "Broken object at" in json.loads(JsonFormatter("a").format(record))["node"]


def test_a_path_that_is_not_utf_8_is_escaped_wherever_it_is(tmp_path: Path) -> None:
    """No reader of JSON must take half a surrogate pair."""
    odd = tmp_path / os.fsdecode(b"d\xff")
    try:
        odd.read_bytes()
    except OSError:
        record = logging.LogRecord("x", logging.ERROR, "", 0, "cannot read %s", (odd,), sys.exc_info())
    record.event = BrokerSaid([odd, str(odd), {str(odd): 1}])
    line = json.loads(JsonFormatter().format(record))
    shown = f"{tmp_path}/d\\udcff"
    assert line["message"] == f"cannot read {shown}"
    assert line["fields"]["value"] == [shown, shown, {shown: 1}]
    json.dumps(line, ensure_ascii=False).encode()


@dataclasses.dataclass(frozen=True, slots=True)
class BrokerSaid(NodeEvent):
    name: typing.ClassVar = "said"
    value: object


def test_lines_of_one_kind_are_limited_and_counted() -> None:
    now = 0.0
    limit = RateLimit(3, 10.0, lambda: now)

    def said(template: str, **extra: Any) -> str | None:
        record = logging.LogRecord("broker", logging.WARNING, "", 0, template, (7,), None)
        vars(record).update(extra)
        return record.getMessage() if limit.filter(record) else None

    found = [said("client %d dropped") for _ in range(5)]
    assert found == ["client 7 dropped", "client 7 dropped",
                     "client 7 dropped (too often: more such lines are left out for 10 s)", None, None]  # fmt: skip
    assert said("other %d") == "other 7"
    assert [said("client %d dropped", event=BrokerSaid(1)) for _ in range(9)] == ["client 7 dropped"] * 9
    now = 10.0
    assert said("client %d dropped") == "client 7 dropped (2 such lines were left out before)"
    assert said("client %d dropped") == "client 7 dropped"


def test_the_limit_remembers_a_limited_number_of_texts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logs, "TEMPLATES_MAX", 5)
    limit = RateLimit(1, 10.0, lambda: 0.0)
    for number in range(100):
        assert limit.filter(logging.LogRecord("x", 20, "", 0, f"text {number}", (), None))
        assert len(limit._budgets) <= 5


def test_text_is_for_people(log: io.StringIO) -> None:
    configure("text", stream=log)
    logging.getLogger("qpidha").info("hello")
    assert log.getvalue().endswith(" qpidha: hello\n")
    with pytest.raises(ArgumentError):
        configure("xml")


CLOSED = "unable to perform operation on <TCPTransport closed=True reading=False 0x5>; the handler is closed"


@pytest.mark.parametrize(
    ("message", "error", "written"),
    [
        ("Fatal error on SSL protocol", RuntimeError(CLOSED), False),
        ("Fatal error on SSL protocol", RuntimeError("something else"), True),
        ("Fatal error on SSL protocol", ValueError(CLOSED), True),
        ("Exception in callback f()", RuntimeError(CLOSED), True),
    ],
)
def test_only_what_uvloop_says_of_a_tls_connection_that_has_ended_is_left_out(
    log: io.StringIO, message: str, error: Exception, written: bool
) -> None:
    loop = asyncio.new_event_loop()
    try:
        loop.call_exception_handler({"message": message, "exception": error, "protocol": object()})
    finally:
        loop.close()
    assert bool(log.getvalue()) is written


def test_nothing_but_this_module_configures_logging() -> None:
    """A library leaves that to the program: it would lose what the program has set up."""
    for path in Path(sys.modules["qpidha"].__file__ or "").parent.rglob("*.py"):
        calls = [node.func.attr for node in ast.walk(ast.parse(path.read_text()))
                 if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)]  # fmt: skip
        if path.name != "logs.py" and "skeleton" not in path.parts:  # A program, that users copy.
            assert not {"basicConfig", "addHandler", "dictConfig", "setLevel"} & set(calls), path
