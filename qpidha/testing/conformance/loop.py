"""The duties of a loop around `qpidha.core`, as checks (``docs/without-asyncio.md``)."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import Iterable
from functools import partial

from qpidha.core import CloseLink, Doubtful, HandOver, RoleChanged, Safe, Settled
from qpidha.testing.conformance.check import Check, Rules, Runner
from qpidha.testing.conformance.loopbench import LoopBench
from qpidha.testing.conformance.looppeer import LINK
from qpidha.testing.conformance.surroundings import MakeLoop
from qpidha.types import QueueSpec
from qpidha.wire import Frame
from qpidha.wire.batch import Batch
from qpidha.wire.events import Acknowledged, Established

MESSAGES = 20
OTHER_LINK = 2
TICK_GAP_S_MAX = 1.5
"""The rule says one second; the rest is for a machine that is busy with other things."""

RULES = Rules[LoopBench]("CoreLoop")


def loop_checks(
    make: MakeLoop, *, runner: Runner = asyncio.run, without: Iterable[str] = ()
) -> list[Check[LoopBench]]:
    """Return one check for each duty that can be seen from outside. ``make`` is called once for each check.

    Args:
        make: Given `Surroundings`, starts a loop that drives ``surroundings.replica`` with them, and returns it.
        runner: As for the other checks; the loop under trial may start threads.
        without: Names of checks to leave out.
    """
    return RULES.checks(partial(LoopBench, make), runner=runner, without=without)


def work(bench: LoopBench) -> None:
    """What a primary does: a backup joins, messages are published and consumed."""
    replica = bench.replica
    bench.lead()
    bench.loop.call(lambda: replica.declare(QueueSpec(name="q")))
    bench.join()
    bench.did(f"{MESSAGES} publishes, one by one")
    for n in range(MESSAGES):
        bench.loop.call(partial(replica.enqueue, bench.queue, Batch.pack([b"%d" % n])))
    bench.until_quiet()
    bench.did("an acknowledgement and another publish at the same time")
    with bench.held_frames() as held:
        bench.loop.call(lambda: replica.enqueue(bench.queue, Batch.pack([b"last but one"])))
        bench.until_quiet()

    def both() -> None:
        for frame in held:
            replica.received(LINK, frame, bench.clock())
        replica.enqueue(bench.queue, Batch.pack([b"last"]))

    bench.loop.call(both)
    bench.until_quiet()
    bench.did("all are consumed")
    bench.loop.call(lambda: replica.dequeue(bench.queue, replica.queues[bench.queue].held.copy()))
    bench.until_quiet()


@RULES
def nothing_leaves_before_it_is_durable(bench: LoopBench) -> None:
    """No frame, request, completion or notice of a Ready before the transaction of that Ready is durable."""
    work(bench)
    bench.none_of("durable")


@RULES
def effects_keep_their_order(bench: LoopBench) -> None:
    """The effects of a Ready are performed in its order: frames, request, completions, notices."""
    work(bench)
    bench.none_of("order")


@RULES
def each_effect_is_performed_once(bench: LoopBench) -> None:
    """Every effect of a Ready is performed, exactly once, before `performed`."""
    work(bench)
    bench.none_of("whole")
    safe = [e.upto for e in bench.effects if isinstance(e, Safe)]
    bench.same("publishes are confirmed up to", MESSAGES + 2, max(safe, default=0))
    bench.true(any(isinstance(e, Settled) for e in bench.effects), "the consumed messages are settled", safe)


@RULES
def each_ready_is_performed_before_the_next(bench: LoopBench) -> None:
    """`performed` is called for each Ready that has effects, once, before the next one is taken."""
    work(bench)
    bench.none_of("performed")


@RULES
def calls_of_the_core_do_not_overlap(bench: LoopBench) -> None:
    """The core is called from one thread at a time."""
    work(bench)
    bench.none_of("overlap")


@RULES
def frames_reach_the_core_in_order(bench: LoopBench) -> None:
    """The frames of a link reach the core once each, in the order in which they arrived."""
    bench.lead()
    bench.join()
    before = len(bench.calls("received"))
    frames = [Frame(bench.replica.generation, 0, Acknowledged(position=1)) for _ in range(30)]
    bench.did("30 acknowledgements arrive")
    for frame in frames:
        bench.loop.received(LINK, frame)
    bench.until_quiet()
    came = [frame for link, frame, _ in bench.calls("received")[before:] if link == LINK]
    bench.true(
        [id(f) for f in came] == [id(f) for f in frames],
        f"the {len(frames)} frames in order",
        f"{len(came)} frames, numbers {[n for f in came for n, g in enumerate(frames) if f is g]}",
    )


@RULES
def no_frame_after_the_end_of_its_link(bench: LoopBench) -> None:
    """A link that is closed is told to the core once, and no frame of it afterwards."""
    bench.lead()
    bench.join()
    bench.did("the link closes, and a frame of it comes late")
    bench.close_link(LINK)
    bench.loop.received(LINK, Frame(bench.replica.generation, 0, Acknowledged(position=1)))
    bench.until_quiet()
    bench.same("calls of link_closed", [(LINK,)], bench.calls("link_closed"))
    names = [name for name, arguments in bench.log if arguments[:1] == (LINK,)]
    bench.same("the last call for the link", "link_closed", names[-1])


@RULES
def a_refused_link_is_closed(bench: LoopBench) -> None:
    """`CloseLink` closes the link after the frames before it; its end is then told to the core."""
    bench.lead()
    bench.did("a link opens, and its first frame is not Hello")
    bench.loop.opened(OTHER_LINK, None)
    bench.loop.received(OTHER_LINK, Frame(0, 0, Established()))
    bench.until_quiet()
    closed = [e for e in bench.effects if isinstance(e, CloseLink)]
    bench.same("links closed", [OTHER_LINK], [e.link for e in closed])
    bench.none_of("order", "whole")
    bench.same("calls of link_closed", [(OTHER_LINK,)], bench.calls("link_closed"))


@RULES
def answers_come_back_to_the_core(bench: LoopBench) -> None:
    """The answer to a request is given to the core once, with that request; so is each record that is seen."""
    bench.lead()
    asked = [e for e in bench.effects if type(e).__name__ in ("CompareAndSet", "ReadRecord")]
    bench.same("requests answered", asked, [request for request, *_ in bench.calls("answered")])
    seen = [current.version for current, *_ in bench.calls("record_seen")]
    bench.same("the newest record seen", bench.record.version, max(seen, default=0))


@RULES
def a_failed_commit_promises_nothing(bench: LoopBench) -> None:
    """After a failed commit nothing is sent, confirmed, requested or committed; what is pending is in doubt."""
    replica = bench.replica
    bench.lead()
    bench.loop.call(lambda: replica.declare(QueueSpec(name="q")))
    bench.join()
    before = len(bench.effects)
    bench.did("a publish; its commit fails; then b sends a frame, and another client publishes")
    bench.fails = True
    bench.loop.call(lambda: replica.enqueue(bench.queue, Batch.pack([b"x"])))
    bench.until_quiet()
    bench.loop.received(LINK, Frame(replica.generation, 0, Acknowledged(position=1)))
    bench.until_quiet()
    bench.none_of("dead", "durable")
    bench.true(replica.stopped, "the core is stopped", "it is not")
    effects = bench.effects[before:]
    bench.true(any(isinstance(e, Doubtful) for e in effects), "Doubtful", effects)
    roles = [e.role.value for e in effects if isinstance(e, RoleChanged)]
    bench.true(not any(role == "active" for role in roles) and roles, "the end of the role is told", roles)
    bench.same("calls of `failed`", 1, len(bench.ended))


@RULES
def time_passes_for_the_core(bench: LoopBench) -> None:
    """`tick` is called at least every second, whatever else happens."""
    bench.lead()
    bench.did("nothing happens for 3 s")
    ticked = [bench.clock()]
    until = bench.clock() + 3.0
    while bench.clock() < until:
        time.sleep(0.05)
    ticked += [now for now, *_ in bench.calls("tick") if now >= ticked[0]]
    ticked.append(bench.clock())
    gap = max(later - earlier for earlier, later in itertools.pairwise(ticked))
    bench.true(gap <= TICK_GAP_S_MAX, "a tick every second", f"none for {gap:.1f} s")


@RULES
def now_is_the_time_of_the_clock(bench: LoopBench) -> None:
    """``now`` is what the clock says at the call, the same clock for all inputs, and never goes back."""
    began = bench.clock()
    work(bench)
    last = 0.0
    for name, arguments in bench.log:
        if name in ("tick", "ready", "performed", "received", "record_seen", "answered") and arguments:
            now = arguments[-1]
            bench.true(began - 1 <= now <= bench.clock(), f"{name} with the time of the clock", now)
            bench.true(now >= last - 0.001, f"{name} not before {last}", now)
            last = max(last, now)


@RULES
def handed_over_messages_are_answered_for(bench: LoopBench) -> None:
    """After `HandOver` the core is told what became of the messages: `handed_over`, or `hand_over_failed`."""
    bench.lead()
    bench.until_quiet()
    offered = [e for e in bench.effects if isinstance(e, HandOver)]
    bench.same("hand-overs", 1, len(offered))
    answers = len(bench.calls("handed_over")) + len(bench.calls("hand_over_failed"))
    bench.same("answers", 1, answers)
