"""Renumbering and remembering, packet by packet."""

from __future__ import annotations

import struct
from itertools import pairwise

import pytest

from monitor_room.relay import REMEMBERED, ClockPair, Renumbering, Source
from recorder.sdp import Codec

MARKER = 0x80
VIDEO = Codec("video", "H264", 96, 90_000, None)
SECOND = 1_000_000_000


def packet(sequence: int, timestamp: int, payload: bytes = b"\x41slice") -> bytes:
    return struct.pack("!BBHLL", 0x80, 96, sequence & 0xFFFF, timestamp & 0xFFFFFFFF, 1) + payload


def numbers(written: list[bytes]) -> tuple[int, int, int, int]:
    (header,) = written
    _, second, sequence, timestamp, ssrc = struct.unpack("!BBHLL", header)
    return second, sequence, timestamp, ssrc


def test_a_joiners_burst_begins_with_the_key_pictures_first_packet() -> None:
    source = Source(VIDEO)
    for sequence, timestamp, payload in (
        (1, 0, b"\x41old"),
        (2, 3000, b"\x09aud"),
        (3, 3000, b"\x67sps"),
        (4, 3000, b"\x65idr"),
        (5, 3000, b"\x65second slice"),
        (6, 6000, b"\x41next"),
    ):
        source.add([packet(sequence, timestamp, payload)])
    assert source.add([packet(4, 3000, b"\x65duplicate")]) == []
    assert [item[0] for item in source.since_key_frame] == [2, 3, 4, 5, 6]


def test_what_is_remembered_is_bounded() -> None:
    source = Source(VIDEO)
    source.add([packet(0, 0, b"\x65idr")])
    source.add([packet(sequence, sequence) for sequence in range(1, REMEMBERED + 10)])
    assert source.since_key_frame == []
    assert source.again(5) is None
    assert source.again(REMEMBERED) is not None


def test_numbers_run_on_over_a_new_camera_and_both_turnovers() -> None:
    outlet = Renumbering(ssrc=9, payload_type=102, clock_rate=90_000)
    old = [((65534 + n) & 0xFFFF, (0xFFFFF000 + n * 3000) & 0xFFFFFFFF, 0, b"x") for n in range(4)]
    assert not outlet.begun
    outlet.begin(old[:1], 0, new_clock=False)
    before = [numbers(outlet.write([item], n * SECOND // 30)) for n, item in enumerate(old)]
    assert {(second, ssrc) for second, _, _, ssrc in before} == {(102, 9)}
    new = [(100, 77, MARKER, b"y"), (101, 77 + 3000, MARKER, b"z")]
    outlet.pause()
    assert not outlet.begun
    outlet.begin(new[:1], SECOND, new_clock=True)
    after = [numbers(outlet.write([item], SECOND)) for item in new]
    sequences = [sequence for _, sequence, _, _ in before + after]
    assert sequences == [(sequences[0] + n) & 0xFFFF for n in range(6)]
    assert (after[0][2] - before[-1][2]) & 0xFFFFFFFF == pytest.approx(90_000 * 0.9, abs=2)
    assert after[1][2] - after[0][2] == 3000


def test_a_burst_is_pressed_together_and_the_live_packets_follow_at_their_own_time() -> None:
    outlet = Renumbering(ssrc=9, payload_type=102, clock_rate=90_000)
    burst = [(n, 1_000_000 + n * 3000, MARKER, b"x") for n in range(50)]
    outlet.begin(burst, 0, new_clock=False)
    stamps = [numbers(outlet.write([item], 0))[2] for item in burst]
    assert stamps[-1] == burst[-1][1]
    assert [b - a for a, b in pairwise(stamps)] == [90] * 49
    live = (50, burst[-1][1] + 3000, MARKER, b"x")
    assert numbers(outlet.write([live], 0))[2] == live[1]


def test_packets_sent_again_are_the_very_same_and_older_ones_are_not_this_viewers() -> None:
    source, outlet = Source(VIDEO), Renumbering(ssrc=9, payload_type=102, clock_rate=90_000)
    known = source.add([packet(n, n * 3000) for n in range(20)])
    outlet.begin(known[10:12], 0, new_clock=False)
    written = [outlet.write([item], 0) for item in known[10:]]
    first = numbers(written[0])[1]
    for n, sent in enumerate(written):
        assert outlet.again((first + n) & 0xFFFF, source) == (sent[0], known[10 + n][3])
    assert outlet.again((first - 1) & 0xFFFF, source) is None
    assert outlet.write([known[9]], 0) == [b""]


def test_a_late_packet_keeps_its_place() -> None:
    outlet = Renumbering(ssrc=9, payload_type=102, clock_rate=90_000)
    items = [(n, n * 3000, MARKER, b"x") for n in range(4)]
    outlet.begin(items[:1], 0, new_clock=False)
    got = [numbers(outlet.write([items[n]], 0))[1] for n in (0, 1, 3, 2)]
    assert [(number - got[0]) & 0xFFFF for number in got] == [0, 1, 3, 2]


def test_the_cameras_clock_is_carried_forward_on_its_own_line() -> None:
    pair = ClockPair(ntp=100 << 32, rtp=0xFFFFFFFF, arrival_ns=5 * SECOND)
    assert pair.at(7 * SECOND, 48_000) == (102 << 32, 95_999)


def test_what_is_no_rtp_packet_or_too_large_is_passed_over() -> None:
    padded = bytes([0xA0]) + packet(2, 0)[1:] + b"\x00\x00\x03"
    extended = bytes([0x90]) + packet(3, 0, b"")[1:] + b"\xbe\xde\x00\x01abcd" + b"\x41slice"
    found = Source(VIDEO).add(
        [b"", packet(1, 0)[:11], packet(1, 0, bytes(2048)), padded, extended, padded[:-1] + b"\xff"]
    )
    assert found == [(2, 0, 0, b"\x41slice"), (3, 0, 0, b"\x41slice")]
