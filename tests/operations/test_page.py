"""The page in a real browser: it shows a node, its last ten minutes, and its events, and loads nothing from elsewhere."""

from __future__ import annotations

import asyncio
import html
import re
from pathlib import Path

import pytest

from qpidha.web import EventLog, NodeServer, Tokens
from tests.engines.server import require
from tests.support.harness import World, run, until

pytestmark = [pytest.mark.processes, pytest.mark.network, pytest.mark.external]

BROWSER = ("chromium", "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage")
BROWSER_TIMEOUT_S = 120.0


async def shown(server: NodeServer, profile: Path, *options: str) -> str:
    """The text of the page after some seconds of its own time."""
    require("chromium", "chromium")
    host, port = server.address
    browser = await asyncio.create_subprocess_exec(
        *BROWSER, f"--user-data-dir={profile}", "--virtual-time-budget=4000", *options, "--dump-dom",
        f"http://{host}:{port}/", stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    try:
        out, errors = await asyncio.wait_for(browser.communicate(), BROWSER_TIMEOUT_S)
    except asyncio.TimeoutError:
        browser.kill()
        await browser.wait()
        raise
    assert out, errors[-2000:].decode(errors="replace")
    return out.decode()


def words(dom: str, id: str) -> str:
    """The text in the element with this id, which has no element of its own kind inside."""
    found = re.search(rf'<(\w+)[^>]*\bid="{id}"[^>]*>(.*?)</\1>', dom, re.DOTALL)
    assert found, id
    return " ".join(html.unescape(re.sub(r"<[^>]+>", " ", found[2])).split())


def test_the_page_shows_a_primary(tmp_path: Path) -> None:
    async def main(world: World) -> None:
        events = EventLog()
        a = await world.start("a", on_event=events)
        await world.start("b")
        await a.promote()
        await until(lambda: len(world.members()) == 2)
        # A name that a client chose must stay text.
        await a.declare("<img src=x onerror=document.title=1>").enqueue(b"one")
        async with NodeServer(a, events=events) as server:
            await asyncio.sleep(2.2)  # Two samples make a picture.
            dom = await shown(server, tmp_path)
        assert words(dom, "node") == "a" and "serves as primary of generation 1" in words(dom, "ready")
        assert words(dom, "backups").endswith("b yes streaming 0 0")
        assert "<img src=x onerror=document.title=1> 1" in words(dom, "queues")
        assert "<title>a: active</title>" in dom and "<img" not in dom
        assert dom.count("<path") >= 8, "four pictures, each with a line and an area"
        assert "role: active, generation 1" in words(dom, "events")
        assert "generation 1, primary a, members a b" in words(dom, "lanes")
        assert 'data-state="shown"' in dom

    run(main)


def test_the_page_asks_for_a_token(tmp_path: Path) -> None:
    path = tmp_path / "tokens"
    path.write_text(f"viewer {'v' * 20}\n")
    path.chmod(0o600)

    async def main(world: World) -> None:
        (a,) = await world.cluster("a")
        async with NodeServer(a, tokens=Tokens(path)) as server:
            dom = await shown(server, tmp_path / "profile")
        assert "show a token" in words(dom, "said") and 'data-state="lost"' in dom
        assert words(dom, "node") == "…"

    run(main)
