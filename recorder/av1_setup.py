"""AV1's sequence header, as far as a container needs it (AV1 specification, 5.5; ISOBMFF binding, 2.2, 2.3)."""

from __future__ import annotations

from functools import lru_cache

from evidence_store.errors import InvalidInput

from .av1 import OBU_SEQUENCE, read_leb128
from .bits import Bits
from .boxes import box, visual_entry
from .decoder_setup import Setup

_MARKER = 0x81
_SELECT = 2
_LARGEST = 4096  # octets; with 32 operating points it has some 150


@lru_cache(maxsize=64)
def read_av1(obu: bytes) -> Setup:
    """The setup of a sequence header OBU that has its size field, named as in `av01.0.08M.08`.

    Raises InvalidInput `bad-parameter-set`.
    """
    header = obu[0] if obu else 0
    size, at = read_leb128(obu, 2 if header & 4 else 1)
    if len(obu) > _LARGEST or header >> 3 & 15 != OBU_SEQUENCE or not header & 2 or not at or size != len(obu) - at:
        raise InvalidInput("not an AV1 sequence header", code="bad-parameter-set")
    bits = Bits(obu[at:])
    profile = bits.u(3)
    bits.u(1)
    reduced = bits.u(1)
    level, tier = (bits.u(5), 0) if reduced else _operating_points(bits)
    width_bits, height_bits = bits.u(4) + 1, bits.u(4) + 1
    width, height = bits.u(width_bits) + 1, bits.u(height_bits) + 1
    _skip_tools(bits, reduced)
    depth, colour = _colour(bits, profile)
    if profile > 2 or max(width, height) > 0xFFFF:
        raise InvalidInput("AV1 sequence header has a value out of range", code="bad-parameter-set")
    config = bytes((_MARKER, profile << 5 | level, tier << 7 | colour, 0))
    name = f"av01.{profile}.{level:02}{'H' if tier else 'M'}.{depth:02}"
    return Setup(name, visual_entry(b"av01", width, height, box(b"av1C", config, obu)), width, height)


def read_av1c(data: bytes) -> Setup:
    """The setup whose av1C this is. Raises InvalidInput."""
    return read_av1(data[4:])


def _operating_points(bits: Bits) -> tuple[int, int]:
    """Level and tier of the first, which is all of the stream."""
    model, delay_bits = 0, 0
    if bits.u(1):
        bits.u(64)
        if bits.u(1):
            bits.ue()
        model = bits.u(1)
        if model:
            delay_bits = bits.u(5) + 1
            bits.u(42)
    display = bits.u(1)
    found = []
    for _ in range(bits.u(5) + 1):
        bits.u(12)
        level = bits.u(5)
        found.append((level, bits.u(1) if level > 7 else 0))
        if model and bits.u(1):
            bits.u(2 * delay_bits + 1)
        if display and bits.u(1):
            bits.u(4)
    return found[0]


def _skip_tools(bits: Bits, reduced: int) -> None:
    if not reduced and bits.u(1):
        bits.u(7)
    bits.u(3)
    if not reduced:
        bits.u(4)
        order = bits.u(1)
        if order:
            bits.u(2)
        screen = _SELECT if bits.u(1) else bits.u(1)
        if screen and not bits.u(1):
            bits.u(1)
        if order:
            bits.u(3)
    bits.u(3)


def _colour(bits: Bits, profile: int) -> tuple[int, int]:
    """Bit depth, and the seven low bits of av1C's third octet."""
    high = bits.u(1)
    twelve = bits.u(1) if profile == 2 and high else 0
    depth = 12 if twelve else 10 if high else 8
    mono = bits.u(1) if profile != 1 else 0
    told = (bits.u(8), bits.u(8), bits.u(8)) if bits.u(1) else (2, 2, 2)
    x = y = 1
    position = 0
    if mono:
        bits.u(1)
    elif told == (1, 13, 0):
        x = y = 0
    else:
        bits.u(1)
        if profile == 1:
            x = y = 0
        elif profile == 2:
            x = bits.u(1) if twelve else 1
            y = bits.u(1) if twelve and x else 0
        if x and y:
            position = bits.u(2)
    return depth, high << 6 | twelve << 5 | mono << 4 | x << 3 | y << 2 | position
