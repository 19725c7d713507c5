from __future__ import annotations

from random import Random

import pytest

from evidence_store.errors import InvalidInput
from recorder.h265 import H265Depacketiser, begins_key_frame
from recorder.h265_setup import H265Sets, hev1, parse_sps

from .depacketising import LOST, Script, nonsense, play
from .payloads import lengths, split_lengths

VPS = bytes.fromhex("40010c01ffff01600000030090000003000003003f959809")
SPS = bytes.fromhex("42010101600000030090000003000003003fa005020171f2e595912930bc05a020000003002000000303c1")
PPS = bytes.fromhex("4401c073c189")
AUD, SEI = b"\x46\x01\x50", b"\x4e\x01\x05abc\x80"
IDR = b"\x26\x01" + bytes(range(1, 250))
SLICE = b"\x02\x01" + bytes(range(1, 200))


def aggregate(*nals: bytes) -> bytes:
    return b"\x60\x01" + b"".join(len(nal).to_bytes(2, "big") + nal for nal in nals)


def fragments(nal: bytes, size: int) -> list[bytes]:
    body, kind = nal[2:], nal[0] >> 1 & 0x3F
    pieces = [body[at : at + size] for at in range(0, len(body), size)]
    header = bytes((nal[0] & 0x81 | 49 << 1, nal[1]))
    return [
        header + bytes((kind | (0 if at else 0x80) | (0x40 if at == len(pieces) - 1 else 0),)) + piece
        for at, piece in enumerate(pieces)
    ]


A, B, C = fragments(IDR, 100)
P, Q, R = fragments(SLICE, 80)


@pytest.mark.parametrize(
    ("script", "expected"),
    [
        pytest.param([(SLICE, 1, 5)], [([SLICE], True, False)], id="single"),
        pytest.param(
            [(aggregate(VPS, SPS, PPS, SEI), 0, 5), (IDR, 1, 5)], [([VPS, SPS, PPS, SEI, IDR], True, True)], id="ap"
        ),
        pytest.param([(A, 0, 5), (B, 0, 5), (C, 1, 5)], [([IDR], True, True)], id="fu"),
        pytest.param(
            [(VPS, 1, 4), (SPS, 1, 4), (PPS, 1, 4), (IDR, 1, 5)], [([VPS, SPS, PPS, IDR], True, True)], id="sets"
        ),
        pytest.param([(IDR, 0, 5), (SLICE, 1, 6)], [([IDR], True, True), ([SLICE], True, False)], id="no_marker"),
        # Holes
        pytest.param([(A, 0, 5), LOST, (C, 1, 5)], [([IDR[:102] + IDR[202:]], False, True)], id="middle_lost"),
        pytest.param([LOST, (B, 0, 5), (C, 1, 5)], [([IDR[:2] + IDR[102:]], False, True)], id="first_lost"),
        pytest.param(
            [(A, 0, 5), (B, 0, 5), LOST, (SLICE, 1, 6)],
            [([IDR[:202]], False, True), ([SLICE], False, False)],
            id="end_lost",
        ),
        pytest.param(
            [LOST, (aggregate(VPS, SPS, PPS), 0, 6), (IDR, 1, 6)],
            [([VPS, SPS, PPS, IDR], True, True)],
            id="begins_with_vps",
        ),
        pytest.param([LOST, (AUD, 0, 6), (SLICE, 1, 6)], [([AUD, SLICE], True, False)], id="begins_with_aud"),
        pytest.param([(P, 0, 5), (SLICE, 1, 5)], [([SLICE[:82], SLICE], False, False)], id="fu_never_ended"),
        pytest.param([(P, 0, 5), (B, 0, 5), (R, 1, 5)], None, id="fu_of_another_type_inside"),
        pytest.param([(b"\x82" + SLICE[1:], 1, 5)], None, id="forbidden_bit"),
    ],
)
def test_units(script: Script, expected: list[tuple[list[bytes], bool, bool]] | None) -> None:
    units = play(script, H265Depacketiser())
    found = [(split_lengths(unit.data), unit.complete, unit.key) for unit in units]
    if expected is None:
        assert [complete for _, complete, _ in found] == [False]
    else:
        assert found == expected
        assert units[0].parameter_sets == tuple(nal for nal in expected[0][0] if nal in (VPS, SPS, PPS))


@pytest.mark.parametrize(
    "payload",
    [
        pytest.param(b"\x02\x01", id="header_only"),
        pytest.param(b"\x62\x01\xc1a", id="fu_start_and_end"),
        pytest.param(b"\x62\x01\xb1a", id="fu_of_fu"),
        pytest.param(b"\x62\x01\x81", id="fu_of_nothing"),
        pytest.param(b"\x60\x01\x00", id="ap_half_a_size"),
        pytest.param(b"\x60\x01\x00\x09abc", id="ap_size_over_the_end"),
        pytest.param(aggregate(aggregate(SEI)), id="ap_in_ap"),
        pytest.param(b"\x64\x01abc", id="paci"),
    ],
)
def test_malformed(payload: bytes) -> None:
    depacketiser = H265Depacketiser()
    units = play([(payload, 0, 5), (SLICE, 1, 5), (SLICE, 1, 6)], depacketiser)
    assert depacketiser.counters.malformed == 1
    assert [(unit.data, unit.complete) for unit in units] == [(lengths(SLICE), False), (lengths(SLICE), True)]


def test_sets_in_force() -> None:
    sets = H265Sets()
    for nal in (VPS, SPS):
        assert sets.see([nal]) == 0
        assert sets.setup() is None
    assert sets.see([PPS, b"\x44\x01", b"\x42\x01\x01", b"x", b""]) == 4
    setup = sets.setup()
    assert setup == hev1((VPS,), (SPS,), (PPS,))
    assert setup is not None
    assert (setup.codec, setup.width, setup.height, setup.reordered) == ("hev1.1.6.L63.90", 640, 360, 2)


def test_random_sps_only_ever_raises_invalid_input() -> None:
    random = Random(5)  # noqa: S311
    for _ in range(3000):
        nal = bytearray(SPS)
        for _ in range(random.randrange(1, 5)):
            nal[random.randrange(2, len(nal))] = random.randrange(256)
        try:
            parsed = parse_sps(bytes(nal))
        except InvalidInput:
            continue
        assert 0 < parsed.width <= 16384


@pytest.mark.parametrize(
    ("payload", "begins"),
    [
        (A, True),
        (B, False),
        (P, False),
        (VPS, True),
        (aggregate(AUD, VPS), True),
        (aggregate(SEI), False),
        (b"", False),
    ],
)
def test_where_a_key_frame_begins(payload: bytes, begins: bool) -> None:
    assert begins_key_frame(payload) is begins


def test_no_payload_raises() -> None:
    seeds = [A, B, C, P, R, SLICE, IDR, aggregate(VPS, SPS, PPS), AUD]
    nonsense(H265Depacketiser(max_unit=10_000), seeds, begins_key_frame, 11_000)
