"""H.264 parameter sets, as far as a container needs them: which they are, profile, level, size, order of pictures.

ITU-T H.264 (08/2021): 7.3.2.1.1 (SPS), 7.3.2.2 (PPS), 7.4.1 (emulation prevention). Slices are never looked into.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import lru_cache

from evidence_store.errors import InvalidInput

from .bits import Bits, rbsp
from .boxes import box, visual_entry
from .decoder_setup import Setup
from .h264 import NAL_PPS, NAL_SPS

_HIGH_PROFILES = frozenset({100, 110, 122, 244, 44, 83, 86, 118, 128, 138, 139, 134, 135})
_MAX_SET = 0xFFFF


@dataclass(frozen=True, slots=True)
class Sps:
    """What the container repeats of an SPS. `width` and `height` in pixels, after cropping."""

    identifier: int
    profile: int
    constraints: int
    level: int
    chroma_format: int
    luma_depth: int
    chroma_depth: int
    width: int
    height: int
    reordered: int

    @property
    def has_range_extensions(self) -> bool:
        """True for the profiles whose avcC ends with chroma format and depths (ISO/IEC 14496-15, 5.3.3.1)."""
        return self.profile in (100, 110, 122, 144, 244, 44)


@lru_cache(maxsize=64)
def parse_sps(nal: bytes) -> Sps:
    """Read an SPS NAL unit (header byte included). Raises InvalidInput `bad-parameter-set`."""
    if len(nal) < 4 or len(nal) > _MAX_SET or nal[0] & 0x1F != NAL_SPS:
        raise InvalidInput("not an SPS", code="bad-parameter-set")
    bits = Bits(rbsp(nal, 1))
    profile, constraints, level = bits.u(8), bits.u(8), bits.u(8)
    identifier = bits.ue()
    chroma_format, luma_depth, chroma_depth, separate = 1, 8, 8, 0
    if profile in _HIGH_PROFILES:
        chroma_format = bits.ue()
        separate = bits.u(1) if chroma_format == 3 else 0
        luma_depth, chroma_depth = 8 + bits.ue(), 8 + bits.ue()
        bits.u(1)
        if bits.u(1):
            for index in range(12 if chroma_format == 3 else 8):
                if bits.u(1):
                    _skip_scaling_list(bits, 16 if index < 6 else 64)
    bits.ue()
    order = bits.ue()
    if order == 0:
        bits.ue()
    elif order == 1:
        bits.u(1)
        bits.se()
        bits.se()
        cycle = bits.ue()
        if cycle > 255:
            raise InvalidInput("SPS has too many reference frames in a cycle", code="bad-parameter-set")
        for _ in range(cycle):
            bits.se()
    bits.ue()
    bits.u(1)
    width = (bits.ue() + 1) * 16
    map_units = bits.ue() + 1
    frames_only = bits.u(1)
    height = map_units * 16 * (2 - frames_only)
    if not frames_only:
        bits.u(1)
    bits.u(1)
    if bits.u(1):
        left, right, top, bottom = bits.ue(), bits.ue(), bits.ue(), bits.ue()
        array = 0 if separate else chroma_format
        unit_x = 2 if array in (1, 2) else 1
        unit_y = (2 if array == 1 else 1) * (2 - frames_only)
        width -= unit_x * (left + right)
        height -= unit_y * (top + bottom)
    reordered = _reordered(bits) if bits.u(1) and profile not in (66, 88) else 0
    if identifier > 31 or chroma_format > 3 or max(luma_depth, chroma_depth) > 14:
        raise InvalidInput("SPS has a value out of range", code="bad-parameter-set")
    if not (0 < width <= 16384 and 0 < height <= 16384):
        raise InvalidInput("SPS has an impossible picture size", code="bad-parameter-set")
    return Sps(
        identifier, profile, constraints, level, chroma_format, luma_depth, chroma_depth, width, height, reordered
    )


def _skip_scaling_list(bits: Bits, size: int) -> None:
    last = following = 8
    for _ in range(size):
        if following:
            following = (last + bits.se()) & 0xFF
        last = following or last


def _reordered(bits: Bits) -> int:
    """max_num_reorder_frames of the VUI (E.1.1, E.2.1), 0 where it is not told or does not fit."""
    try:
        if bits.u(1) and bits.u(8) == 255:
            bits.u(32)
        if bits.u(1):
            bits.u(1)
        if bits.u(1):
            bits.u(4)
            if bits.u(1):
                bits.u(24)
        if bits.u(1):
            bits.ue()
            bits.ue()
        if bits.u(1):
            bits.u(65)
        described = 0
        for _ in range(2):
            if bits.u(1):
                _skip_hrd(bits)
                described += 1
        if described:
            bits.u(1)
        bits.u(1)
        if not bits.u(1):
            return 0
        bits.u(1)
        for _ in range(4):
            bits.ue()
        return min(bits.ue(), 16)
    except InvalidInput:
        # The rest of a cut VUI tells nothing, and what counts for the picture came before it.
        return 0


def _skip_hrd(bits: Bits) -> None:
    count = min(bits.ue(), 31) + 1
    bits.u(8)
    for _ in range(count):
        bits.ue()
        bits.ue()
        bits.u(1)
    bits.u(20)


@lru_cache(maxsize=64)
def parse_pps(nal: bytes) -> tuple[int, int]:
    """Give (PPS id, id of its SPS). Raises InvalidInput `bad-parameter-set`."""
    if not 2 <= len(nal) <= _MAX_SET or nal[0] & 0x1F != NAL_PPS:
        raise InvalidInput("not a PPS", code="bad-parameter-set")
    bits = Bits(rbsp(nal, 1))
    identifier, sps = bits.ue(), bits.ue()
    if identifier > 255 or sps > 31:
        raise InvalidInput("PPS has an id out of range", code="bad-parameter-set")
    return identifier, sps


@lru_cache(maxsize=64)
def avc1(sps: tuple[bytes, ...], pps: tuple[bytes, ...]) -> Setup:
    """The setup of these sets (1 to 31, 1 to 255 whole NAL units), named as in `avc1.42c028`.

    ISO/IEC 14496-15, 5.3.3. Parameter sets and SEI stay in the samples as they were sent; the entry repeats the
    former. Raises InvalidInput `bad-parameter-set`.
    """
    if not 1 <= len(sps) <= 31 or not 1 <= len(pps) <= 255:
        raise InvalidInput("a track needs 1 to 31 SPS and 1 to 255 PPS", code="bad-parameter-set")
    first = parse_sps(sps[0])
    parts = [
        struct.pack(">BBBBBB", 1, first.profile, first.constraints, first.level, 0xFC | 3, 0xE0 | len(sps)),
        *(struct.pack(">H", len(nal)) + nal for nal in sps),
        struct.pack(">B", len(pps)),
        *(struct.pack(">H", len(nal)) + nal for nal in pps),
    ]
    if first.has_range_extensions:
        luma, chroma = first.luma_depth - 8, first.chroma_depth - 8
        parts.append(struct.pack(">BBBB", 0xFC | first.chroma_format, 0xF8 | luma, 0xF8 | chroma, 0))
    entry = visual_entry(b"avc1", first.width, first.height, box(b"avcC", *parts))
    return Setup(f"avc1.{sps[0][1:4].hex()}", entry, first.width, first.height, first.reordered, sps + pps)


def read_avcc(data: bytes) -> Setup:
    """The setup whose avcC this is. Raises InvalidInput, struct.error, IndexError."""
    sps, position = _sets(data, 6, data[5] & 0x1F)
    pps, _ = _sets(data, position + 1, data[position])
    return avc1(sps, pps)


def _sets(data: bytes, position: int, count: int) -> tuple[tuple[bytes, ...], int]:
    nals = []
    for _ in range(count):
        (size,) = struct.unpack_from(">H", data, position)
        nals.append(data[position + 2 : position + 2 + size])
        position += 2 + size
    return tuple(nals), position


@dataclass(slots=True)
class ParameterSets:
    """The sets in force on one connection: at most 32 SPS and 256 PPS, each under 64 KiB."""

    _sps: dict[int, bytes] = field(default_factory=dict)
    _pps: dict[int, tuple[int, bytes]] = field(default_factory=dict)

    def see(self, nals: Iterable[bytes]) -> int:
        """Take the sets of one access unit, in order; give how many of them were malformed and not taken.

        An SPS whose content changes takes the PPS that spoke of the old one with it (7.4.1.2.1).
        """
        malformed = 0
        for nal in nals:
            try:
                if nal[0] & 0x1F == NAL_SPS:
                    identifier = parse_sps(nal).identifier
                    if self._sps.get(identifier) != nal:
                        self._sps[identifier] = nal
                        self._pps = {key: value for key, value in self._pps.items() if value[0] != identifier}
                else:
                    identifier, sps = parse_pps(nal)
                    self._pps[identifier] = (sps, nal)
            except InvalidInput:
                malformed += 1
        return malformed

    def snapshot(self) -> tuple[tuple[bytes, ...], tuple[bytes, ...]] | None:
        """Give (SPS NAL units, PPS NAL units) by id, those that fit together; None while no pair does."""
        used = {sps for sps, _ in self._pps.values()}
        sps = tuple(nal for key, nal in sorted(self._sps.items()) if key in used)
        pps = tuple(nal for _, (key, nal) in sorted(self._pps.items()) if key in self._sps)
        return (sps[:31], pps[:255]) if sps and pps else None

    def setup(self) -> Setup | None:
        """What a key frame that came now would be decoded with."""
        sets = self.snapshot()
        return None if sets is None else avc1(*sets)
