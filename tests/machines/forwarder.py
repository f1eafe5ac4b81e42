"""A cable with delay, jitter, reordering and duplication: frames go from one tap device to another.

Its delay is for one way; a round trip takes two. Run as a program by `Cable`, with the descriptors of both devices.
Each line on standard input sets all properties, and is answered by an empty line; the end of it is the end of the cable.
"""

from __future__ import annotations

import contextlib
import fcntl
import heapq
import os
import random
import select
import struct
import subprocess
import sys
import time
from dataclasses import astuple, dataclass
from pathlib import Path

FRAME_BYTES_MAX = 65_600
QUEUE_FRAMES_MAX = 20_000
"""More frames than this in flight are dropped, as a full buffer does."""
SET_INTERFACE = 0x400454CA
TAP_WITHOUT_HEADER = 0x1002


@dataclass(frozen=True)
class Quality:
    """What a cable does to frames, in each direction."""

    delay_s: float = 0.0
    jitter_s: float = 0.0
    """Each frame takes a random time of up to this much more: frames overtake one another."""
    reordered: float = 0.0
    """The share of frames that are not delayed, and so overtake others."""
    duplicated: float = 0.0
    """The share of frames that arrive twice."""


def open_tap(name: str) -> int:
    """Make a tap device in the namespace of this thread. It lives as long as the descriptor is open."""
    tap = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
    fcntl.ioctl(tap, SET_INTERFACE, struct.pack("16sH22x", name.encode(), TAP_WITHOUT_HEADER))
    return tap


class Cable:
    """The forwarder between two tap devices, as a process."""

    def __init__(self, taps: tuple[int, int]) -> None:
        """The process has the devices: the caller's descriptors are closed."""
        self._process = subprocess.Popen(
            ["setpriv", "--pdeathsig", "KILL", "--", sys.executable, str(Path(__file__)), *map(str, taps)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, pass_fds=taps,
        )  # fmt: skip
        for tap in taps:
            os.close(tap)

    def set(self, quality: Quality) -> None:
        """Treat frames like this. Returns when those that are sent from now on are."""
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.write((" ".join(map(str, astuple(quality))) + "\n").encode())
        self._process.stdin.flush()
        assert self._process.stdout.readline(), "the cable's process has ended"

    def close(self) -> None:
        """Unplug it."""
        self._process.kill()
        self._process.wait()
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdout.close()
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.close()


class Forwarder:
    """Passes frames between two descriptors."""

    def __init__(self, one: int, other: int) -> None:
        self._to = {one: other, other: one}
        self._quality = Quality()
        self._flying: list[tuple[float, int, int, bytes]] = []
        """A heap of (when it arrives, serial number, where, frame)."""
        self._serial = 0

    def run(self) -> None:
        """Forward until standard input ends."""
        control, waiting = sys.stdin.fileno(), b""
        while True:
            wait_s = max(0.0, self._flying[0][0] - time.monotonic()) if self._flying else None
            for readable in select.select([*self._to, control], [], [], wait_s)[0]:
                if readable != control:
                    self._take(readable)
                elif data := os.read(control, 4096):
                    *lines, waiting = (waiting + data).split(b"\n")
                    for line in lines:
                        self._quality = Quality(*map(float, line.split()))
                        os.write(sys.stdout.fileno(), b"\n")
                else:
                    return
            self._deliver()

    def _take(self, source: int) -> None:
        """Take the frames that wait on one device."""
        quality = self._quality
        for _ in range(64):
            try:
                frame = os.read(source, FRAME_BYTES_MAX)
            except BlockingIOError:
                return
            for _ in range(2 if random.random() < quality.duplicated else 1):
                delay_s = quality.delay_s + quality.jitter_s * random.random()
                overtakes = random.random() < quality.reordered
                self._serial += 1
                if len(self._flying) < QUEUE_FRAMES_MAX:
                    due = time.monotonic() + (0.0 if overtakes else delay_s)
                    heapq.heappush(self._flying, (due, self._serial, self._to[source], frame))

    def _deliver(self) -> None:
        """Write the frames that are due. One that a device does not take is lost."""
        now = time.monotonic()
        while self._flying and self._flying[0][0] <= now:
            _, _, target, frame = heapq.heappop(self._flying)
            with contextlib.suppress(OSError):
                os.write(target, frame)


if __name__ == "__main__":
    Forwarder(int(sys.argv[1]), int(sys.argv[2])).run()
