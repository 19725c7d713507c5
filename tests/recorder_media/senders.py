"""A sender of made-up packets, and what a cut says, for the tests of a track."""

from __future__ import annotations

from recorder.box_reader import parse_fragment
from recorder.clock import SECOND_NS, SenderClock
from recorder.fragments import Codec, Cut, Event
from recorder.track import Track

from .payloads import IDR, PPS, SLICE, SPS, Packet, give, stap

MS = SECOND_NS // 1000
T0 = 100 * SECOND_NS
UNIX_NS = 1_795_312_801 * SECOND_NS
OPUS = b"\xf8\xff\xfe"


class Sender:
    """Sends pictures of 30 a second, or sounds of 50, into a track, one packet each unless told otherwise."""

    def __init__(self, track: Track, *, now_ns: int = T0, rtp: int = 2**32 - 9000, sequence: int = 65_530) -> None:
        self.track = track
        self.now_ns = now_ns
        self.sequence = sequence
        self.rtp = rtp
        self.step = 3000 if track.codec is Codec.H264 else 960

    def packet(self, payload: bytes, *, marker: bool = True, lose: bool = False) -> None:
        if not lose:
            packet = Packet(self.sequence & 0xFFFF, self.rtp & 0xFFFFFFFF, marker, payload)
            give(self.track, packet, payload, self.now_ns)
        self.sequence += 1

    def tick(self, count: int = 1) -> None:
        self.rtp += count * self.step
        self.now_ns += count * self.step * SECOND_NS // self.track.codec.timescale

    def key(self, sps: bytes = SPS, pps: bytes = PPS) -> None:
        self.packet(stap(sps, pps), marker=False)
        self.packet(IDR)
        self.tick()

    def send(self, count: int = 1, *, lose: bool = False) -> None:
        for _ in range(count):
            self.packet(SLICE if self.track.codec is Codec.H264 else OPUS, lose=lose)
            self.tick()


def picture_track(**options: int) -> tuple[Track, Sender]:
    track = Track("wide-video", Codec.H264, **options)
    track.connect("one", T0, SenderClock())
    return track, Sender(track)


def begun() -> tuple[Track, Sender]:
    track, sender = picture_track()
    track.begin(T0, T0)
    sender.key()
    return track, sender


def of_type(cut: Cut, kind: str) -> list[Event]:
    return [event for event in cut.events if event["type"] == kind]


def gaps(cut: Cut) -> list[tuple[object, ...]]:
    return [(gap["reason"], gap["from"], gap["to"], gap["packets"], gap["units"]) for gap in of_type(cut, "gap")]


def times(cut: Cut) -> list[int]:
    shown = []
    for each in cut.fragments:
        parsed = parse_fragment(each.data)
        decode = parsed.base_time
        for sample in parsed.samples:
            shown.append(decode + sample.offset)
            decode += sample.duration
    return shown


def cut_now(sender: Sender) -> Cut:
    return sender.track.cut(sender.now_ns)
