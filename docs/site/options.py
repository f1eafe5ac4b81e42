"""The page of the command's options, from the parser that reads them."""

from __future__ import annotations

import argparse
import textwrap
from collections.abc import Iterator

from qpidha.cli.options import build_parser

WIDTH = 100


def options_page() -> str:
    """All commands and their options, one section each."""
    return "\n".join(
        (
            heading("Commands and options", "="),
            "What ``qpidha COMMAND --help`` says. For what the commands do, see :doc:`/command-line`.",
            "",
            *(line for parser in parsers(build_parser()) for line in section(parser)),
        )
    )


def parsers(parser: argparse.ArgumentParser) -> Iterator[argparse.ArgumentParser]:
    """A parser and those of its commands, each once."""
    yield parser
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for command in dict.fromkeys(action.choices.values()):
                yield from parsers(command)


def section(parser: argparse.ArgumentParser) -> Iterator[str]:
    """One command: how it is called, what it does, its options."""
    yield heading(parser.prog, "-")
    yield f".. program:: {parser.prog}\n"
    yield block(usage(parser))
    for text in (parser.description, parser.epilog):
        if text:
            yield block(text) if "\n" in text else escaped(text) + "\n"
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction) or action.help == argparse.SUPPRESS:
            continue
        yield f".. option:: {', '.join(spellings(action))}\n"
        yield textwrap.indent(escaped((action.help or "") % values(parser, action)), "   ") + "\n"


def usage(parser: argparse.ArgumentParser) -> str:
    """The line of usage, at the same width on every terminal."""
    formatter = argparse.HelpFormatter(parser.prog, width=WIDTH)
    formatter.add_usage(parser.usage, parser._actions, parser._mutually_exclusive_groups, prefix="")
    return formatter.format_help()


def spellings(action: argparse.Action) -> list[str]:
    """An option with its value, in each of its spellings; or the name of an argument."""
    formatter = argparse.HelpFormatter("")
    default = formatter._get_default_metavar_for_positional(action)
    if not action.option_strings:
        return [formatter._format_args(action, default)]
    default = formatter._get_default_metavar_for_optional(action)
    value = "" if action.nargs == 0 else " " + formatter._format_args(action, default)
    return [option + value for option in action.option_strings]


def values(parser: argparse.ArgumentParser, action: argparse.Action) -> dict[str, object]:
    """What a help text may name, as argparse has it."""
    return {**vars(action), "prog": parser.prog}


def heading(text: str, line: str) -> str:
    """A title."""
    return f"{text}\n{line * len(text)}\n"


def block(text: str) -> str:
    """Text as it is."""
    return f".. code-block:: text\n\n{textwrap.indent(text.strip(), '   ')}\n"


def escaped(text: str) -> str:
    """Text without markup: what argparse prints has no meaning for Sphinx."""
    return "".join("\\" + sign if sign in "\\*`_|<>" else sign for sign in text)
