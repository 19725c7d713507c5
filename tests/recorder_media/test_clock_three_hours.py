"""Three hours with clocks that are off: sound and picture stay together, and the length is right."""

from __future__ import annotations

import subprocess
from itertools import pairwise
from pathlib import Path

import pytest

from recorder.box_reader import parse_fragment
from recorder.clock import SECOND_NS, SenderClock
from recorder.fragments import Codec, Event, Fragment
from recorder.track import Track

from .clips import FFMPEG, decode, make_clip
from .payloads import give, packetise
from .senders import MS, T0
from .two_clocks import HOUR_NS, Camera, Medium, at_rate, picture, sound

LENGTH_NS = 3 * HOUR_NS
SETTLED_NS = 45 * SECOND_NS


def laid(medium: Medium) -> list[int]:
    """When each unit lies, in ns after the take's origin, by what is in the fragments."""
    found = []
    scale = medium.track.codec.timescale
    for each in medium.fragments:
        parsed = parse_fragment(each.data)
        decode = parsed.base_time
        for sample in parsed.samples:
            found.append((decode + sample.offset) * SECOND_NS // scale)
            decode += sample.duration
    return found


def wrong(medium: Medium) -> list[tuple[int, int]]:
    """(true time, how much later than that each unit lies), in ns. Every unit that was sent is there."""
    shown = laid(medium)
    assert len(shown) == len(medium.sent)
    return [(true, lies - true) for (true, _), lies in zip(medium.sent, shown, strict=True)]


def gaps(medium: Medium) -> list[Event]:
    """All but that for the first picture to come, which is on its way when the take begins."""
    return [event for event in medium.events if event["type"] == "gap" and event["to"] != laid_first(medium)]


def laid_first(medium: Medium) -> int:
    return medium.fragments[0].first


def apart(one: list[tuple[int, int]], other: list[tuple[int, int]]) -> int:
    """The greatest that two media ever were from where they were to one another, in ns."""
    greatest, position = 0, 0
    for true, lies in one:
        while position + 1 < len(other) and other[position + 1][0] <= true:
            position += 1
        greatest = max(greatest, abs(lies - other[position][1]))
    return greatest


CAMERAS = {
    "all_of_one_crystal_fast": Camera([picture(200), sound(200)], wall_ppm=200, seed=1),
    "all_of_one_crystal_slow": Camera([picture(-200), sound(-200)], wall_ppm=-200, seed=2),
    "true_wall_clock_media_fast": Camera([picture(200), sound(200)], seed=3),
    "picture_fast_sound_slow": Camera([picture(200), sound(-200)], seed=4),
    "sound_fast_picture_slow": Camera([picture(-200), sound(200)], seed=5),
    "wall_clock_slow_and_wrong": Camera([picture(200), sound(200)], wall_ppm=-200, wall_off_ns=HOUR_NS, seed=6),
    "a_poor_line": Camera([picture(200, 120), sound(-200)], jitter_ms=40, seed=7),
    "reports_that_follow_no_media": Camera([picture(0), sound(200)], reports="nominal", seed=8),
    "read_at_leisure": Camera([picture(200), sound(-200)], wall_ppm=-200, at_leisure=True, seed=10),
    "in_step_with_the_readings": Camera([picture(20, step_ms=250), sound(20, step_ms=250)], at_leisure=True, seed=11),
}  # fmt: skip


ONE_HOUR = (
    "all_of_one_crystal_slow", "sound_fast_picture_slow", "wall_clock_slow_and_wrong", "in_step_with_the_readings",
)  # fmt: skip
"""Of these, whose likes run for three."""


@pytest.mark.parametrize("name", CAMERAS)
def test_sound_and_picture_stay_together_and_with_our_clock(name: str) -> None:
    camera = CAMERAS[name]
    length_ns = HOUR_NS if name in ONE_HOUR else LENGTH_NS
    camera.run(length_ns)
    video, audio = (wrong(medium) for medium in camera.media)
    # How much later the picture lies is the encoder's delay, where there is no report to take it out.
    assert apart(video, audio) <= 40 * MS
    for places in (video, audio):
        assert max(abs(lies) for _, lies in places) <= 50 * MS
    for medium in camera.media:
        assert gaps(medium) == []
        end = medium.fragments[-1].base + medium.fragments[-1].duration
        assert end * SECOND_NS // medium.track.codec.timescale == pytest.approx(length_ns, abs=450 * MS)


def test_without_a_single_report() -> None:
    """Nothing tells what encoding takes, so that stays in the offset; what drifts does not come on top of it."""
    camera = Camera([picture(200, 40), sound(-200, 5)], reports="none", seed=9)
    camera.run(LENGTH_NS)
    video, audio = (wrong(medium) for medium in camera.media)
    first = video[0][1] - audio[0][1]
    assert apart([(at, lies - first) for at, lies in video], audio) <= 40 * MS


def test_through_the_muxer_and_what_a_player_makes_of_it(tmp_path: Path) -> None:
    """Real pictures and sounds; FFmpeg decodes all of it without a complaint, each at its time, in one file."""
    clip = make_clip(tmp_path / "clip.mp4", seconds=2, size="64x64", x264="bframes=0:profile=baseline")
    video, audio = picture(200), sound(-200)
    video.pictures, audio.sounds = [nals for _, nals in clip.pictures], [data for _, data in clip.sound]
    video.rtp, audio.rtp = 2**32 - 90_000 * 3600, 2**32 - 48_000 * 3600
    Camera([video, audio], seed=15).run(LENGTH_NS)
    for name, medium in (("video", video), ("audio", audio)):
        first, *rest = medium.fragments
        assert all(each.init is None for each in rest)
        (tmp_path / f"{name}.mp4").write_bytes(b"".join([first.init or b"", *(each.data for each in medium.fragments)]))
    told = subprocess.run(
        [FFMPEG, "-nostdin", "-v", "error", "-xerror", "-err_detect", "explode", "-copyts",
         "-i", str(tmp_path / "video.mp4"), "-i", str(tmp_path / "audio.mp4"),
         "-map", "0:v", "-map", "1:a", "-fps_mode", "passthrough", "-enc_time_base:v", "1:90000", "-c:a", "copy",
         "-f", "framecrc", "-"],
        capture_output=True, check=True, timeout=100,
    )  # fmt: skip
    assert told.stderr == b""
    lines = [line.split(b",") for line in told.stdout.splitlines() if not line.startswith(b"#")]
    for stream, scale, medium in ((b"0", 90_000, video), (b"1", 48_000, audio)):
        times = [int(line[2]) * SECOND_NS // scale for line in lines if line[0] == stream]
        assert len(times) == len(medium.sent)
        off = [at - true for at, (true, _) in zip(times, medium.sent, strict=True)]
        # On our timeline both lie within 25 ms, so within 50 ms of UTC, and of one another within 40 ms.
        assert max(map(abs, off)) <= 25 * MS
        assert times[-1] - times[0] == pytest.approx(medium.sent[-1][0] - medium.sent[0][0], abs=25 * MS)
    assert apart(wrong(video), wrong(audio)) <= 40 * MS


def test_what_moved_is_declared_and_can_be_taken_back() -> None:
    """By the mappings, every unit's RTP time comes out again; in none of them is a unit longer or shorter."""
    camera = Camera([picture(200), sound(-200)], seed=10)
    camera.run(LENGTH_NS // 3)
    for medium in camera.media:
        mappings = [event for event in medium.events if event["type"] == "mapping"]
        assert 50 < len(mappings) < 90, "a step of 10 ms each 50 s"
        assert [event["number"] for event in mappings] == list(range(len(mappings)))
        scale = medium.track.codec.timescale
        by_number = {event["number"]: event for event in mappings}
        for before, after in pairwise(mappings):
            ticks = (int(after["rtp"] or 0) - int(before["rtp"] or 0)) & 0xFFFFFFFF
            moved = int(after["media_time"] or 0) - int(before["media_time"] or 0) - ticks
            assert moved * SECOND_NS // scale == pytest.approx(after["moved_ns"], abs=2)
            assert 0 < abs(moved) <= scale // 100
        found = []
        for each in medium.fragments:
            mapping = by_number[each.mapping]
            parsed = parse_fragment(each.data)
            decode = parsed.base_time
            for sample in parsed.samples:
                media = decode + sample.offset
                found.append((int(mapping["rtp"] or 0) + media - int(mapping["media_time"] or 0)) & 0xFFFFFFFF)
                decode += sample.duration
        assert found == [medium.rtp_at(true) & 0xFFFFFFFF for true, _ in medium.sent]


@pytest.mark.parametrize("ppm", [500, -500])
def test_pictures_sent_out_of_order_keep_their_order(tmp_path: Path, ppm: int) -> None:
    """A step falls between pictures that are shown in another order than they are decoded in."""
    clip = make_clip(tmp_path / "clip.mp4", seconds=2, size="64x64", x264="bframes=2:b-adapt=0:b-pyramid=none")
    track = Track("wide-video", Codec.H264)
    track.connect("one", T0, SenderClock())
    track.begin(T0, T0)
    fragments: list[Fragment] = []
    moved, sent, sequence, now_ns = 0, 0, 0, T0
    for lap in range(60):
        for number, (time, nals) in enumerate(clip.pictures):
            now_ns = T0 + at_rate((lap * 60 + number) * SECOND_NS // 30, -ppm)
            for packet in packetise([(time + lap * 180_000, nals)], sequence):
                give(track, packet, packet.payload, now_ns)
                sequence += 1
            sent += 1
        cut = track.cut(now_ns)
        fragments += cut.fragments
        moved += sum(abs(int(event["moved_ns"] or 0)) for event in cut.events if event["type"] == "mapping")
    track.end(now_ns)
    fragments += track.cut(now_ns).fragments
    assert moved >= 20 * MS
    decode_at, shown_at = [], []
    for each in fragments:
        at = each.base
        for sample in parse_fragment(each.data).samples:
            decode_at.append(at)
            shown_at.append(at + sample.offset)
            at += sample.duration
    assert len(shown_at) == sent
    assert all(before < after for before, after in pairwise(decode_at))
    order = [time + lap * 180_000 for lap in range(60) for time, _ in clip.pictures]
    assert sorted(range(sent), key=shown_at.__getitem__) == sorted(range(sent), key=order.__getitem__)
    data = b"".join([fragments[0].init or b"", *(each.data for each in fragments)])
    assert decode(tmp_path / "video.mp4", data) == sent


def test_wraps_jumps_pauses_and_silence_on_top() -> None:
    """Each is told; what comes after lies where it was all the same."""
    video, audio = picture(200), sound(-200)
    for medium in (video, audio):
        scale = medium.track.codec.timescale
        medium.jumps = [(40 * 60 * SECOND_NS, 2**31), (HOUR_NS, -(6 * scale)), (90 * 60 * SECOND_NS, 5 * scale)]
    video.breaks = [(100 * 60 * SECOND_NS, 110 * 60 * SECOND_NS)]
    audio.breaks = [(120 * 60 * SECOND_NS, 150 * 60 * SECOND_NS)]
    camera = Camera([video, audio], seed=11)
    camera.run(LENGTH_NS)
    for medium in camera.media:
        found = gaps(medium)
        assert sorted(str(gap["reason"]) for gap in found) == ["discontinuity"] * 3 + ["no-media"]
        scale = medium.track.codec.timescale
        (silence,) = [gap for gap in found if gap["reason"] == "no-media"]
        begin, end = medium.breaks[0]
        assert int(silence["from"] or 0) * SECOND_NS // scale == pytest.approx(begin, abs=450 * MS)
        assert int(silence["to"] or 0) * SECOND_NS // scale == pytest.approx(end, abs=450 * MS)
    for medium in camera.media:
        assert max(abs(lies) for _, lies in wrong(medium)) <= 100 * MS
    assert apart(*(wrong(medium) for medium in camera.media)) <= 60 * MS


def test_sound_that_sends_only_now_and_then_keeps_its_place() -> None:
    """Opus with DTX: a packet each 400 ms in silence."""
    medium = sound(200)
    Camera([medium], seed=12).run(HOUR_NS)
    assert gaps(medium) == []
    assert max(abs(lies) for _, lies in wrong(medium)) <= 50 * MS


def test_a_late_first_report_puts_sound_and_picture_together() -> None:
    """The picture takes 300 ms more than the sound, and nothing says so until the first report, after they began."""
    camera = Camera([picture(0, 320), sound(0, 5)], first_report_ns=2 * SECOND_NS, seed=13)
    camera.run(3 * 60 * SECOND_NS)
    video, audio = (wrong(medium) for medium in camera.media)
    assert apart(video[:2], audio[:2]) > 200 * MS
    settled = [[each for each in places if each[0] > SETTLED_NS] for places in (video, audio)]
    assert apart(*settled) <= 40 * MS


def test_nothing_is_dropped_or_altered_for_the_clocks_sake() -> None:
    camera = Camera([picture(500, step_ms=250), sound(-500, step_ms=120)], jitter_ms=200, seed=14)
    camera.run(HOUR_NS)
    for medium in camera.media:
        data = [sample.data for each in medium.fragments for sample in parse_fragment(each.data).samples]
        numbers = [each[-4:] for each in data]
        assert numbers == [number.to_bytes(4, "big").replace(b"\0", b"\xfe") for _, number in medium.sent]
        times = laid(medium)
        assert all(before < after for before, after in pairwise(times))
        if medium.track.codec is Codec.OPUS:
            assert min(after - before for before, after in pairwise(times)) >= 120 * MS - 11 * MS
