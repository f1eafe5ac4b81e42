"""A chart as one HTML page: filters, zoom, jumps to generations, names of lines that stay visible. Loads no files."""

from __future__ import annotations

from html import escape
from typing import Final

from qpidha.testing.picture.chart import HEADS, Chart
from qpidha.testing.picture.style import KINDS, MARK_KINDS, STYLE

PAGE_STYLE: Final = """
body{margin:0;background:#fff;font:13px "Helvetica Neue",Arial,sans-serif;color:#1f2933}
#bar{position:sticky;left:0;padding:8px 16px;background:#f5f7fa;display:flex;flex-wrap:wrap;gap:4px 14px}
#bar label{white-space:nowrap}
#bar input[type=range]{width:180px;vertical-align:middle}
#heads{position:sticky;top:0;width:max-content;min-width:100%;
background:#fffffff2;border-bottom:1px solid #e4e7eb;z-index:1}
svg{display:block;width:calc(var(--wide)*var(--zoom));height:auto}
g:hover>path{stroke-width:3}
.sync:hover text,.op:hover text,.ack:hover text,.hand:hover text,.cas:hover text{font-weight:700}
"""

SCRIPT: Final = """
const root = document.documentElement, bar = document.getElementById("bar");
bar.addEventListener("input", event => {
  const box = event.target;
  if (box.type == "checkbox") document.body.classList.toggle("no-" + box.name, !box.checked);
  else {
    const at = scrollY / root.scrollHeight;
    root.style.setProperty("--zoom", box.value / 100);
    scrollTo(scrollX, at * root.scrollHeight);
  }
});
"""


def page(chart: Chart, title: str) -> str:
    """Return the page as one self-contained file."""
    filters = {**KINDS, **{f"m-{kind}": word for kind, word in MARK_KINDS.items()}}
    boxes = "".join(
        f'<label><input type="checkbox" name="{kind}" checked> {escape(word)}</label>'
        for kind, word in filters.items()
    )
    jumps = " ".join(f'<a href="#gen{g}">{g}</a>' for g in chart.generations)
    hiding = "\n".join(f"body.no-{kind} #run .{kind}{{display:none}}" for kind in filters)

    def svg(name: str, height: int, content: str) -> str:
        return f'<svg id="{name}" viewBox="0 0 {chart.width} {height}">\n{content}\n</svg>'

    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<title>{escape(title)}</title>
<style>:root{{--wide:{chart.width}px;--zoom:1}}{STYLE}{PAGE_STYLE}{hiding}</style>
</head>
<body>
<div id="bar"><label>zoom <input type="range" min="15" max="200" value="100"></label>{boxes}
<span>generation {jumps}</span></div>
{svg("about", chart.title_height, chart.title)}
<div id="heads">{svg("names", HEADS, chart.heads)}</div>
{svg("run", chart.height, chart.body)}
<script>{SCRIPT}</script>
</body>
</html>
"""
