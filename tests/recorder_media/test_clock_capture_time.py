"""abs-capture-time: read where it is, offered back to whoever offers it, and taken for a sender report."""

from __future__ import annotations

import struct

import pytest

from recorder.aiortc_hooks import IceSettings
from recorder.capture_time import URI, capture_ntp
from recorder.clock import SECOND_NS
from recorder.peer import Connection, Peer
from recorder.rtp import parse_rtp, payload_of
from recorder.sdp import parse_offer
from tests.recorder_webrtc.rig import RememberingSink
from tests.recorder_webrtc.test_sdp import BUNDLE_ONLY, answered

NTP = 0xE9A1_B2C3_8000_0000
TIME = NTP.to_bytes(8, "big")
OFFER = BUNDLE_ONLY.replace("a=rtpmap:39 H264/90000", f"a=extmap:4 {URI}\na=rtpmap:39 H264/90000")


def packet(extension: bytes, profile: int = 0xBEDE, *, sequence: int = 1, contributors: int = 0) -> bytes:
    extension += bytes(-len(extension) % 4)
    head = struct.pack(">BBHII", 0x90 | contributors, 0x80 | 39, sequence, 90_000, 7) + bytes(4 * contributors)
    return head + struct.pack(">HH", profile, len(extension) // 4) + extension + b"\x65\x88"


@pytest.mark.parametrize(
    ("data", "found"),
    [
        pytest.param(packet(b"\x47" + TIME), NTP, id="one_byte_header"),
        pytest.param(packet(b"\x4f" + TIME + bytes(8)), NTP, id="with_an_estimate_of_another_clock"),
        pytest.param(packet(b"\x10\xaa\0\0" + b"\x22abc" + b"\x47" + TIME), NTP, id="after_others_and_padding"),
        pytest.param(packet(b"\x47" + TIME, contributors=3), NTP, id="behind_contributing_sources"),
        pytest.param(packet(b"\x04\x08" + TIME, 0x1000), NTP, id="two_byte_header"),
        pytest.param(packet(b"\x09\x00\x04\x08" + TIME, 0x1005), NTP, id="two_byte_header_after_an_empty_one"),
        pytest.param(packet(b"\x57" + TIME), None, id="another_id"),
        pytest.param(packet(b"\x46" + TIME[:7]), None, id="too_short"),
        pytest.param(packet(b"\xf0\x00\x47" + TIME), None, id="behind_the_end_mark"),
        pytest.param(packet(b"\x47" + TIME, 0x1234), None, id="a_profile_that_nobody_knows"),
        pytest.param(packet(b"\x10\xaa\x00\x47"), None, id="longer_than_the_extension"),
        pytest.param(packet(b"\x04", 0x1000)[:17], None, id="cut_off"),
        pytest.param(struct.pack(">BBHII", 0x80, 0xA7, 1, 0, 7) + TIME, None, id="no_extension"),
        pytest.param(b"\x90" * 11, None, id="no_header"),
    ],
)
def test_what_a_packet_says(data: bytes, found: int | None) -> None:
    assert capture_ntp(data, 4) == found


async def test_whoever_offers_it_gets_it_back_in_its_section() -> None:
    _, audio, video = (await answered(OFFER)).split("m=")
    assert f"a=extmap:4 {URI}" in video
    assert "extmap" not in audio


async def test_nobody_else_does() -> None:
    assert "extmap" not in await answered(BUNDLE_ONLY)


async def test_a_packets_capture_time_is_a_sender_report_once_a_second() -> None:
    sink = RememberingSink()
    peer = Peer("wide", parse_offer(OFFER.encode()), sink, IceSettings(), lambda _peer: None)
    peer.connection = Connection("c1", "wide", "sha-256 AB", None, {})
    for number in range(50):
        data = packet(b"\x47" + (NTP + (number << 32) // 20).to_bytes(8, "big"), sequence=number)
        peer._rtp([data], 10 * SECOND_NS + number * SECOND_NS // 20)
    parts = parse_rtp(data)
    assert parts is not None
    assert payload_of(parts) == b"\x65\x88"
    assert sink.reports["video"] == [(NTP + (second << 32), 90_000) for second in range(3)]
    assert len(sink.packets["video"]) == 50
    await peer._transport.close()
