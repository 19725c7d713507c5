"""What a container says of VP8 and VP9: "VP Codec ISO Media File Format Binding", version 1.0."""

from __future__ import annotations

import struct
from functools import lru_cache

from evidence_store.errors import InvalidInput

from .bits import Bits
from .boxes import full_box, visual_entry
from .decoder_setup import Setup
from .vp8 import parse_key_header

_COLOCATED = 1  # 4:2:0, chroma sited with luma (0,0)
_422, _444, _440 = 2, 3, 1  # the binding has no word for 4:4:0
_SYNC_CODE = 0x498342
_RGB = 7
_MATRICES = (2, 6, 1, 6, 7, 9, 2, 0)  # ISO/IEC 23091-2's number of each color_space
_UNSPECIFIED = 2  # of colour primaries, transfer and matrix (ISO/IEC 23091-2)
# Greatest luma rate (samples a second) and picture size of each level of VP9 (webmproject.org/vp9/levels), coded as
# ten times the level. The stream does not tell its level: it is the least that has room for it at 60 pictures a second.
_LEVELS = (
    (10, 829_440, 36_864),
    (11, 2_764_800, 73_728),
    (20, 4_608_000, 122_880),
    (21, 9_216_000, 245_760),
    (30, 20_736_000, 552_960),
    (31, 36_864_000, 983_040),
    (40, 83_558_400, 2_228_224),
    (41, 160_432_128, 2_228_224),
    (50, 311_951_360, 8_912_896),
    (51, 588_251_136, 8_912_896),
    (52, 1_176_502_272, 8_912_896),
    (60, 1_176_502_272, 35_651_584),
    (61, 2_353_004_544, 35_651_584),
    (62, 4_706_009_088, 35_651_584),
)
_RATE = 60


def _level(width: int, height: int) -> int:
    size = width * height
    return next((level for level, rate, most in _LEVELS if size <= most and size * _RATE <= rate), 62)


@lru_cache(maxsize=64)
def vp08(version: int, width: int, height: int) -> Setup:
    """The setup of VP8. `version` is that of the key frame's tag."""
    return _vpx(b"vp08", version, width, height, 8, _COLOCATED << 1, _UNSPECIFIED)


def read_vp8(header: bytes) -> Setup:
    """The setup of a VP8 key frame that begins so. Raises InvalidInput `bad-parameter-set`."""
    return vp08(*parse_key_header(header))


@lru_cache(maxsize=64)
def read_vp9(header: bytes) -> Setup:
    """The setup of a VP9 key frame that begins so (bitstream specification, 6.2). Raises InvalidInput
    `bad-parameter-set`."""
    bits = Bits(header)
    if bits.u(2) != 2:
        raise InvalidInput("not a VP9 frame", code="bad-parameter-set")
    profile = bits.u(1) | bits.u(1) << 1
    if profile == 3:
        bits.u(1)
    existing, inter, _, _ = bits.u(1), bits.u(1), bits.u(1), bits.u(1)
    if existing or inter or bits.u(24) != _SYNC_CODE:
        raise InvalidInput("not a VP9 key frame", code="bad-parameter-set")
    depth = 8 if profile < 2 else 12 if bits.u(1) else 10
    space = bits.u(3)
    full_range, sampling = 1, _444
    if space != _RGB:
        full_range = bits.u(1)
        x, y = (bits.u(1), bits.u(1)) if profile & 1 else (1, 1)
        sampling = {(1, 1): _COLOCATED, (1, 0): _422, (0, 0): _444}.get((x, y), _440)
    if profile & 1:
        bits.u(1)
    width, height = bits.u(16) + 1, bits.u(16) + 1
    if max(width, height) > 0xFFFF:
        raise InvalidInput("VP9 key frame is too large for a file", code="bad-parameter-set")
    return _vpx(b"vp09", profile, width, height, depth, sampling << 1 | full_range, _MATRICES[space])


def read_vpcc(kind: bytes, data: bytes, width: int, height: int) -> Setup:
    """The setup of a sample entry of this kind, vpcC and size. Raises InvalidInput, struct.error."""
    profile, _, mixed, _, _, matrix = struct.unpack_from(">4xBBBBBB", data)
    if kind not in (b"vp08", b"vp09"):
        raise InvalidInput("not a sample entry of ours", code="bad-init")
    return _vpx(kind, profile, width, height, mixed >> 4, mixed & 0xF, matrix)


def _vpx(kind: bytes, profile: int, width: int, height: int, depth: int, sampling: int, matrix: int) -> Setup:
    """`sampling`: chroma subsampling (3 bits) and full range (1 bit)."""
    level = _level(width, height)
    colour = bytes((_UNSPECIFIED, _UNSPECIFIED, matrix))
    config = full_box(b"vpcC", 1, 0, bytes((profile, level, depth << 4 | sampling)), colour, bytes(2))
    name = f"{kind.decode()}.{profile:02}.{level:02}.{depth:02}"
    return Setup(name, visual_entry(kind, width, height, config), width, height)
