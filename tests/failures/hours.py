"""1, 3, 4, 5, 6: what goes wrong with time."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

from recorder.box_reader import parse_fragment
from recorder.clock import SECOND_NS, SenderClock, StreamClock
from recorder.fragments import Codec, Event
from recorder.track import Track
from tests.failures.mode import Mode, Place
from tests.recorder_media.clips import decode, files, make_clip, paced, packets, run
from tests.recorder_media.payloads import packetise
from tests.recorder_media.senders import MS
from tests.recorder_media.test_clock_three_hours import apart, gaps, wrong
from tests.recorder_media.two_clocks import HOUR_NS, Camera, Medium, picture, sound

BEGIN_NS = 5_000 * SECOND_NS


@dataclass(frozen=True, slots=True)
class File:
    """What a player finds. `steps`: between pictures as shown, in 1/90000 s; `length` in seconds."""

    sent: int
    decoded: int
    steps: list[int]
    gaps: list[str]

    @property
    def length(self) -> float:
        return (sum(self.steps) + 3000) / 90_000


def _reasons(events: list[Event]) -> list[str]:
    return [str(event["reason"]) for event in events if event["type"] == "gap"]


# 1. A timestamp jump of 2³² made 35 hours of 15 minutes (aiortc #1041).


async def pictures_out_of_order_across_the_wrap(place: Place) -> File:
    """Each B-frame goes back in RTP time, and 1.5 s into the clip that time turns over."""
    clip = make_clip(place.folder / "clip.mp4", size="320x180", x264="bframes=2:b-adapt=0:b-pyramid=none")
    track = Track("wide-video", Codec.H264)
    track.connect("one", BEGIN_NS, SenderClock())
    track.begin(BEGIN_NS, BEGIN_NS)
    sent = packetise([(time + 2**32 - 135_000, nals) for time, nals in clip.pictures])
    fragments, events = run({"video": track}, [(at, "video", each) for at, each in paced(sent, Codec.H264, BEGIN_NS)])
    (data,) = files(fragments["video"])
    shown = sorted(time for _, time, _ in packets(data))
    steps = [after - before for before, after in pairwise(shown)]
    return File(len(clip.pictures), decode(place.folder / "video.mp4", data), steps, _reasons(events))


def three_seconds_are_three_seconds(found: File) -> None:
    assert found.gaps == []
    assert found.decoded == found.sent
    assert abs(found.length - 3.0) < 0.001
    assert {abs(step - 3000) <= 1 for step in found.steps} == {True}


def any_step_back_is_a_turn(self: StreamClock, timestamp: int) -> int:
    if self._previous is None:
        return timestamp
    extended = (self._previous >> 32 << 32) + timestamp
    return extended + (1 << 32) if extended < self._previous else extended


# 3. The guard against drift itself loses media (MediaMTX #5550).


@dataclass(frozen=True, slots=True)
class Ran:
    """`sent`, `kept`: what each unit holds, by track. `off_ns`: from where each lies to where it was made."""

    sent: list[list[bytes]]
    kept: list[list[bytes]]
    gaps: list[Event]
    off_ns: list[list[tuple[int, int]]]


def _ran(media: list[Medium]) -> Ran:
    kept = [
        [sample.data[-4:] for each in medium.fragments for sample in parse_fragment(each.data).samples]
        for medium in media
    ]
    sent = [[number.to_bytes(4, "big").replace(b"\0", b"\xfe") for _, number in medium.sent] for medium in media]
    off = [wrong(medium) for medium in media] if kept == sent else []
    return Ran(sent, kept, [gap for medium in media for gap in gaps(medium)], off)


async def half_an_hour_of_bad_clocks_and_a_network_that_holds_back(place: Place) -> Ran:
    """500 ppm each way, 200 ms of jitter, and every few minutes nothing for up to nine seconds, then all of it."""
    media = [picture(500), sound(-500)]
    held = [(minute * 60 * SECOND_NS, minute * 60 * SECOND_NS + seconds * SECOND_NS)
            for minute, seconds in ((1, 3), (7, 9), (20, 5), (21, 9), (28, 4))]  # fmt: skip
    Camera(media, jitter_ms=200, held=held, seed=31).run(HOUR_NS // 2)
    return _ran(media)


def all_of_it_is_there_and_in_its_place(found: Ran) -> None:
    assert found.gaps == []
    assert found.kept == found.sent
    for track in found.off_ns:
        assert max(abs(off) for _, off in track) <= 120 * MS


# 4. An RTP discontinuity makes 2 h 22 of 1 min (MediaMTX PR #5984).


async def a_minute_with_jumps_of_the_senders_time(place: Place) -> File:
    clip = make_clip(place.folder / "clip.mp4", seconds=2, size="64x64", x264="bframes=0:profile=baseline")
    medium = picture(0, step_ms=40)
    medium.pictures = [nals for _, nals in clip.pictures]
    jumps = ((10, 9 * 90_000), (20, -5 * 90_000), (30, 8502 * 90_000), (40, -3600 * 90_000), (50, 2**31))
    medium.jumps = [(second * SECOND_NS, by) for second, by in jumps]
    Camera([medium], reports="none", jitter_ms=5, seed=41).run(60 * SECOND_NS)
    data = b"".join([medium.fragments[0].init or b"", *(each.data for each in medium.fragments)])
    shown = [time for _, time, _ in packets(data)]
    steps = [after - before for before, after in pairwise(shown)]
    # A file whose times go back is nothing that FFmpeg would begin with.
    decoded = decode(place.folder / "video.mp4", data) if min(steps) > 0 else 0
    return File(len(medium.sent), decoded, steps, [str(gap["reason"]) for gap in gaps(medium)])


def a_minute_is_a_minute_and_the_jumps_are_told(found: File) -> None:
    assert found.decoded == found.sent
    assert abs(found.length - 60.0) < 0.1
    assert all(0 < step < 90_000 // 4 for step in found.steps)
    assert found.gaps == ["discontinuity"] * 5


# 5. Wall-clock drift: 20 s in 1 h 44 (LiveKit server-sdk-go #341, Moonfire #350).


async def an_hour_and_three_quarters_at_200_ppm(place: Place) -> Ran:
    media = [picture(200), sound(200)]
    Camera(media, seed=51).run(HOUR_NS * 7 // 4)
    return _ran(media)


def never_further_off_than(found: Ran) -> None:
    assert found.kept == found.sent
    for track in found.off_ns:
        assert max(abs(off) for _, off in track) <= 50 * MS


# 6. A constant offset between sound and picture: 318 ms (LiveKit egress #847, Janus #1834).


async def a_picture_that_takes_318_ms_more_than_the_sound(place: Place) -> int:
    """The greatest offset of sound to picture, in ns."""
    media = [picture(0, 323, step_ms=40), sound(0, 5, step_ms=120)]
    Camera(media, seed=61).run(60 * SECOND_NS)
    return apart(wrong(media[0]), wrong(media[1]))


def lips_and_words_go_together(offset_ns: int) -> None:
    assert offset_ns <= 40 * MS


M01 = Mode(pictures_out_of_order_across_the_wrap, three_seconds_are_three_seconds)
M03 = Mode(half_an_hour_of_bad_clocks_and_a_network_that_holds_back, all_of_it_is_there_and_in_its_place)
M04 = Mode(a_minute_with_jumps_of_the_senders_time, a_minute_is_a_minute_and_the_jumps_are_told)
M05 = Mode(an_hour_and_three_quarters_at_200_ppm, never_further_off_than)
M06 = Mode(a_picture_that_takes_318_ms_more_than_the_sound, lips_and_words_go_together)
