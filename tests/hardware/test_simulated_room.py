from __future__ import annotations

from array import array
from dataclasses import replace
from pathlib import Path
from typing import Any

import av
import pytest

from hardware.picture_clock import find_tones, read_picture_clock
from hardware.simulated_room import RATE, SCENES, Recipe, make_clip

from .conftest import SMALL


def clock_of_every_frame(clip: Path) -> list[int | None]:
    with av.open(str(clip)) as container:
        return [
            read_picture_clock(bytes(plane), frame.width, frame.height, plane.line_size)
            for frame in container.decode(container.streams.video[0])
            for plane in (frame.planes[0],)
        ]


def sound_of_every_packet(clip: Path) -> array[int]:
    """Left channel, 16 bits, with nothing skipped: what a receiver hears that knows packets only."""
    coder: Any = av.CodecContext.create("opus", "r")
    coder.sample_rate, coder.layout = 48_000, "stereo"
    resampler = av.AudioResampler(format="s16p", layout="stereo", rate=48_000)
    heard = array("h")
    with av.open(str(clip)) as container:
        for packet in container.demux(container.streams.audio[0]):
            for frame in coder.decode(av.Packet(bytes(packet))) if packet.size else ():
                for out in resampler.resample(frame):
                    heard.frombytes(bytes(out.planes[0])[: out.samples * 2])
    return heard


def test_every_frame_tells_its_place_in_the_loop(small_clip: Path) -> None:
    assert clock_of_every_frame(small_clip) == list(range(SMALL.frames))


def test_picture_has_a_key_frame_each_second_and_no_b_frames(small_clip: Path) -> None:
    with av.open(str(small_clip)) as container:
        video = container.streams.video[0]
        packets = [packet for packet in container.demux(video) if packet.pts is not None]
        assert video.codec_context.profile == "Constrained Baseline"
        assert video.duration == SMALL.seconds * 90_000
    assert [packet.pts for packet in packets] == [n * 3_000 for n in range(SMALL.frames)]
    assert [packet.pts for packet in packets if packet.is_keyframe] == [n * 90_000 for n in range(SMALL.seconds)]
    assert all(packet.pts == packet.dts for packet in packets)


@pytest.mark.parametrize("scene", SCENES)
def test_the_tone_begins_at_each_whole_second(scene: str, cache: Path) -> None:
    heard = sound_of_every_packet(make_clip(Recipe(scene=scene, seconds=2, video=False), cache))
    starts = find_tones(heard, SCENES[scene].tone)
    assert starts[:2] == pytest.approx([0.0, 1.0], abs=0.005)
    others = [other.tone for name, other in SCENES.items() if name != scene]
    assert [find_tones(heard, tone) for tone in others] == [[] for _ in others]


def test_tone_and_picture_of_a_whole_second_come_together(small_clip: Path) -> None:
    starts = find_tones(sound_of_every_packet(small_clip), SCENES["wide"].tone)
    indices = clock_of_every_frame(small_clip)
    seconds = [place / RATE for place, index in enumerate(indices) if index is not None and index % RATE == 0]
    assert starts[: SMALL.seconds] == pytest.approx(seconds, abs=0.005)


def test_sound_has_packets_for_the_whole_loop_and_two_channels(small_clip: Path) -> None:
    with av.open(str(small_clip)) as container:
        audio = container.streams.audio[0]
        assert (audio.rate, audio.channels) == (48_000, 2)
        packets = [packet for packet in container.demux(audio) if packet.size]
    assert len(packets) >= SMALL.seconds * 50
    assert {packet.duration for packet in packets[:-1]} == {960}


def test_sei_text_is_in_every_key_frame_only_when_asked_for(small_clip: Path, cache: Path) -> None:
    assert small_clip.read_bytes().count(b"VIDNE-TEST-PATTERN") == SMALL.seconds
    plain = make_clip(replace(SMALL, sei=None, seconds=1), cache)
    assert b"VIDNE-TEST-PATTERN" not in plain.read_bytes()


def test_without_lettering_the_clock_still_reads(cache: Path) -> None:
    clip = make_clip(replace(SMALL, lettering=False, seconds=1), cache)
    assert clock_of_every_frame(clip) == list(range(RATE))


def test_a_cached_clip_is_not_made_again(tmp_path: Path) -> None:
    recipe = replace(SMALL, seconds=1)
    told: list[float] = []
    clip = make_clip(recipe, tmp_path, told.append)
    assert told == sorted(told)
    assert told[-1] == 1.0
    made = clip.stat()
    assert make_clip(recipe, tmp_path) == clip
    assert (clip.stat().st_mtime_ns, clip.stat().st_ino) == (made.st_mtime_ns, made.st_ino)
    assert list(tmp_path.iterdir()) == [clip]


def test_another_recipe_is_another_file() -> None:
    others = [
        replace(SMALL, seconds=4),
        replace(SMALL, scene="close"),
        replace(SMALL, sei="x"),
        replace(SMALL, audio=False),
    ]
    assert len({recipe.file_name for recipe in (SMALL, *others)}) == 5


def test_a_clip_given_up_halfway_leaves_nothing_behind(tmp_path: Path) -> None:
    def give_up(done: float) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        make_clip(SMALL, tmp_path, give_up)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "wrong",
    [
        {"scene": "garden"},
        {"video": False, "audio": False},
        {"width": 641},
        {"height": 4320},
        {"seconds": 0},
        {"bitrate": 0},
        {"sei": "two words"},
        {"sei": ""},
    ],
)
def test_a_recipe_that_cannot_be_made_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError):
        Recipe(**wrong)
