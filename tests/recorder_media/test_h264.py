from __future__ import annotations

from random import Random

import pytest

from recorder.depacketise import AccessUnit
from recorder.h264 import H264Depacketiser, begins_key_frame

from .payloads import AUD, IDR, PPS, SEI, SLICE, SPS, fragments, lengths, split_lengths, stap

LOST = None
Script = list[tuple[bytes, int, int] | None]


def _run(script: Script, depacketiser: H264Depacketiser | None = None) -> list[AccessUnit]:
    """Each step is (payload, marker, timestamp), or a hole."""
    depacketiser = depacketiser or H264Depacketiser()
    units = []
    for number, step in enumerate(script):
        if step is None:
            depacketiser.lost()
        else:
            payload, marker, timestamp = step
            units += depacketiser.push(payload, bool(marker), timestamp, number, 1000 + number)
    return units


A, B, C = fragments(IDR, 100)
P, Q, R = fragments(SLICE, 80)


@pytest.mark.parametrize(
    ("script", "expected"),
    [
        pytest.param([(SLICE, 1, 5)], [(5, [SLICE], True, False)], id="single_nal"),
        pytest.param([(stap(SPS, PPS, SEI), 0, 5), (IDR, 1, 5)], [(5, [SPS, PPS, SEI, IDR], True, True)], id="stap"),
        pytest.param([(A, 0, 5), (B, 0, 5), (C, 1, 5)], [(5, [IDR], True, True)], id="fu_a"),
        pytest.param(
            [(AUD, 0, 5), (SEI, 0, 5), (IDR, 1, 5)], [(5, [AUD, SEI, IDR], True, True)], id="aud_and_sei_kept"
        ),
        pytest.param(
            [(SPS, 1, 5), (PPS, 1, 5), (IDR, 1, 5)], [(5, [SPS, PPS, IDR], True, True)], id="marker_on_parameter_sets"
        ),
        pytest.param(
            [(SPS, 1, 4), (PPS, 1, 4), (IDR, 1, 5)],
            [(5, [SPS, PPS, IDR], True, True)],
            id="parameter_sets_earlier_time",
        ),
        pytest.param(
            [(IDR, 0, 5), (SLICE, 0, 6), (SLICE, 0, 7)],
            [(5, [IDR], True, True), (6, [SLICE], True, False)],
            id="no_markers_at_all",
        ),
        pytest.param(
            [(IDR, 0, 5), (SLICE, 1, 6)], [(5, [IDR], True, True), (6, [SLICE], True, False)], id="both_at_once"
        ),
        pytest.param([(SLICE, 0, 5), (SLICE, 1, 5)], [(5, [SLICE, SLICE], True, False)], id="two_slices"),
        pytest.param([(SLICE, 1, 5), (b"", 0, 5)], [(5, [SLICE], True, False)], id="padding_only_packet"),
        # Holes
        pytest.param([(A, 0, 5), LOST, (C, 1, 5)], [(5, [IDR[:101] + IDR[201:]], False, True)], id="middle_lost"),
        pytest.param([LOST, (B, 0, 5), (C, 1, 5)], [(5, [IDR[:1] + IDR[101:]], False, True)], id="first_lost"),
        pytest.param(
            [(A, 0, 5), (B, 0, 5), LOST, (SLICE, 1, 6)],
            [(5, [IDR[:201]], False, True), (6, [SLICE], False, False)],
            id="marker_packet_lost",
        ),
        pytest.param(
            [(IDR, 1, 5), LOST, (Q, 0, 6), (R, 1, 6), (SLICE, 1, 7)],
            [(5, [IDR], True, True), (6, [SLICE[:1] + SLICE[81:]], False, False), (7, [SLICE], True, False)],
            id="first_packet_lost_leaves_the_good_one_before_alone",
        ),
        pytest.param(
            [(IDR, 1, 5), LOST, (stap(SPS, PPS), 0, 6), (IDR, 1, 6)],
            [(5, [IDR], True, True), (6, [SPS, PPS, IDR], True, True)],
            id="begins_with_sps_so_nothing_of_it_is_missing",
        ),
        pytest.param(
            [(AUD, 0, 5), (IDR, 1, 5), LOST, (SPS, 0, 6), (IDR, 1, 6)],
            [(5, [AUD, IDR], True, True), (6, [SPS, IDR], False, True)],
            id="begins_with_sps_where_an_aud_is_usual",
        ),
        pytest.param(
            [(P, 0, 5), (Q, 0, 5), LOST, (R, 1, 5), (SLICE, 1, 6)],
            [(5, [SLICE], False, False), (6, [SLICE], True, False)],
            id="hole_inside_does_not_mark_the_next",
        ),
    ],
)
def test_units(script: Script, expected: list[tuple[int, list[bytes], bool, bool]]) -> None:
    units = _run(script)
    assert [(unit.rtp_time, split_lengths(unit.data), unit.complete, unit.key) for unit in units] == expected


@pytest.mark.parametrize(
    ("payload", "marker"),
    [
        pytest.param(b"\x1c", 0, id="fu_without_header"),
        pytest.param(b"\x7c\xc5abc", 0, id="fu_start_and_end"),
        pytest.param(b"\x7c\x9cabc", 0, id="fu_of_fu"),
        pytest.param(b"\x7c\x80abc", 0, id="fu_of_type_zero"),
        pytest.param(b"\x78", 0, id="stap_empty"),
        pytest.param(b"\x78\x00", 0, id="stap_half_a_size"),
        pytest.param(b"\x78\x00\x05abc", 0, id="stap_size_over_the_end"),
        pytest.param(b"\x78\x00\x00", 0, id="stap_size_zero"),
        pytest.param(stap(SEI) + b"\x00\x02\x78\x00", 0, id="stap_in_stap"),
        pytest.param(stap(SEI, b"\x00"), 0, id="stap_with_type_zero"),
        pytest.param(b"\x79\x00\x00\x00\x01\x41", 0, id="stap_b"),
        pytest.param(b"\x7a\x00\x00\x00\x01\x41", 0, id="mtap"),
        pytest.param(b"\x7d\x85\x00\x00abc", 0, id="fu_b"),
        pytest.param(b"\x60abc", 0, id="type_zero"),
        pytest.param(b"\x7fabc", 0, id="type_31"),
    ],
)
def test_malformed(payload: bytes, marker: int) -> None:
    depacketiser = H264Depacketiser()
    units = _run([(SLICE, 1, 4), (payload, marker, 5), (SLICE, 1, 5), (SLICE, 1, 6)], depacketiser)
    assert depacketiser.counters.malformed == 1
    assert [(unit.data, unit.complete) for unit in units] == [
        (lengths(SLICE), True),
        (lengths(SLICE), False),
        (lengths(SLICE), True),
    ]


@pytest.mark.parametrize(
    "script",
    [
        pytest.param([(P, 0, 5), (SLICE, 1, 5)], id="fu_never_ended_then_single"),
        pytest.param([(P, 0, 5), (A, 0, 5), (B, 0, 5), (C, 1, 5)], id="fu_never_ended_then_fu"),
        pytest.param([(P, 0, 5), (Q, 1, 5)], id="marker_before_the_end"),
        pytest.param([(Q, 0, 5), (R, 1, 5)], id="fu_never_begun"),
        pytest.param([(P, 0, 5), (B, 0, 5), (R, 1, 5)], id="fu_of_another_type_inside"),
        pytest.param([(b"\xc1" + SLICE, 1, 5)], id="forbidden_bit"),
    ],
)
def test_broken_fragments_are_never_passed_as_whole(script: Script) -> None:
    (unit,) = _run(script)
    assert not unit.complete
    split_lengths(unit.data)


def test_parameter_sets_are_told_however_they_were_sent() -> None:
    for script in (
        [(SPS, 0, 1), (PPS, 0, 1), (IDR, 1, 1)],
        [(stap(SPS, PPS), 0, 1), (IDR, 1, 1)],
        [*((piece, 0, 1) for piece in fragments(SPS, 10)), (PPS, 0, 1), (IDR, 1, 1)],
    ):
        (unit,) = _run(list(script))
        assert unit.parameter_sets == (SPS, PPS)
        assert split_lengths(unit.data) == [SPS, PPS, IDR]


def test_first_arrival_and_packets_of_a_unit() -> None:
    first, second = _run([(A, 0, 5), (B, 0, 5), (C, 1, 5), (SLICE, 1, 6)])
    assert (first.arrival_ns, first.packets) == (1000, 3)
    assert (second.arrival_ns, second.packets) == (1003, 1)


def test_flush_gives_what_is_under_construction_as_incomplete_and_its_rest_too() -> None:
    depacketiser = H264Depacketiser()
    assert _run([(P, 0, 5), (Q, 0, 5)], depacketiser) == []
    (unit,) = depacketiser.flush()
    assert not unit.complete
    assert split_lengths(unit.data) == [SLICE[:161]]
    assert depacketiser.flush() == []
    (rest,) = _run([(SLICE, 1, 5)], depacketiser)
    assert not rest.complete


def test_a_unit_that_never_ends_does_not_grow() -> None:
    depacketiser = H264Depacketiser(max_unit=10_000)
    assert _run([(SLICE, 0, 5)] * 1000, depacketiser) == []
    first, second = _run([(SLICE, 1, 6)], depacketiser)
    assert len(first.data) <= 10_000
    assert not first.complete
    assert second.complete
    assert depacketiser.counters.oversized == 1000 - 10_000 // (len(SLICE) + 4)


def test_parameter_sets_without_a_picture_do_not_grow_or_block() -> None:
    depacketiser = H264Depacketiser(max_unit=300_000)
    units = _run([(SEI * 100, 1, number) for number in range(1000)], depacketiser)
    assert all(len(unit.data) <= 300_000 for unit in units)
    assert _run([(SLICE, 1, 2000), (SLICE, 1, 2001)], depacketiser)[-1].complete


def test_no_payload_raises() -> None:
    random = Random(1)  # noqa: S311
    depacketiser = H264Depacketiser(max_unit=100_000)
    seeds = [A, B, C, P, Q, R, SLICE, IDR, stap(SPS, PPS, SEI), AUD]
    for number in range(20_000):
        payload = bytearray(random.choice(seeds)[: random.randrange(1, 60)])
        payload[random.randrange(len(payload))] = random.randrange(256)
        if random.random() < 0.05:
            depacketiser.lost()
        for unit in depacketiser.push(bytes(payload), random.random() < 0.3, number // 4, number, number):
            split_lengths(unit.data)


@pytest.mark.parametrize(
    ("payload", "begins"),
    [
        (b"\x67sps", True),
        (b"\x65idr", True),
        (b"\x41slice", False),
        (b"\x06sei", False),
        (b"\x7c\x85idr", True),
        (b"\x7c\x05idr", False),
        (b"\x7c\x81slice", False),
        (b"\x78\x00\x02\x09\x10\x00\x02\x67\x64", True),
        (b"\x78\x00\x02\x09\x10\x00\x02\x41\x64", False),
        (b"\x78\x00", False),
        (b"", False),
    ],
    ids=["sps", "idr", "slice", "sei", "fu_start", "fu_middle", "fu_slice", "stap_sps", "stap_slice", "cut", "empty"],
)
def test_where_a_key_frame_begins(payload: bytes, begins: bool) -> None:
    assert begins_key_frame(payload) is begins
