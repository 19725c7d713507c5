"""The clock in the simulated room's picture and the tick in its sound, written and read back.

Pure: no I/O, no clock is read. A simulated camera shows frame `k` of its loop at the UTC instant `t` for which `t ×
rate ≡ k (mod seconds × rate)`, and its sound holds a 40 ms tone from each whole second of UTC. Therefore, from what
comes out:

    latency   `age(index, seen_at, …)` is the time between a frame's UTC instant and the moment it was seen
    sync      the start of a tone less the time of the frame whose index is a multiple of the rate, in media time
    loss      the indices read from recorded frames count up by one; a jump is that many frames

The bars are 24 cells of equal width along the top edge, `1/STRIP` of the picture high: 1 0, the index in 16 bits
(highest first), a 4-bit CRC (x⁴ + x + 1) of it, 0 1. White is 1. Cells are so large that compression and scaling
leave them readable.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

CELLS = 24
STRIP = 40  # the strip's height is the picture's height over this
TONE_SECONDS = 0.040

_WHITE, _BLACK = 235, 16
_STEP = 120  # samples in one look at the sound: 2.5 ms at 48 kHz
_TONE_LEVEL = 3_000.0  # of 32,768: between the room's murmur and the tone


def _crc4(value: int) -> int:
    remainder = value << 4
    for bit in range(19, 3, -1):
        if remainder >> bit & 1:
            remainder ^= 0b10011 << (bit - 4)
    return remainder


def picture_clock_cells(index: int) -> bytes:
    """One row of CELLS luma values that say `index` (0 to 65,535; ValueError beyond)."""
    if not 0 <= index < 1 << 16:
        raise ValueError(f"a picture clock counts from 0 to 65535, not {index}")
    bits = f"10{index:016b}{_crc4(index):04b}01"
    return bytes(_WHITE if bit == "1" else _BLACK for bit in bits)


def read_picture_clock(
    luma: bytes | bytearray | memoryview, width: int, height: int, stride: int | None = None
) -> int | None:
    """The index in a picture's luma plane (8 bits a sample, `stride` bytes a row), or None where none can be read."""
    stride = width if stride is None else stride
    rows = range(height // STRIP // 4, max(height // STRIP * 3 // 4, height // STRIP // 4 + 1))
    means = []
    for cell in range(CELLS):
        left, right = (4 * cell + 1) * width // (4 * CELLS), (4 * cell + 3) * width // (4 * CELLS)
        total = sum(sum(luma[row * stride + left : row * stride + right]) for row in rows)
        means.append(total / (len(rows) * (right - left)))
    if max(means) - min(means) < 80:
        return None
    middle = (max(means) + min(means)) / 2
    bits = "".join("1" if mean > middle else "0" for mean in means)
    index = int(bits[2:18], 2)
    if bits[:2] != "10" or bits[22:] != "01" or int(bits[18:22], 2) != _crc4(index):
        return None
    return index


def age(index: int, seen_at: float, *, rate: int, seconds: int) -> float:
    """Seconds from the frame's UTC instant to `seen_at` (Unix time), in −1 to `seconds` − 1.

    A little below zero means that the two clocks differ, or that a frame was sent early: it is not folded into a
    whole loop.
    """
    late = (seen_at - index / rate) % seconds
    return late - seconds if late > seconds - 1 else late


def find_tones(samples: Sequence[int], frequency: float, rate: int = 48_000) -> list[float]:
    """Where tones of `frequency` Hz begin in a channel of 16-bit samples: seconds from its first, exact to 2.5 ms."""
    wave = [2 * math.pi * frequency * n / rate for n in range(_STEP)]
    cosine, sine = [math.cos(angle) for angle in wave], [math.sin(angle) for angle in wave]
    starts: list[float] = []
    loud = False
    for offset in range(0, len(samples) - _STEP + 1, _STEP):
        window = samples[offset : offset + _STEP]
        in_phase = sum(sample * weight for sample, weight in zip(window, cosine, strict=True))
        quadrature = sum(sample * weight for sample, weight in zip(window, sine, strict=True))
        was_loud, loud = loud, math.hypot(in_phase, quadrature) * 2 / _STEP > _TONE_LEVEL
        if loud and not was_loud:
            starts.append(offset / rate)
    return starts
