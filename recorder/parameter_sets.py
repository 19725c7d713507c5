"""H.264 parameter sets, as far as a container needs them: which they are, profile, level, and the size of the picture.

ITU-T H.264 (08/2021): 7.3.2.1.1 (SPS), 7.3.2.2 (PPS), 7.4.1 (emulation prevention). Slices are never looked into.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import lru_cache

from evidence_store.errors import InvalidInput

from .depacketise import NAL_PPS, NAL_SPS

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

    @property
    def has_range_extensions(self) -> bool:
        """True for the profiles whose avcC ends with chroma format and depths (ISO/IEC 14496-15, 5.3.3.1)."""
        return self.profile in (100, 110, 122, 144, 244, 44)


class _Bits:
    """Reads an RBSP. Raises InvalidInput past its end."""

    def __init__(self, nal: bytes) -> None:
        rbsp = nal[1:].replace(b"\0\0\3", b"\0\0")
        self._value = int.from_bytes(rbsp, "big")
        self._left = len(rbsp) * 8

    def u(self, count: int) -> int:
        if count > self._left:
            raise InvalidInput("parameter set ends too early", code="bad-parameter-set")
        self._left -= count
        return (self._value >> self._left) & ((1 << count) - 1)

    def ue(self) -> int:
        zeros = 0
        while not self.u(1):
            zeros += 1
            if zeros > 31:
                raise InvalidInput("parameter set has a number over 32 bits", code="bad-parameter-set")
        return (1 << zeros) - 1 + self.u(zeros)

    def se(self) -> int:
        value = self.ue()
        return (value + 1) // 2 if value & 1 else -(value // 2)


@lru_cache(maxsize=64)
def parse_sps(nal: bytes) -> Sps:
    """Read an SPS NAL unit (header byte included). Raises InvalidInput `bad-parameter-set`."""
    if len(nal) < 4 or len(nal) > _MAX_SET or nal[0] & 0x1F != NAL_SPS:
        raise InvalidInput("not an SPS", code="bad-parameter-set")
    bits = _Bits(nal)
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
    if identifier > 31 or chroma_format > 3 or max(luma_depth, chroma_depth) > 14:
        raise InvalidInput("SPS has a value out of range", code="bad-parameter-set")
    if not (0 < width <= 16384 and 0 < height <= 16384):
        raise InvalidInput("SPS has an impossible picture size", code="bad-parameter-set")
    return Sps(identifier, profile, constraints, level, chroma_format, luma_depth, chroma_depth, width, height)


def _skip_scaling_list(bits: _Bits, size: int) -> None:
    last = following = 8
    for _ in range(size):
        if following:
            following = (last + bits.se()) & 0xFF
        last = following or last


@lru_cache(maxsize=64)
def parse_pps(nal: bytes) -> tuple[int, int]:
    """Give (PPS id, id of its SPS). Raises InvalidInput `bad-parameter-set`."""
    if not 2 <= len(nal) <= _MAX_SET or nal[0] & 0x1F != NAL_PPS:
        raise InvalidInput("not a PPS", code="bad-parameter-set")
    bits = _Bits(nal)
    identifier, sps = bits.ue(), bits.ue()
    if identifier > 255 or sps > 31:
        raise InvalidInput("PPS has an id out of range", code="bad-parameter-set")
    return identifier, sps


def codec_string(sps: bytes) -> str:
    """Name the codec for a browser (RFC 6381, 3.3), as in `avc1.42c028`. Raises InvalidInput `bad-parameter-set`."""
    parse_sps(sps)
    return f"avc1.{sps[1:4].hex()}"


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
