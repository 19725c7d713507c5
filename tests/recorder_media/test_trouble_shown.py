"""Cameras that die in a picture, jump, or send unevenly: what a browser is given then. VP8, two packets a picture."""

from __future__ import annotations

import struct
from dataclasses import dataclass, field

import pytest

from evidence_store.whole_pictures import whole_pictures
from recorder.clock import SECOND_NS, SenderClock
from recorder.fragments import Codec, Event, Fragment
from recorder.track import Track

from .bad_line import BEGIN_NS, parse_media, unshown_of
from .payloads import Packet, give

PICTURE = 3000
CUT_NS = SECOND_NS // 4


def coded(number: int, *, key: bool) -> bytes:
    head = b"\x10\x00\x00\x9d\x01\x2a" + struct.pack("<HH", 320, 180) if key else b"\x11\x00\x00"
    return head + b"%04d" % number * 50


@dataclass
class Camera:
    """Sends picture by picture into a track on which a take runs, cut each quarter second."""

    track: Track = field(default_factory=lambda: Track("wide", Codec.VP8))
    fragments: list[Fragment] = field(default_factory=list)
    events: list[Event] = field(default_factory=list)
    sent: dict[bytes, int] = field(default_factory=dict)
    connections: int = 0
    due_ns: int = BEGIN_NS + CUT_NS
    sequence: int = 1

    def __post_init__(self) -> None:
        self.connect(0)
        self.track.begin(BEGIN_NS, BEGIN_NS)

    def _until(self, number: float) -> int:
        now_ns = BEGIN_NS + round(number * PICTURE * SECOND_NS / 90_000)
        while now_ns >= self.due_ns:
            self._cut(self.due_ns)
            self.due_ns += CUT_NS
        return now_ns

    def _cut(self, at_ns: int) -> None:
        cut = self.track.cut(at_ns)
        self.fragments += cut.fragments
        self.events += cut.events

    def connect(self, number: float) -> None:
        self.connections += 1
        self.sequence += 1000
        self.track.connect(f"c{self.connections}", self._until(number), SenderClock())

    def disconnect(self, number: float) -> None:
        self._until(number)
        self.track.disconnect()

    def send(self, *numbers: int, key: bool = False, come: tuple[int, ...] = (0, 1), jumped: int = 0) -> None:
        """Pictures, at their numbers; of each the packets in `come`. `jumped`: their RTP time, by so many seconds."""
        for number in numbers:
            now_ns, data = self._until(number), coded(number, key=key)
            self.sent[data] = number
            half, time = len(data) // 2, (number * PICTURE + jumped * 90_000) & 0xFFFFFFFF
            both = (
                Packet(self.sequence, time, False, b"\x10" + data[:half]),
                Packet(self.sequence + 1, time, True, b"\x00" + data[half:]),
            )
            self.sequence += 2
            for each in come:
                give(self.track, both[each], both[each].payload, now_ns)

    def shown(self, end: int) -> list[tuple[int, int]]:
        """(number, pictures that it lasts) of what a browser is given; each is as it was sent."""
        now_ns = self._until(end)
        self.track.end(now_ns)
        self._cut(now_ns)
        unshown = unshown_of(self.fragments, self.events)
        given = parse_media(bytes(whole_pictures(b"".join(each.data for each in self.fragments), unshown)))
        return [(self.sent[data], round(duration / PICTURE)) for _, duration, data in given]


@pytest.fixture
def camera() -> Camera:
    made = Camera()
    made.send(0, key=True)
    made.send(1, 2)
    return made


def test_half_a_picture_and_then_the_camera_is_gone_for_a_while(camera: Camera) -> None:
    camera.send(3, come=(0,))
    camera.disconnect(4)
    camera.connect(30)
    camera.send(31, key=True)
    camera.send(32)
    assert camera.shown(33) == [(0, 1), (1, 1), (2, 1), (31, 1), (32, 1)]


def test_half_a_picture_and_then_the_camera_is_gone(camera: Camera) -> None:
    camera.send(3, come=(0,))
    camera.disconnect(4)
    assert camera.shown(40) == [(0, 1), (1, 1), (2, 1)]


def test_a_loss_and_then_the_camera_is_gone_for_a_while(camera: Camera) -> None:
    camera.send(3, come=())
    camera.send(4, 5)
    camera.disconnect(6)
    camera.connect(300)
    camera.send(301, key=True)
    assert camera.shown(302) == [(0, 1), (1, 1), (2, 4), (301, 1)]


@pytest.mark.parametrize("step", [2, 6])
@pytest.mark.parametrize("come", [(0,), (1,)])
def test_a_damaged_picture_that_came_sooner_than_the_one_before(
    camera: Camera, step: int, come: tuple[int, ...]
) -> None:
    late = 2 + step
    camera.send(late)
    camera.send(late + 1, come=come)
    camera.send(late + 2, late + 3)
    camera.send(late + 4, key=True)
    camera.send(late + 5)
    shown = camera.shown(late + 6)
    assert [number for number, _ in shown] == [0, 1, 2, late, late + 4, late + 5]
    assert shown[3] == (late, 4)
    (gap,) = [event for event in camera.events if event["type"] == "gap"]
    assert int(gap["from"] or 0) <= (late + 1) * PICTURE < int(gap["to"] or 0), "the declaration covers it"


def test_a_loss_and_a_jump_of_the_cameras_time(camera: Camera) -> None:
    camera.send(3, come=())
    camera.send(4, 5, 6, jumped=40)
    camera.send(7, key=True, jumped=40)
    camera.send(8, jumped=40)
    shown = camera.shown(9)
    assert [number for number, _ in shown] == [0, 1, 2, 7, 8]
