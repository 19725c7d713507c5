"""Loss and statistics, on a clock of the test's own."""

from __future__ import annotations

import pytest

from recorder.feedback import Missing, Reception
from recorder.rtcp import RtcpPacket, TransportFeedback, generic_nack
from recorder.rtp import parse_rtp, payload_of

MS = 1_000_000


def test_a_missing_packet_is_asked_for_five_times_then_given_up() -> None:
    missing = Missing()
    for sequence in (65534, 65535, 2):
        missing.received(sequence, 0)
    asked = [(ms, missing.due(ms * MS)) for ms in range(0, 260, 10)]
    assert [(ms, due) for ms, due in asked if due] == [(ms, [0, 1]) for ms in (0, 30, 60, 90, 120)]
    assert missing.given_up == 2
    assert not missing


def test_a_packet_that_comes_late_is_not_asked_for_again() -> None:
    missing = Missing()
    for sequence in (10, 13, 12):
        missing.received(sequence, 0)
    assert missing.due(0) == [11]
    missing.received(11, 5 * MS)
    assert missing.due(300 * MS) == []
    assert missing.given_up == 0


@pytest.mark.parametrize("jump", [513, 20_000, 40_000])
def test_a_jump_is_a_new_start_and_not_a_loss(jump: int) -> None:
    missing = Missing()
    missing.received(100, 0)
    missing.received((100 + jump) & 0xFFFF, 0)
    assert missing.due(0) == []


def test_report_counts_loss_across_the_turn_of_the_sequence_number() -> None:
    reception = Reception(7, 90_000)
    for n in range(10):
        if n != 4:
            reception.received((65530 + n) & 0xFFFF, n * 3000, n * 33_333_333)
    reception.sender_report(0x1234_5678_9ABC_DEF0, 0)
    report = reception.report(2_000_000_000)
    assert (report.packets_lost, report.fraction_lost) == (1, 256 // 10)
    assert report.highest_sequence == 65536 + 3
    assert (report.lsr, report.dlsr) == (0x5678_9ABC, 2 * 65536)
    assert report.jitter < 10
    assert reception.report(2_000_000_000).fraction_lost == 0


def test_rtp_parsing_strips_extension_contributors_and_padding() -> None:
    head = bytes.fromhex("b2e000010000000200000003000000040000000500010001")
    packet = bytes.fromhex("b2e0000100000002000000030000000400000005bede0001aabbccdd") + b"media" + b"\0\0\3"
    parts = parse_rtp(packet)
    assert parts is not None
    assert parts[:3] == (1, 2, True)
    assert payload_of(parts) == b"media"
    assert parse_rtp(parts[4]) == parts, "as whole as it was, without its padding"
    assert parse_rtp(head[:11]) is None
    assert parse_rtp(packet[:22]) is None
    assert parse_rtp(packet[:-1] + b"\xff") is None


@pytest.mark.parametrize(
    "asked",
    [[7], [7, 8, 23], [7, 24], [65534, 3], [65535, 0], [10, 3], [3, 3], [30000, 1, 40000], [*range(0, 512, 3)]],
    ids=str,
)
def test_a_request_names_every_number_in_any_order_over_the_turn(asked: list[int]) -> None:
    (read,) = RtcpPacket.parse(generic_nack(1, 2, asked))
    assert isinstance(read, TransportFeedback)
    assert (read.fmt, read.ssrc, read.media_ssrc) == (1, 1, 2)
    assert {number & 0xFFFF for number in read.lost} == set(asked)
