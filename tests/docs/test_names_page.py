"""The names that scripts rely on are listed with their units, and none of them goes away unannounced."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from qpidha.stores import SqliteStore
from qpidha.testing.conformance.changes import some_commits
from qpidha.web.history import EventLog, History
from tests.docs.names import DOCUMENTS, ROOT, exit_codes, json_fields, paths_of, promised
from tests.support.harness import World, run, until

PAGE = ROOT / "docs" / "names.md"
PROMISED = Path(__file__).with_name("promised-names.txt")
REWRITE = bool(os.environ.get("QPIDHA_REWRITE"))
MADE = "<!-- made from the code: tests/docs/test_names_page.py -->\n"


def tables() -> str:
    made = []
    for command in DOCUMENTS:
        made.append(f"\n### {command}\n\n| name | unit | meaning |\n|---|---|---|\n")
        made += [f"| `{row.path}` | {row.kind} | {row.meaning} |\n" for row in json_fields(command)]
    return "".join(made)


def test_the_page_has_every_name_of_json_with_its_unit() -> None:
    """QPIDHA_REWRITE=1 writes the tables anew."""
    page = PAGE.read_text(encoding="utf-8")
    wanted = page.partition(MADE)[0] + MADE + tables()
    if REWRITE:
        PAGE.write_text(wanted, encoding="utf-8")
    assert PAGE.read_text(encoding="utf-8") == wanted


def test_the_page_of_commands_has_every_exit_code() -> None:
    page = (ROOT / "docs" / "command-line.md").read_text(encoding="utf-8")
    assert re.findall(r"^\| `(\d+)` \|", page, re.MULTILINE) == exit_codes()


def snapshot() -> tuple[list[str], list[str]]:
    """The names that are promised, and those that are gone."""
    lines = [line for line in PROMISED.read_text(encoding="utf-8").splitlines() if line and line[0] != "#"]
    gone = [line.removeprefix("gone ") for line in lines if line.startswith("gone ")]
    return [line for line in lines if not line.startswith("gone ")], gone


def announced(name: str, notes: str) -> bool:
    """Whether the changelog or a news fragment has the last word of this name, as code."""
    return (
        f"`{re.split(r'[ .]', name)[-1].removesuffix('[]')}`" in notes
        or f"`{name.partition(' ')[2]}`" in notes
    )


def test_no_name_goes_away_and_each_new_one_is_promised() -> None:
    """QPIDHA_REWRITE=1 adds new names. One that is gone must be marked by hand, and announced."""
    head = "".join(line for line in PROMISED.read_text(encoding="utf-8").splitlines(True) if line[0] == "#")
    (kept, gone), now = snapshot(), promised()
    missing = sorted(set(kept) - set(now))
    assert not missing, (
        "these names are promised, and the code has them no more. Give them back; or write `gone ` before each in "
        f"{PROMISED.name}, and a news fragment that names it (CONTRIBUTING.md, Names): {missing}"
    )
    if REWRITE:
        lines = sorted(now) + [f"gone {name}" for name in gone]
        PROMISED.write_text(head + "\n".join(lines) + "\n", encoding="utf-8")
        kept = now
    assert sorted(set(now) - set(kept)) == [], f"new names: QPIDHA_REWRITE=1 adds them to {PROMISED.name}"
    assert not set(gone) & set(now), "gone, and there"
    fragments = [
        path for kind in ("removed", "changed") for path in (ROOT / "docs/newsfragments").glob(f"*.{kind}.md")
    ]
    notes = "".join(path.read_text(encoding="utf-8") for path in [ROOT / "CHANGELOG.md", *fragments])
    assert [name for name in gone if not announced(name, notes)] == [], "gone without a word in the changelog"


def test_a_name_that_is_gone_needs_an_announcement() -> None:
    notes = "The metric `qpidha_troubles` and the field `nodes.*.sessions[].behind` are gone."
    assert announced("metric qpidha_troubles", notes)
    assert announced("json status: nodes.*.sessions[].behind", notes.replace("nodes.*.sessions[].", ""))
    assert not announced("json status: nodes.*.position", notes)


def test_the_history_of_a_node_has_these_names() -> None:
    async def main(world: World) -> None:
        events = EventLog()
        a = await world.start("a", on_event=events)
        await world.start("b")
        await a.promote()
        await until(lambda: len(world.members()) == 2)
        history = History(events)
        history.sample(a.status())
        printed = paths_of("GET /history", json.loads(json.dumps(history.to_dict())))
        # Nothing was waited for.
        assert printed | {"samples[].held[]"} == {field.path for field in json_fields("GET /history")}

    run(main)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("names") / "a"
    made = SqliteStore(directory)
    made.open("a")
    for changes in some_commits():
        made.commit(changes)
    made.close(clean=True)
    return directory


@pytest.mark.processes
def test_what_commands_print_has_no_other_names(store: Path) -> None:
    """The other way: names of documents that real commands print."""
    base, saved, gone = store.parent, str(store.parent / "a.saved"), str(store.parent / "no")
    runs = {
        "store inspect": (["store", "inspect", str(store)], ["store", "inspect", gone]),
        "store rank": (["store", "rank", str(store), gone],),
        "store compact": (["store", "compact", str(store)], ["store", "compact", gone]),
        "store backup, verify": (
            ["store", "backup", str(store), saved], ["store", "backup", str(store), saved],
            ["store", "verify", saved], ["store", "verify", gone],
        ),
        "store restore": (["store", "restore", saved, str(base / "b")], ["store", "restore", gone, str(base / "c")]),
        "why": (["why", "--store", str(store), "orders", "4"], ["why", "--store", gone, "orders", "4"]),
        "status": (["status", str(store), gone],),
        "promote, demote": (["promote", gone],),
        "record rebuild": (["record", "rebuild", str(base / "cluster"), str(store), gone],),
        "record show": (["record", "show", gone],),
        "simulate": (["simulate", "--seeds", "2"], ["simulate", "--seed", "2"]),
    }  # fmt: skip
    assert runs.keys() | {"GET /history"} == DOCUMENTS.keys()
    for command, given in runs.items():
        known = {field.path for field in json_fields(command)}
        for words in given:
            ran = subprocess.run(
                [sys.executable, "-m", "qpidha", *words, "--json"], capture_output=True, text=True
            )
            printed = paths_of(command, json.loads(ran.stdout))
            # A value that may be null stands for what is in it.
            unknown = [
                path
                for path in printed - known
                if not any(k.startswith((f"{path}.", f"{path}[")) for k in known)
            ]
            assert printed and unknown == [], (words, unknown)
