"""H.265 parameter sets, as far as a container needs them (ITU-T H.265, 7.3.2; ISO/IEC 14496-15, 8.3.3)."""

from __future__ import annotations

import struct
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import lru_cache

from evidence_store.errors import InvalidInput

from .bits import Bits, rbsp
from .boxes import box, visual_entry
from .decoder_setup import Setup
from .h265 import NAL_PPS, NAL_SPS, NAL_VPS, kind_of

_MAX_SET = 0xFFFF
_CROP = {0: (1, 1), 1: (2, 2), 2: (2, 1), 3: (1, 1)}
Sets = tuple[tuple[bytes, ...], tuple[bytes, ...], tuple[bytes, ...]]


@dataclass(frozen=True, slots=True)
class Sps:
    """What the container repeats of an SPS. `general`: the 12 octets of its general profile, tier and level."""

    identifier: int
    vps: int
    layers: int
    nested: int
    general: bytes
    chroma_format: int
    luma_depth: int
    chroma_depth: int
    width: int
    height: int
    reordered: int


@lru_cache(maxsize=64)
def parse_sps(nal: bytes) -> Sps:
    """Read an SPS NAL unit (header octets included). Raises InvalidInput `bad-parameter-set`."""
    bits = Bits(rbsp(_of_kind(nal, NAL_SPS), 2))
    vps, layers, nested = bits.u(4), bits.u(3) + 1, bits.u(1)
    general = bits.u(96).to_bytes(12, "big")
    _skip_sub_layers(bits, layers - 1)
    identifier, chroma_format = bits.ue(), bits.ue()
    separate = bits.u(1) if chroma_format == 3 else 0
    width, height = bits.ue(), bits.ue()
    if bits.u(1):
        x, y = (1, 1) if separate else _CROP.get(chroma_format, (1, 1))
        width -= x * (bits.ue() + bits.ue())
        height -= y * (bits.ue() + bits.ue())
    luma_depth, chroma_depth = 8 + bits.ue(), 8 + bits.ue()
    bits.ue()
    reordered = 0
    for _ in range(layers if bits.u(1) else 1):
        bits.ue()
        reordered = bits.ue()
        bits.ue()
    if identifier > 15 or layers > 7 or chroma_format > 3 or max(luma_depth, chroma_depth) > 15 or reordered > 16:
        raise InvalidInput("SPS has a value out of range", code="bad-parameter-set")
    if not (0 < width <= 16384 and 0 < height <= 16384):
        raise InvalidInput("SPS has an impossible picture size", code="bad-parameter-set")
    return Sps(
        identifier, vps, layers, nested, general, chroma_format, luma_depth, chroma_depth, width, height, reordered
    )


def _of_kind(nal: bytes, kind: int) -> bytes:
    if not 3 <= len(nal) <= _MAX_SET or kind_of(nal) != kind:
        raise InvalidInput("not that parameter set", code="bad-parameter-set")
    return nal


def _skip_sub_layers(bits: Bits, count: int) -> None:
    told = [(bits.u(1), bits.u(1)) for _ in range(count)]
    if count:
        bits.u(2 * (8 - count))
    for profile, level in told:
        bits.u(88 * profile + 8 * level)


@lru_cache(maxsize=64)
def parse_pps(nal: bytes) -> tuple[int, int]:
    """Give (PPS id, id of its SPS). Raises InvalidInput `bad-parameter-set`."""
    bits = Bits(rbsp(_of_kind(nal, NAL_PPS), 2))
    identifier, sps = bits.ue(), bits.ue()
    if identifier > 63 or sps > 15:
        raise InvalidInput("PPS has an id out of range", code="bad-parameter-set")
    return identifier, sps


def codec_string(general: bytes) -> str:
    """Name the codec for a browser, as in `hev1.1.6.L93.B0` (ISO/IEC 14496-15, annex E)."""
    space, tier, profile = general[0] >> 6, general[0] >> 5 & 1, general[0] & 31
    compatible = int(f"{int.from_bytes(general[1:5], 'big'):032b}"[::-1], 2)
    constraints = general[5:11].rstrip(b"\0")
    parts = [f"{'ABC'[space - 1] if space else ''}{profile}", f"{compatible:X}", f"{'LH'[tier]}{general[11]}"]
    return ".".join(["hev1", *parts, *(f"{octet:X}" for octet in constraints)])


@lru_cache(maxsize=64)
def hev1(vps: tuple[bytes, ...], sps: tuple[bytes, ...], pps: tuple[bytes, ...]) -> Setup:
    """The setup of these sets, whole NAL units (of each 1 to 63). As hev1, because they also stay in the samples.

    Raises InvalidInput `bad-parameter-set`.
    """
    if not all(1 <= len(sets) <= 63 for sets in (vps, sps, pps)):
        raise InvalidInput("a track needs VPS, SPS and PPS", code="bad-parameter-set")
    first = parse_sps(sps[0])
    # Segmentation, parallelism, frame rate: 0, not told. Four octets of length before each NAL unit.
    config = struct.pack(
        ">B12sHBBBBHBB",
        1,
        first.general,
        0xF000,
        0xFC,
        0xFC | first.chroma_format,
        0xF8 | (first.luma_depth - 8),
        0xF8 | (first.chroma_depth - 8),
        0,
        first.layers << 3 | first.nested << 2 | 3,
        3,
    )
    arrays = [
        struct.pack(">BH", kind, len(sets)) + b"".join(struct.pack(">H", len(nal)) + nal for nal in sets)
        for kind, sets in ((NAL_VPS, vps), (NAL_SPS, sps), (NAL_PPS, pps))
    ]
    entry = visual_entry(b"hev1", first.width, first.height, box(b"hvcC", config, *arrays))
    return Setup(codec_string(first.general), entry, first.width, first.height, first.reordered)


def read_hvcc(data: bytes) -> Setup:
    """The setup whose hvcC this is. Raises InvalidInput, struct.error, IndexError."""
    position, found = 23, []
    for _ in range(data[22]):
        (count,) = struct.unpack_from(">H", data, position + 1)
        position += 3
        nals = []
        for _ in range(count):
            (size,) = struct.unpack_from(">H", data, position)
            nals.append(data[position + 2 : position + 2 + size])
            position += 2 + size
        found.append(tuple(nals))
    if len(found) != 3:
        raise InvalidInput("not an hvcC of ours", code="bad-init")
    return hev1(found[0], found[1], found[2])


@dataclass(slots=True)
class H265Sets:
    """The sets in force on one connection: at most 16 VPS, 16 SPS and 64 PPS, each under 64 KiB."""

    _vps: dict[int, bytes] = field(default_factory=dict)
    _sps: dict[int, bytes] = field(default_factory=dict)
    _pps: dict[int, tuple[int, bytes]] = field(default_factory=dict)

    def see(self, sets: Iterable[bytes]) -> int:
        """Take the sets of one access unit, in order; give how many of them were malformed and not taken."""
        malformed = 0
        for nal in sets:
            try:
                self._take(nal)
            except InvalidInput:
                malformed += 1
        return malformed

    def _take(self, nal: bytes) -> None:
        match kind_of(nal) if nal else -1:
            case 32:
                self._vps[_of_kind(nal, NAL_VPS)[2] >> 4] = nal
            case 33:
                identifier = parse_sps(nal).identifier
                if self._sps.get(identifier) != nal:
                    self._sps[identifier] = nal
                    self._pps = {key: value for key, value in self._pps.items() if value[0] != identifier}
            case _:
                identifier, sps = parse_pps(nal)
                self._pps[identifier] = (sps, nal)

    def setup(self) -> Setup | None:
        """What a key frame that came now would be decoded with; None while no VPS, SPS and PPS fit together."""
        used = {sps for sps, _ in self._pps.values()}
        sps = tuple(nal for key, nal in sorted(self._sps.items()) if key in used)
        spoken_of = {parse_sps(nal).vps for nal in sps}
        vps = tuple(nal for key, nal in sorted(self._vps.items()) if key in spoken_of)
        pps = tuple(nal for _, (key, nal) in sorted(self._pps.items()) if key in self._sps)
        return hev1(vps, sps, pps[:63]) if vps and sps and pps else None
