from __future__ import annotations

import struct

import pytest

from evidence_store.errors import InvalidInput
from recorder.box_reader import ParsedFragment, ParsedInit, boxes, parse_fragment, parse_init
from recorder.boxes import Sample, fragment, initialisation, opus
from recorder.decoder_setup import Setup
from recorder.h264_setup import avc1
from recorder.vpx_setup import vp08

from .payloads import IDR, PPS, PPS_HD, SLICE, SPS, SPS_HD, lengths

KEY, DELTA = Sample(lengths(SPS, PPS, IDR), 3000, True), Sample(lengths(SLICE), 3003, False)


@pytest.mark.parametrize(
    ("sequence", "base", "samples"),
    [
        pytest.param(1, 0, (KEY, DELTA), id="from_zero"),
        pytest.param(2**32 - 1, 2**63, (DELTA,), id="greatest"),
        pytest.param(7, 90_000, (KEY, Sample(b"", 1, False)), id="empty_sample"),
        pytest.param(8, 5, (KEY, Sample(b"abc", 1, False, -9000), Sample(b"d", 9, False, 2**31 - 1)), id="offsets"),
    ],
)
def test_fragment_reads_back(sequence: int, base: int, samples: tuple[Sample, ...]) -> None:
    data = fragment(sequence, base, samples)
    assert parse_fragment(data) == ParsedFragment(sequence, base, samples)
    assert [kind for kind, _ in boxes(data)] == [b"moof", b"mdat"]
    offset = int.from_bytes(data[data.index(b"trun") + 12 :][:4], "big")
    assert data[offset:] == b"".join(sample.data for sample in samples)


@pytest.mark.parametrize(
    ("setup", "timescale"),
    [
        pytest.param(avc1((SPS,), (PPS,)), 90_000, id="baseline"),
        pytest.param(avc1((SPS_HD,), (PPS_HD,)), 90_000, id="high"),
        pytest.param(avc1((SPS,), (PPS, b"\x68\x5a")), 1000, id="two"),
        pytest.param(vp08(0, 640, 360), 90_000, id="vp8"),
        pytest.param(opus(1), 48_000, id="mono"),
        pytest.param(opus(2), 48_000, id="stereo"),
    ],
)
def test_init_reads_back(setup: Setup, timescale: int) -> None:
    init = initialisation(setup, timescale)
    assert parse_init(init) == ParsedInit(setup, timescale)
    assert [kind for kind, _ in boxes(init)] == [b"ftyp", b"moov"]


PICTURE, SOUND = initialisation(avc1((SPS,), (PPS,)), 90_000), initialisation(opus(2), 48_000)


def test_high_profile_says_chroma_and_depth() -> None:
    high = bytes.fromhex("677a001fb6cd9405005bb011000003000100000300320f183196")
    assert b"\xfe\xfa\xfa\x00" in avc1((high,), (PPS,)).entry
    assert b"\xfd\xf8\xf8\x00" in avc1((SPS_HD,), (PPS_HD,)).entry


GOOD = fragment(3, 9000, (KEY, DELTA))


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(b"", id="nothing"),
        pytest.param(GOOD[:-1], id="cut_short"),
        pytest.param(GOOD + b"\0", id="trailing_byte"),
        pytest.param(GOOD + GOOD, id="two_fragments"),
        pytest.param(GOOD[: GOOD.index(b"mdat") - 4], id="no_mdat"),
        pytest.param(GOOD.replace(b"traf", b"fart"), id="no_traf"),
        pytest.param(GOOD.replace(b"tfdt", b"free"), id="no_tfdt"),
        pytest.param(GOOD.replace(b"\x02\x00\x00\x00", b"\x02\x00\x00\x01", 1), id="unknown_flags"),
        pytest.param(GOOD.replace(struct.pack(">I", len(KEY.data)), struct.pack(">I", 2**31)), id="size_over_the_end"),
        pytest.param(GOOD.replace(struct.pack(">I", len(KEY.data)), bytes(4)), id="bytes_of_no_sample"),
        pytest.param(bytes(4) + GOOD[4:], id="box_of_size_zero"),
        pytest.param(b"\xff\xff\xff\xff" + GOOD[4:], id="box_over_the_end"),
    ],
)
def test_malformed_fragment(data: bytes) -> None:
    with pytest.raises(InvalidInput):
        parse_fragment(data)


def test_every_flipped_bit_outside_media_is_seen_or_changes_what_is_read() -> None:
    good = parse_fragment(GOOD)
    for position in range(GOOD.index(b"mdat") + 4):
        bad = bytearray(GOOD)
        bad[position] ^= 1
        try:
            assert parse_fragment(bytes(bad)) != good
        except InvalidInput:
            continue


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(GOOD, id="a_fragment"),
        pytest.param(PICTURE[:-1], id="cut_short"),
        pytest.param(PICTURE.replace(b"isom", b"mp42").replace(b"iso6", b"mp42"), id="other_brand"),
        pytest.param(SOUND.replace(b"roll", b"prol"), id="other_group"),
        pytest.param(SOUND.replace(b"Opus", b"mp4a"), id="other_codec"),
    ],
)
def test_malformed_init(data: bytes) -> None:
    with pytest.raises(InvalidInput):
        parse_init(data)


@pytest.mark.parametrize(
    ("sequence", "base", "samples"),
    [
        pytest.param(1, 0, (), id="no_samples"),
        pytest.param(2**32, 0, (KEY,), id="sequence"),
        pytest.param(1, -1, (KEY,), id="time_before_the_origin"),
        pytest.param(1, 0, (Sample(b"", 2**32, True),), id="duration"),
        pytest.param(1, 0, (Sample(b"", 1, True, 2**31),), id="offset"),
    ],
)
def test_what_a_fragment_cannot_hold(sequence: int, base: int, samples: tuple[Sample, ...]) -> None:
    with pytest.raises(InvalidInput) as caught:
        fragment(sequence, base, samples)
    assert caught.value.code == "bad-fragment"


@pytest.mark.parametrize(("sps", "pps"), [((), (PPS,)), ((SPS,), ()), ((SPS[:5],), (PPS,)), ((SPS,) * 32, (PPS,))])
def test_what_an_init_cannot_hold(sps: tuple[bytes, ...], pps: tuple[bytes, ...]) -> None:
    with pytest.raises(InvalidInput):
        avc1(sps, pps)
    with pytest.raises(InvalidInput):
        opus(6)
