"""The style of a chart: its colours, and the words of its legend."""

from __future__ import annotations

from typing import Final

LEGEND_ROLES: Final = ("active", "recovering", "ready", "catch-up", "joining", "paused", "down")

KINDS: Final = {
    "op": "operations",
    "ack": "acknowledgements",
    "sync": "resync",
    "hand": "hello, welcome",
    "fence": "refused, fenced",
    "cas": "compare-and-set",
}
"""Kinds of arrows: class, and word in the legend and in the filter."""

MARK_KINDS: Final = {
    "publish": "publish",
    "ok": "answered ok",
    "doubt": "in doubt",
    "consume": "consumer",
    "rewind": "rewind",
    "note": "note",
}
"""Kinds of marks: class, and word in the legend and in the filter."""

BOLD_MARKS: Final = frozenset({"ok", "rewind"})

STYLE: Final = """
text{font:11px "Helvetica Neue",Arial,"DejaVu Sans Condensed",sans-serif;fill:#1f2933}
path{fill:none;stroke-width:1.3}
.paper{fill:#fff}
.title{font-size:20px;font-weight:600}
.about{font-size:12.5px;fill:#52606d}
.key{font-size:11px;fill:#52606d}
.head{font-size:15px;font-weight:700;text-anchor:middle}
.time{font-size:9.5px;fill:#9aa5b1;text-anchor:end}
.step{font-size:11px;fill:#3e4c59}
.step.fault{fill:#c81e1e;font-weight:700}
.step.repair{fill:#1d4ed8}
.step.look{fill:#137a3f}
.comment{font-style:italic;font-size:12px;fill:#52606d;paint-order:stroke;stroke:#fff;stroke-width:5px}
.rule{stroke:#eef1f4;stroke-width:1}
.rule.fault{stroke:#f8c9c9}
.record{stroke:#cbd2d9;stroke-width:2}
.down{stroke:#9aa5b1;stroke-dasharray:2 5;stroke-width:2}
.band{stroke:none}
.r-active{fill:#d9480f}.r-recovering{fill:#f08c00}.r-ready{fill:#1c7ed6}.r-catch-up{fill:#74b8f0}
.r-joining{fill:#a9b7c6}.r-stopped{fill:#7b8794}.r-down{fill:#3e4c59}.r-paused{fill:#b197c9}
.r-record{fill:#52606d}
.pill rect{stroke:#fff;stroke-width:1.5}
.pill text{fill:#fff;font-size:10.5px;font-weight:600;text-anchor:middle}
.member{fill:#2f9e44}
.op path{stroke:#1f2933;stroke-width:1.5}
.ack path{stroke:#2f9e44}
.sync path{stroke:#1c7ed6}
.hand path{stroke:#9aa5b1}
.fence path{stroke:#c81e1e;stroke-width:1.8}
.cas path{stroke:#7048b6;stroke-dasharray:5 3}
.ack text{fill:#2b7a3d}.sync text{fill:#1864ab}.hand text{fill:#7b8794}
.fence text{fill:#c81e1e;font-weight:700}.cas text{fill:#5f3dc4}
.op text,.ack text,.sync text,.hand text,.fence text,.cas text{font-size:10.5px;paint-order:stroke;
stroke:#fff;stroke-width:3px}
.waited>path:first-of-type{stroke-dasharray:2 4}
path.lost,.lost path{stroke:#c81e1e!important;stroke-width:2.2!important;stroke-dasharray:none!important}
.waiting{fill:#fff;stroke:#52606d;stroke-width:1.5}
.chip text{font-size:10.5px}
.chip rect{fill:#fff;stroke:#52606d}
.chip.ok rect{fill:#d3f2da;stroke:#2f9e44}.chip.ok text{fill:#1b5e2b;font-weight:700}
.chip.doubt rect{fill:#fff3bf;stroke:#e0a800}.chip.doubt text{fill:#7a5b00}
.chip.rewind rect{fill:#f1e4fb;stroke:#8e3fc7}.chip.rewind text{fill:#6a1fa3;font-weight:700}
.chip.note rect{fill:#f5f7fa;stroke:#cbd2d9}.chip.note text{fill:#52606d}
.chip.consume rect{fill:#e7f5ff;stroke:#a5c8e8}
.dot{fill:#fff;stroke:#1f2933;stroke-width:1.5}
.dot.ok{fill:#2f9e44}.dot.doubt{fill:#ffd43b}.dot.rewind{fill:#8e3fc7}
"""
