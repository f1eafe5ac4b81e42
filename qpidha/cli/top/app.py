"""The live screen: a view that is drawn again, and keys. Needs textual.

No error gets textual's own report, which is a traceback: `Top.failure` keeps the first one, and the screen ends.
"""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import ClassVar

from textual.app import App, ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import VerticalScroll
from textual.content import Content
from textual.screen import ModalScreen
from textual.widgets import Footer, Input, Static

from qpidha.cli.console import INTERRUPTED, OK
from qpidha.cli.port import Port
from qpidha.cli.text import name, one_line
from qpidha.cli.top.cluster import Cluster, Seen
from qpidha.cli.top.orders import explain, steer
from qpidha.cli.top.view import Line, screen
from qpidha.cli.top.watch import Watch

REDRAW_S = 0.25
STYLES = {"plain": "", "title": "bold", "good": "bold $success", "bad": "bold $error", "dim": "dim"}
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def content_of(lines: list[Line]) -> Content:
    """The lines with colours. Their text is never taken for markup."""
    return Content.assemble(*((line.text + "\n", STYLES[line.mood]) for line in lines))


class Question(ModalScreen[bool]):
    """A question that only "y" answers with yes."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("y", "dismiss(True)", "yes"), Binding("n,escape,q", "dismiss(False)", "no"),
    ]  # fmt: skip

    def __init__(self, text: str) -> None:
        super().__init__()
        self._text = text

    def compose(self) -> ComposeResult:
        """See textual."""
        yield Static(Content(f"{self._text}\n\ny: yes    n: no"), classes="box")


class Asked(ModalScreen[str | None]):
    """Asks for a line; None: escape was pressed."""

    AUTO_FOCUS = "Input"
    BINDINGS: ClassVar[list[BindingType]] = [Binding("escape", "dismiss(None)", "back")]

    def __init__(self, text: str) -> None:
        super().__init__()
        self._text = text

    def compose(self) -> ComposeResult:
        """See textual."""
        with VerticalScroll(classes="box"):
            yield Static(Content(self._text))
            yield Input()

    def on_input_submitted(self, event: Input.Submitted) -> None:
        """Enter was pressed."""
        _ = self.dismiss(event.value)


class Told(ModalScreen[None]):
    """Lines, until a key is pressed."""

    BINDINGS: ClassVar[list[BindingType]] = [Binding("escape,enter,q,space", "dismiss(None)", "back")]

    def __init__(self, lines: list[str]) -> None:
        super().__init__()
        self._lines = lines

    def compose(self) -> ComposeResult:
        """See textual."""
        with VerticalScroll(classes="box"):
            yield Static(Content("\n".join([*map(one_line, self._lines), "", "Escape: back"])))


class Top(App[int]):
    """The screen. Its result is the exit code."""

    CSS = """
    #body { height: 1fr; scrollbar-size: 0 0; }
    #view { text-wrap: nowrap; }
    #said { height: auto; max-height: 4; text-style: bold; }
    ModalScreen { align: center middle; }
    .box { width: 90%; max-width: 110; height: auto; max-height: 80%; border: round $accent; padding: 1 2;
           background: $surface; }
    """
    ENABLE_COMMAND_PALETTE = False
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("h", "hand_over", "hand over"),
        Binding("p", "promote", "promote >"),
        Binding("w", "why", "why"),
        Binding("up,k", "choose(-1)", "node up", show=False),
        Binding("down,j", "choose(1)", "choose", key_display="↑↓"),
        Binding("q", "leave", "quit"),
        Binding("ctrl+c", "interrupt", "quit", show=False, priority=True),
    ]

    def __init__(self, cluster: Cluster, watch: Watch) -> None:
        super().__init__()
        self._cluster = cluster
        self._watch = watch
        self._chosen: str | None = None
        self._orders: set[asyncio.Task[None]] = set()
        self.failure: BaseException | None = None
        """The error because of which the screen ended."""

    def compose(self) -> ComposeResult:
        """See textual."""
        with VerticalScroll(id="body"):
            yield Static(id="view")
        yield Static(id="said")
        yield Footer()

    def on_mount(self) -> None:
        """Begin to draw. Signals end the screen in order, so that the terminal is as it was."""
        self.query_one("#body").can_focus = True
        loop = asyncio.get_running_loop()
        for number in SIGNALS:
            loop.add_signal_handler(number, self.exit, 128 + number)
        self.set_interval(REDRAW_S, self._draw)
        self._draw()

    def on_unmount(self) -> None:
        """See textual."""
        loop = asyncio.get_running_loop()
        for number in SIGNALS:
            loop.remove_signal_handler(number)

    def _handle_exception(self, error: Exception) -> None:
        """What textual does with an error that nobody caught: instead of its traceback."""
        self.failure = self.failure or error
        self.exit(1)

    # --- the picture -----------------------------------------------------------------------------

    def _draw(self) -> None:
        for report in self._watch.reports():
            self._cluster.take(report)
        self._cluster.check(time.monotonic())
        ids = self._ids()
        if self._chosen not in ids:
            self._chosen = next(iter(ids), None)
        lines = screen(
            self._cluster, width=self.size.width, chosen=self._chosen, clock=time.strftime("%H:%M:%S")
        )
        self.query_one("#view", Static).update(content_of(lines))

    def _ids(self) -> list[str]:
        rows = [seen.id for seen in self._cluster.rows if seen.id is not None]
        return list(dict.fromkeys([*rows, *self._cluster.unasked()]))

    def say(self, text: str) -> None:
        """Show one line below the picture: the newest of them."""
        self.query_one("#said", Static).update(
            Content(f"{time.strftime('%H:%M:%S')} {one_line(text)}" if text else "")
        )

    # --- keys ------------------------------------------------------------------------------------

    def action_choose(self, step: int) -> None:
        """Choose the next node, or the one before."""
        ids = self._ids()
        if ids:
            at = ids.index(self._chosen) if self._chosen in ids else 0
            self._chosen = ids[(at + step) % len(ids)]
            self._draw()

    def action_hand_over(self) -> None:
        """Ask the primary to hand over."""
        primary = self._cluster.primary
        if primary is None or primary.id is None:
            self.say("nothing was done: no primary answers here; run `qpidha demote` on its machine")
            return
        question = f"Shall primary {name(primary.id)} hand over to another member?"
        self._confirmed(question, primary.place.socket, primary.id, "demote")

    def action_promote(self) -> None:
        """Ask the chosen node to become primary."""
        seen = self._seen()
        if seen is None or seen.id is None:
            self.say("nothing was done: the chosen node is not here; run `qpidha promote` on its machine")
            return
        question = f"Shall {name(seen.id)} become primary? The record decides whether it may."
        self._confirmed(question, seen.place.socket, seen.id, "promote")

    def action_why(self) -> None:
        """Ask the chosen node what became of a message, or for whom publishes wait."""
        seen = self._seen()
        if seen is None or seen.id is None:
            self.say("the chosen node is not here; run `qpidha why` on its machine")
            return
        node, socket = seen.id, seen.place.socket

        def answered(words: str | None) -> None:
            if words is not None:
                self._order(
                    lambda: self.push_screen(Told(lines)), lambda: lines.extend(explain(socket, node, words))
                )

        lines: list[str] = []
        text = f"Ask {name(node)}: QUEUE ID, what became of a message;\nQUEUE or nothing: for whom publishes wait"
        _ = self.push_screen(Asked(text), answered)

    def action_leave(self) -> None:
        """End."""
        self.exit(OK)

    def action_interrupt(self) -> None:
        """Ctrl-C: a key here, since the terminal makes no signals of it."""
        self.exit(INTERRUPTED)

    def _seen(self) -> Seen | None:
        """The chosen node, if it answers here."""
        return next((s for s in self._cluster.rows if s.id == self._chosen and s.status is not None), None)

    def _confirmed(self, question: str, socket: Path | Port, node: str, command: str) -> None:
        result: list[str] = []

        def answered(yes: bool | None) -> None:
            if yes is True:
                self.say(f"asking {name(node)} to {command} …")
                self._order(lambda: self.say(result[0]), lambda: result.append(steer(socket, node, command)))
            else:
                self.say("nothing was done")

        _ = self.push_screen(Question(question), answered)

    def _order(self, then: Callable[[], object], work: Callable[[], object]) -> None:
        """Do some work that blocks in a thread, then the rest here."""

        async def run() -> None:
            try:
                await asyncio.to_thread(work)
                then()
                self._watch.ask_now()
            except Exception as error:  # noqa: BLE001 - the task belongs to nobody else
                self._handle_exception(error)

        task = asyncio.ensure_future(run())
        self._orders.add(task)
        task.add_done_callback(self._orders.discard)
