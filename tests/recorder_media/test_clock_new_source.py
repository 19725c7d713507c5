"""A sender that goes on under another SSRC: nothing is taken for lost, and what comes keeps its place."""

from __future__ import annotations

from pathlib import Path

import pytest

from evidence_store.canonical import Record
from recorder.cameras import Cameras
from recorder.fragments import Cut
from recorder.known_cameras import KnownCameras
from recorder.peer import Connection
from recorder.rtp import HEADER
from recorder.sdp import Codec, Kind
from recorder.ticker import CameraProfile, RoomProfile
from recorder.track import Track

from .payloads import IDR, PPS, SLICE, SPS, stap
from .senders import gaps, times

PROFILE = RoomProfile("demo", (CameraProfile("wide", "wide-video", None),))
CODECS: dict[Kind, Codec] = {"video": Codec("video", "H264", 96, 90_000, None, "")}
CONNECTION = Connection("c1", "wide", "sha-256 AB", "127.0.0.1:5000", CODECS)


class Sender:
    def __init__(self, cameras: Cameras, ssrc: int, sequence: int, rtp: int, now_ns: int) -> None:
        self.cameras, self.ssrc, self.sequence, self.rtp, self.now_ns = cameras, ssrc, sequence, rtp, now_ns
        self.begun = False

    def packet(self, payload: bytes, marker: bool = True) -> None:
        sequence, timestamp = self.sequence & 0xFFFF, self.rtp & 0xFFFFFFFF
        whole = HEADER.pack(0x80, 96 | marker << 7, sequence, timestamp, self.ssrc) + payload
        in_order, self.begun = self.begun, True
        self.cameras.rtp(
            CONNECTION, "video", [(sequence, timestamp, marker, HEADER.size, whole)], in_order, self.now_ns
        )
        self.sequence += 1

    def pictures(self, count: int) -> None:
        for number in range(count):
            if number == 0:
                self.packet(stap(SPS, PPS), marker=False)
            self.packet(SLICE if number else IDR)
            self.rtp += 3000
            self.now_ns += 33_333_333


@pytest.mark.parametrize("sequence", [65_500, 100, 33_000], ids=["far_ahead", "just_behind", "half_way"])
def test_another_source(tmp_path: Path, sequence: int) -> None:
    told: list[Record] = []
    known = KnownCameras(tmp_path / "cameras.json")
    cameras = Cameras(PROFILE, PROFILE.tracks(), tmp_path / "feed", lambda _camera: None, told.append, known)
    track: Track = cameras.tracks["wide-video"]
    cameras.connected(CONNECTION)
    began_ns = 100 * 10**9
    track.begin(began_ns, began_ns)
    first = Sender(cameras, 7, 500, 1_000_000, began_ns)
    first.pictures(60)
    second = Sender(cameras, 8, sequence, 3_000_000_000, first.now_ns)
    second.pictures(3)
    first.begun = False
    first.packet(SLICE)  # overtaken on the way: it is of a source that has ended
    second.begun = False
    second.pictures(57)
    track.end(second.now_ns)
    cut: Cut = track.cut(second.now_ns)
    # Nobody can tell whether something was sent between the two: that they met here is told, as a gap without length.
    ((reason, begins, ends, packets, units),) = gaps(cut)
    assert (reason, packets, units) == ("reconnect", 0, 0)
    assert begins == 60 * 3000
    assert ends == pytest.approx(begins, abs=90 * 5)
    shown = times(cut)
    assert len(shown) == 120
    assert shown == pytest.approx([number * 3000 for number in range(120)], abs=90 * 5)
    assert track.counters.lost == 0
    assert track.counters.late == 0
    mappings = [event for event in cut.events if event["type"] == "mapping"]
    assert [each["connection"] for each in mappings] == ["c1", "c1"]
