"""The site that `make site` builds: Sphinx, with the pages that are written in Markdown and those of the code."""

from __future__ import annotations

from pkgutil import resolve_name

from docutils import nodes
from pygments.lexers.special import TextLexer
from sphinx.addnodes import pending_xref
from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment
from sphinx.util import logging

import qpidha
from docs.site.modules import homes

project = "qpidha"
author = "The qpidha maintainers"
copyright = author
release = qpidha.__version__

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
html_theme = "furo"
html_title = f"qpidha {release}"
# Whoever wants the source has the repository.
html_copy_source = False
html_show_sourcelink = False

# Links to headings, as forges name them.
myst_heading_anchors = 4

# In docstrings, `name` is a reference where there is such a name, and code elsewhere: a parameter, a class that is not
# public. So it is not nitpicky; `link_names` looks for the names that should be there.
default_role = "py:obj"
autodoc_member_order = "bysource"
autodoc_preserve_defaults = True
autodoc_typehints_format = "short"
python_use_unqualified_type_names = True
python_maximum_signature_line_length = 100

HOMES: dict[str, set[str]] = {}
for _name, _home in homes().items():
    HOMES.setdefault(_name.rpartition(".")[2], set()).add(_home)

KEPT: dict[str, list[str]] = {}
"""Docstrings as they were before napoleon."""

log = logging.getLogger(__name__)


def mark_blocks(app: Sphinx, what: str, name: str, obj: object, options: object, lines: list[str]) -> None:
    """In docstrings, as in Markdown, what is indented by four after an empty line is shown as it is."""
    marked: list[str] = []
    for line in lines:
        if line.startswith("    ") and marked and not marked[-1]:
            before = next((text for text in reversed(marked) if text), " ")
            if not before.startswith((" ", "..")) and not before.endswith("::"):
                marked += ["::", ""]
        marked.append(line)
    lines[:] = marked
    KEPT[name] = marked


def keep_attributes(
    app: Sphinx, what: str, name: str, obj: object, options: object, lines: list[str]
) -> None:
    """Napoleon takes "Words: more words" of an attribute for its type and its description: here they are a sentence."""
    if what in ("attribute", "property", "data"):
        lines[:] = KEPT[name]


def link_names(
    app: Sphinx, env: BuildEnvironment, node: pending_xref, text: nodes.TextElement
) -> nodes.Element | None:
    """A public name is a reference in the docstrings of all modules, without the name of its module."""
    if node.get("refdomain") != "py" or node["reftype"] not in ("obj", "exc"):
        return None
    target = node["reftarget"]
    first = target.partition(".")[0]
    places = HOMES.get(first, set())
    if len(places) > 1:
        log.warning(
            "%s is in %s: say which", first, sorted(places), location=node, type="ref", subtype="python"
        )
    elif places:
        whole = f"{min(places)}.{target}"
        return env.domains["py"].resolve_xref(env, node["refdoc"], app.builder, "obj", whole, node, text)
    if first == "qpidha":
        try:
            resolve_name(target)
        except (ImportError, AttributeError):
            log.warning("there is no %s", target, location=node, type="ref", subtype="python")
    return None


def setup(app: Sphinx) -> None:
    """What Sphinx calls when it has read this file."""
    # Before napoleon (500), which takes indented lines for the inside of sections.
    app.connect("autodoc-process-docstring", mark_blocks, priority=400)
    app.connect("autodoc-process-docstring", keep_attributes, priority=600)
    app.connect("missing-reference", link_names)
    # Bytes are shown as they are; forges have a colour for them.
    app.add_lexer("hex", TextLexer)
