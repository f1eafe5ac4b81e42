"""The kept inputs of each target, and changes to them."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path

CORPUS = Path(__file__).resolve().parent / "corpus"
EDGES = (0, 1, 2, 0x7F, 0x80, 0xFE, 0xFF)


def kept(target: str) -> dict[str, bytes]:
    """By file name."""
    return {path.name: path.read_bytes() for path in sorted((CORPUS / target).iterdir())}


def mutations(inputs: list[bytes], seed: int) -> Iterator[bytes]:
    """Endless changed inputs; the same for the same seed."""
    rng = random.Random(seed)
    while True:
        data = bytearray(rng.choice(inputs))
        for _ in range(rng.choice((1, 1, 2, 4, 8))):
            change(data, inputs, rng)
        yield bytes(data)


def change(data: bytearray, inputs: list[bytes], rng: random.Random) -> None:
    at = rng.randrange(len(data) + 1)
    match rng.randrange(7):
        case 0:
            data[at : at + 1] = bytes([rng.choice(EDGES)])
        case 1:
            data[at : at + 1] = bytes([rng.randrange(256)])
        case 2:
            del data[at : at + rng.randint(1, 8)]
        case 3:
            data[at:at] = data[at : at + rng.randint(1, 16)]
        case 4:
            size = rng.choice((2, 4, 8))
            data[at : at + size] = bytes([rng.choice(EDGES)] * size)
        case 5:
            other = rng.choice(inputs)
            start = rng.randrange(len(other) + 1)
            data[at:] = other[start:]
        case _ if at < len(data):
            data[at] ^= 1 << rng.randrange(8)
