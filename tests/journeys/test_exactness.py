"""What cameras sent is in the evidence copy: every NAL unit and Opus packet, byte for byte, in order, in time."""

from __future__ import annotations

import subprocess
from pathlib import Path

import imageio_ffmpeg
import pytest

from tests.journeys.conftest import RECORDED_AT_LEAST, Journey
from tests.journeys.stage import SMALL, Picture, Sent, Sound, pictures_of, sounds_of
from tests.recorder_media.clips import packets
from tests.recorder_media.payloads import split_lengths

IDR = 5


def original(journey: Journey, track: str) -> Path:
    """The one file of that track: nothing was begun anew on the way."""
    (found,) = (journey.package / "data" / "original").glob(f"*{track}-*.mp4")
    return found


def pictures(data: bytes) -> list[Picture]:
    return [(time, split_lengths(packet)) for _, time, packet in packets(data)]


def sounds(data: bytes) -> list[Sound]:
    return [(time, packet) for _, time, packet in packets(data)]


def from_first(times: list[int]) -> list[int]:
    return [time - times[0] for time in times]


def assert_same_times(recorded: list[int], sent: list[int]) -> None:
    apart = [abs(one - other) for one, other in zip(from_first(recorded), from_first(sent), strict=True)]
    assert max(apart) <= 1


def assert_from_the_clip(sent: list[list[bytes]], clip: list[list[bytes]]) -> None:
    """FFmpeg was given the clip over and over, beginning somewhere in it."""
    first = clip.index(sent[0])
    assert sent == [clip[(first + number) % len(clip)] for number in range(len(sent))]


@pytest.mark.parametrize("camera", ["wide", "close"])
def test_every_nal_unit_from_the_first_key_frame_to_the_last_sent(journey: Journey, camera: str) -> None:
    """The second camera's pictures hold noise: whoever decoded them on the way could not give these bytes."""
    sent = journey.sent[camera].pictures
    assert_from_the_clip([nals for _, nals in sent], pictures_of(journey.clips[camera]))
    recorded = pictures(original(journey, f"{camera}-video").read_bytes())
    assert len(recorded) > 30 * RECORDED_AT_LEAST
    expected = sent[-len(recorded) :]
    assert [nals for _, nals in recorded] == [nals for _, nals in expected]
    assert IDR in {nal[0] & 0x1F for nal in recorded[0][1]}
    assert_same_times([time for time, _ in recorded], [time for time, _ in expected])


def test_every_opus_packet_until_the_last_sent(journey: Journey) -> None:
    sent: Sent = journey.sent["wide"]
    clip = sounds_of(journey.clips["wide"])
    first = clip.index(sent.sounds[0][1])
    loop = clip[: round(50 * SMALL.seconds)]  # a lap is ten seconds, whatever the file's last packet says
    assert [data for _, data in sent.sounds] == [loop[(first + n) % len(loop)] for n in range(len(sent.sounds))]
    recorded = sounds(original(journey, "wide-audio").read_bytes())
    assert len(recorded) > 50 * RECORDED_AT_LEAST
    expected = sent.sounds[-len(recorded) :]
    assert [data for _, data in recorded] == [data for _, data in expected]
    assert_same_times([time for time, _ in recorded], [time for time, _ in expected])


def test_picture_and_sound_keep_their_offset(journey: Journey) -> None:
    """Whoever plays both sees lips and hears words as far apart as the camera sent them."""
    sent = journey.sent["wide"]
    video = pictures(original(journey, "wide-video").read_bytes())
    audio = sounds(original(journey, "wide-audio").read_bytes())
    apart_sent = sent.pictures[-len(video)][0] / 90_000 - sent.sounds[-len(audio)][0] / 48_000
    apart = video[0][0] / 90_000 - audio[0][0] / 48_000
    assert apart == pytest.approx(apart_sent, abs=0.005)


def test_what_the_player_gets_is_the_same(journey: Journey) -> None:
    for track in ("wide-video", "close-video", "wide-audio"):
        kind = "video" if track.endswith("video") else "audio"
        copy = [data for _, _, data in packets(original(journey, track).read_bytes())]
        assert [data for found, _, data in packets(journey.played[track]) if found == kind] == copy


def test_the_second_cameras_pictures_are_beyond_any_decoder(journey: Journey) -> None:
    """What makes the comparison above show that nothing is decoded: FFmpeg fails at what went through."""
    for camera, readable in (("wide", True), ("close", False)):
        done = subprocess.run(
            [imageio_ffmpeg.get_ffmpeg_exe(), "-nostdin", "-v", "error", "-xerror", "-err_detect", "explode",
             "-i", str(original(journey, f"{camera}-video")), "-f", "null", "-"],
            capture_output=True, check=False, timeout=60,
        )  # fmt: skip
        assert (done.returncode == 0 and not done.stderr) == readable


def test_the_recorder_never_ran_short_of_time(journey: Journey) -> None:
    assert journey.room_while_recording["alarms"] == []
    assert journey.room_while_recording["durable"] is True
