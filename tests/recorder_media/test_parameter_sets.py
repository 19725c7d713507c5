from __future__ import annotations

from random import Random

import pytest

from evidence_store.errors import InvalidInput
from recorder.h264_setup import ParameterSets, avc1, parse_pps, parse_sps

from .payloads import PPS, PPS_HD, SPS, SPS_HD


@pytest.mark.parametrize(
    ("sps", "size", "codec", "chroma", "depth"),
    [
        pytest.param(SPS.hex(), (640, 360), "avc1.42c01e", 1, 8, id="baseline_cropped"),
        pytest.param(SPS_HD.hex(), (1920, 1080), "avc1.641028", 1, 8, id="high_cropped"),
        pytest.param(
            "67f4000d919b28283f6022000003000200000300641e28532c", (320, 240), "avc1.f4000d", 3, 8, id="high_444"
        ),
        pytest.param(
            "677a001fb6cd9405005bb011000003000100000300320f183196", (1280, 720), "avc1.7a001f", 2, 10, id="high_422_10"
        ),
        pytest.param(
            "674d401eeca05a126c0440000003004000000c87c50a6580", (720, 576), "avc1.4d401e", 1, 8, id="interlaced"
        ),
        pytest.param(
            "674d400deca0a843c4446022000003000200000300641e28532c", (322, 242), "avc1.4d400d", 1, 8, id="odd_crop"
        ),
    ],
)
def test_sps(sps: str, size: tuple[int, int], codec: str, chroma: int, depth: int) -> None:
    parsed = parse_sps(bytes.fromhex(sps))
    assert (parsed.width, parsed.height) == size
    assert (parsed.chroma_format, parsed.luma_depth, parsed.chroma_depth) == (chroma, depth, depth)
    assert avc1((bytes.fromhex(sps),), (PPS,)).codec == codec


@pytest.mark.parametrize(
    "nal",
    [
        pytest.param(b"", id="empty"),
        pytest.param(b"\x67", id="header_only"),
        pytest.param(PPS, id="another_type"),
        pytest.param(SPS[:6], id="cut_short"),
        pytest.param(SPS[:4] + bytes(8), id="endless_number"),
        pytest.param(SPS + bytes(70_000), id="too_long_for_avcc"),
    ],
)
def test_malformed_sps(nal: bytes) -> None:
    with pytest.raises(InvalidInput) as caught:
        parse_sps(nal)
    assert caught.value.code == "bad-parameter-set"


@pytest.mark.parametrize("nal", [b"", b"\x68", SPS, b"\x68\x00\x00"], ids=["empty", "header_only", "sps", "no_ids"])
def test_malformed_pps(nal: bytes) -> None:
    with pytest.raises(InvalidInput):
        parse_pps(nal)


def test_random_sps_only_ever_raises_invalid_input() -> None:
    random = Random(5)  # noqa: S311
    for _ in range(3000):
        nal = bytearray(random.choice((SPS, SPS_HD)))
        for _ in range(random.randrange(1, 5)):
            nal[random.randrange(1, len(nal))] = random.randrange(256)
        try:
            parsed = parse_sps(bytes(nal))
        except InvalidInput:
            continue
        assert 0 < parsed.width <= 16384
        assert 0 < parsed.height <= 16384


def test_sets_in_force() -> None:
    sets = ParameterSets()
    assert sets.snapshot() is None
    assert sets.see([SPS]) == 0
    assert sets.snapshot() is None
    assert sets.see([PPS]) == 0
    assert sets.snapshot() == ((SPS,), (PPS,))
    assert sets.see([SPS, PPS]) == 0
    assert sets.snapshot() == ((SPS,), (PPS,))
    sets.see([SPS_HD])
    assert sets.snapshot() is None, "the PPS of the SPS before no longer fits"
    sets.see([PPS_HD])
    assert sets.snapshot() == ((SPS_HD,), (PPS_HD,))
    assert sets.see([b"\x67\x42", b"\x68"]) == 2
    assert sets.snapshot() == ((SPS_HD,), (PPS_HD,))
