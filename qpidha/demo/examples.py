"""The example brokers that the demonstration can run: what lies beside each, and how much is streamed through it."""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass
from pathlib import Path


class ExampleMissing(Exception):
    """There is no such broker here, or something that it needs is missing. The message says what to do."""


@dataclass(frozen=True, slots=True)
class Example:
    """One of the example brokers in the source."""

    name: str
    beside: tuple[str, ...]
    """What its clients consist of: files in the folder of the broker."""
    lines: int | None
    """How many lines of Python's library are streamed; None: all."""
    short_lines: int
    changes: bool
    """Its clients also change queues and objects meanwhile (`topology`)."""
    needs: tuple[str, str] | None = None
    """A module, and the extra of this package that installs it."""


SIMPLE = Example(
    "simple",
    beside=("changer.py", "client.py", "options.py", "protocol.py", "stamps.py", "topology.py"),
    lines=None,
    short_lines=300_000,
    changes=True,
)
AMQP = Example(
    "amqp",
    beside=("client.py", "amqp_broker/__init__.py"),
    lines=100_000,  # Each message is a delivery of its own, which costs its client as much as the broker.
    short_lines=15_000,
    changes=False,
    needs=("proton", "amqp"),
)
INSTALLED = Path(__file__).parent / "simple"
"""Where a wheel has the simple example: setup.py copies it."""
EXAMPLES = {example.name: example for example in (SIMPLE, AMQP)}


@dataclass(frozen=True, slots=True)
class Found:
    """A broker that is there."""

    example: Example
    broker: Path


def find(given: str | None) -> Found:
    """The broker that the user names, or the file of it. By name it is beside the package, or where the demo is run.

    The simple one is in an installed package, too.

    Raises:
        ExampleMissing: It is not there, or cannot run here.
    """
    named = EXAMPLES.get(given or SIMPLE.name)
    roots = (Path(__file__).parents[2], Path.cwd())
    places = [root / f"examples/{named.name}/broker.py" for root in roots] if named else [Path(given or "")]
    if named is SIMPLE:
        places.append(INSTALLED / "broker.py")
    for place in places:
        for example in [named] if named else EXAMPLES.values():
            if place.is_file() and all((place.parent / name).is_file() for name in example.beside):
                require(example)
                return Found(example, place.resolve())
    looked = " or ".join(str(place) for place in places)
    name = named.name if named else SIMPLE.name
    raise ExampleMissing(
        f"no example broker at {looked}. The examples come with the source, not with the installed package:"
        f" name the file with --broker PATH/examples/{name}/broker.py"
    )


def require(example: Example) -> None:
    """Raise `ExampleMissing` if a module is missing that the broker imports."""
    if example.needs is not None:
        module, extra = example.needs
        if importlib.util.find_spec(module) is None:
            raise ExampleMissing(
                f"the {example.name} broker needs the Python module {module}, which is not installed:"
                f" pip install -e '.[{extra}]' in the checkout, or pip install 'qpidha[{extra}]'"
            )
