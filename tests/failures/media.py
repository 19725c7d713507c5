"""2, 7, 8, 14, 15: what goes wrong with what is sent."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from random import Random

from recorder.box_reader import parse_fragment, parse_init
from recorder.boxes import Sample
from recorder.clock import SECOND_NS, SenderClock
from recorder.fragments import Codec, Cut, Fragment, Heard
from recorder.h264_setup import parse_sps
from recorder.picture_order import DecodingTimes
from recorder.timeline import Timeline
from recorder.track import Track
from tests.failures.mode import Mode, Place
from tests.recorder.room import running
from tests.recorder.walked import walk
from tests.recorder_media.clips import decode, files, make_clip, paced, packets
from tests.recorder_media.payloads import IDR, SLICE, Packet, fragments, give, packetise, split_lengths
from tests.recorder_media.senders import MS, T0, Sender, gaps

BEGIN_NS = 5_000 * SECOND_NS


def samples(cut: list[Fragment]) -> list[Sample]:
    return [sample for each in cut for sample in parse_fragment(each.data).samples]


# 2. Key frame starvation: 27 % of 94 minutes unwatchable, 892 s at worst (BigBlueButton #25662).


async def ten_minutes_of_a_camera_that_gives_key_frames_only_when_asked(place: Place) -> list[float]:
    """A packet in twenty seconds is lost for good. The stretches that cannot be shown, in seconds."""
    del place
    track = Track("wide-video", Codec.H264)
    track.connect("one", T0, SenderClock())
    sender = Sender(track)
    sender.key()
    track.begin(T0, T0)
    asked_ns, cuts = None, []
    for number in range(1, 10 * 60 * 30):
        if asked_ns is not None and sender.now_ns - asked_ns > 150 * MS:
            sender.key()
            asked_ns = None
            continue
        sender.send(lose=number % 600 == 0)
        if number % 8 == 0:
            cuts.append(track.cut(sender.now_ns))
            if track.wants_key_frame and asked_ns is None:
                asked_ns = sender.now_ns
    track.end(sender.now_ns)
    cuts.append(track.cut(sender.now_ns))
    keys = [key for cut in cuts for each in cut.fragments for key in each.key_frames]
    end = max(each.last for cut in cuts for each in cut.fragments)
    broken = [int(event["from"] or 0) for cut in cuts for event in cut.events if event["type"] == "gap"]
    return [(min([key for key in keys if key >= at], default=end) - at) / 90_000 for at in broken]


def none_lasts_a_second(stretches: list[float]) -> None:
    assert len(stretches) == 29
    assert max(stretches) <= 1.0


# 7. Another resolution or SPS in mid-stream (Kurento #535, SRS #3073, MediaMTX #4262).


@dataclass(frozen=True, slots=True)
class Sizes:
    """Of each file: the size that its beginning names, those of the pictures in it, pictures sent and decoded."""

    named: list[tuple[int, int]]
    inside: list[set[tuple[int, int]]]
    sent: list[int]
    decoded: list[int]


async def a_picture_that_changes_its_size(place: Place) -> Sizes:
    clips = [make_clip(place.folder / f"{size}.mp4", seconds=1, size=size) for size in ("320x180", "640x360")]
    sent = [(time + turn * 90_000, nals) for turn, clip in enumerate(clips) for time, nals in clip.pictures]
    track = Track("wide-video", Codec.H264)
    track.connect("one", BEGIN_NS, SenderClock())
    track.begin(BEGIN_NS, BEGIN_NS)
    for at, packet in paced(packetise(sent), Codec.H264, BEGIN_NS):
        give(track, packet, packet.payload, at)
    track.end(BEGIN_NS + 2 * SECOND_NS)
    cut = track.cut(BEGIN_NS + 2 * SECOND_NS)
    found = Sizes([], [], [len(clip.pictures) for clip in clips], [])
    for number, data in enumerate(files(cut.fragments)):
        setup = parse_init(next(each.init for each in cut.fragments if each.epoch == number) or b"").setup
        found.named.append((setup.width, setup.height))
        units = [nal for _, _, unit in packets(data) for nal in split_lengths(unit)]
        sets = [parse_sps(nal) for nal in units if nal[0] & 0x1F == 7]
        found.inside.append({(each.width, each.height) for each in sets})
        found.decoded.append(decode(place.folder / f"epoch-{number}.mp4", data))
    return found


def each_size_is_a_file_that_any_player_opens(found: Sizes) -> None:
    assert [{name} for name in found.named] == found.inside
    assert len(set(found.named)) == 2
    assert found.decoded == found.sent


def only_the_first(self: Timeline, heard: Heard, present: int) -> bytes | None:
    return _enter_epoch(self, heard, present) if self._epoch < 0 else None


_enter_epoch = Timeline._enter_epoch


# 8. The head or the tail is lost: 40 to 50 packets (OBS #9614), the last frames (Galène #8).


@dataclass(frozen=True, slots=True)
class Ends:
    sent: list[bytes]
    kept: list[bytes]
    incomplete: int


async def a_start_between_key_frames_and_a_stop_within_a_picture(place: Place) -> Ends:
    """Start is pressed 50 pictures after the last key frame; at the stop a packet is missing, a picture half sent."""
    del place
    track = Track("wide-video", Codec.H264)
    track.connect("one", T0, SenderClock())
    sender, sent = Sender(track), [IDR]

    def slices(count: int) -> None:
        for _ in range(count):
            sent.append(SLICE[:50] + len(sent).to_bytes(4, "big").replace(b"\0", b"\xfe"))
            sender.packet(sent[-1])
            sender.tick()

    sender.key()
    slices(50)
    origin_ns = track.pre_roll_ns(sender.now_ns)
    assert origin_ns is not None
    track.begin(origin_ns, sender.now_ns)
    slices(30)
    sender.send(1, lose=True)
    slices(4)
    begun, *_ = fragments(SLICE, 80)
    sender.packet(begun, marker=False)
    sent.append(SLICE[:1] + begun[2:])
    track.end(sender.now_ns)
    cut = track.cut(sender.now_ns)
    kept = [split_lengths(sample.data)[-1] for sample in samples(list(cut.fragments))]
    return Ends(sent, kept, sum(each.incomplete for each in cut.fragments))


def every_picture_from_the_key_frame_to_the_half_one(found: Ends) -> None:
    assert found.kept == found.sent
    assert found.incomplete == 2, "the one after the hole, which may lack its beginning, and the half one"


# 14. "Recording" with no content: silence, 0 bytes (Galicaster #387, BigBlueButton #18704).


@dataclass(frozen=True, slots=True)
class Empty:
    """`gaps`: (track, seconds declared missing). `shown`: how long, to the room's page, nothing has come."""

    seconds: float
    gaps: list[tuple[int, float]]
    shown: float | None


async def a_camera_that_is_there_and_sends_nothing(place: Place) -> Empty:
    """A second of picture, then nothing of it; not one sound from the beginning."""
    spool, order = place.house.spool(), place.house.interview()
    async with running(place.house, spool) as room:
        room.node.cameras.meters["wide"].heard_ns = time.monotonic_ns()
        picture, sound = (room.node.cameras.tracks[name] for name in ("wide-video", "wide-audio"))
        now = time.monotonic_ns()
        for track in (picture, sound):
            track.connect("one", now, SenderClock())
        await room.node.begin(order)
        sender = Sender(picture, now_ns=time.monotonic_ns())
        sender.key()
        sender.send(5)
        began = time.monotonic()
        await asyncio.sleep(1.5)
        seconds = time.monotonic() - began
        shown = room.node.describe()["cameras"][0]["silence"]
        await room.node.end()
    (take,) = spool.takes()
    found = [
        (each["track"], (int(each["to"]) - int(each["from"])) / 1e9) for each in walk(place.house, take, order).gaps
    ]
    return Empty(seconds, sorted(each for each in found if each[1] > 0.5), shown)


def all_that_is_missing_is_declared(found: Empty) -> None:
    assert [track for track, _ in found.gaps] == [0, 1]
    assert all(abs(declared - found.seconds) < 0.5 for _, declared in found.gaps)
    assert found.shown is not None
    assert found.shown > 1.0


# 15. Corrupt retransmissions and decoding times that go back stop the recording (OBS #10564, MediaMTX #2541).


@dataclass(frozen=True, slots=True)
class Mended:
    sent: list[list[bytes]]
    kept: list[list[bytes]]
    decoding_times: list[int]
    decoded: int
    gaps: list[tuple[object, ...]]


async def retransmissions_with_other_bytes_and_pictures_out_of_order(place: Place) -> Mended:
    """After every fifth packet one of the last forty comes again, with other bytes."""
    clip = make_clip(place.folder / "clip.mp4", seconds=2, size="320x180", x264="bframes=2:b-adapt=0:b-pyramid=none")
    random = Random(15)  # noqa: S311
    track = Track("wide-video", Codec.H264)
    track.connect("one", BEGIN_NS, SenderClock())
    track.begin(BEGIN_NS, BEGIN_NS)
    cuts: list[Cut] = []
    before: list[Packet] = []
    for number, (at, packet) in enumerate(paced(packetise(clip.pictures, 65_500), Codec.H264, BEGIN_NS)):
        give(track, packet, packet.payload, max(at, BEGIN_NS))
        before = [*before[-40:], packet]
        if number % 5 == 4:
            again = random.choice(before)
            give(track, again, random.randbytes(len(again.payload)), max(at, BEGIN_NS))
        if number % 50 == 49:
            cuts.append(track.cut(max(at, BEGIN_NS)))
    end_ns = BEGIN_NS + 3 * SECOND_NS
    track.end(end_ns)
    cuts.append(track.cut(end_ns))
    whole = [each for cut in cuts for each in cut.fragments]
    times = []
    for each in whole:
        at = each.base
        for sample in parse_fragment(each.data).samples:
            times.append(at)
            at += sample.duration
    data = b"".join([each.init or b"" for each in whole[:1]] + [each.data for each in whole])
    kept = [split_lengths(sample.data) for sample in samples(whole)]
    told = [gap for cut in cuts for gap in gaps(cut) if gap[0] != "no-media"]
    sent = [nals for _, nals in clip.pictures]
    decoded = decode(place.folder / "video.mp4", data) if kept == sent else 0
    return Mended(sent, kept, times, decoded, told)


def what_came_first_is_kept_and_decoding_goes_forward(found: Mended) -> None:
    assert found.kept == found.sent
    assert found.gaps == []
    assert found.decoded == len(found.sent)
    assert all(before < after for before, after in pairwise(found.decoding_times))


def as_shown(self: DecodingTimes, shown: Sequence[int], depth: int, step: int) -> list[int]:
    """Decoding times as they are sent: in a picture order that B-frames turn back."""
    del self, depth
    return [*shown, max(shown) + step]


M02 = Mode(ten_minutes_of_a_camera_that_gives_key_frames_only_when_asked, none_lasts_a_second)
M07 = Mode(a_picture_that_changes_its_size, each_size_is_a_file_that_any_player_opens)
M08 = Mode(a_start_between_key_frames_and_a_stop_within_a_picture, every_picture_from_the_key_frame_to_the_half_one)
M14 = Mode(a_camera_that_is_there_and_sends_nothing, all_that_is_missing_is_declared)
M15 = Mode(
    retransmissions_with_other_bytes_and_pictures_out_of_order, what_came_first_is_kept_and_decoding_goes_forward
)
