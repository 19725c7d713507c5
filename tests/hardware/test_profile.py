from __future__ import annotations

from pathlib import Path

import pytest

from hardware.profile import (
    InvalidProfile,
    Media,
    Track,
    load_named_profile,
    load_profile,
    named_profiles,
    parse_profile,
)

GOOD = """
room = "rum-1"
label = "Afhøringsrum 1"
house = "Børnehus Nord"

[[cameras]]
id = "wide"
label = "Vid"
video = true
audio = true
video_codec = "h264"
audio_codec = "opus"

[[cameras]]
id = "close"
label = "Nær"
video = true
audio = false
video_codec = "h264"
"""


def test_a_profile_gives_cameras_and_their_tracks_in_order() -> None:
    room = parse_profile(GOOD, where="rum.toml")
    assert (room.room, room.label, room.house) == ("rum-1", "Afhøringsrum 1", "Børnehus Nord")
    assert [camera.id for camera in room.cameras] == ["wide", "close"]
    assert room.tracks == (
        Track("wide-video", "wide", Media.VIDEO, "h264"),
        Track("wide-audio", "wide", Media.AUDIO, "opus"),
        Track("close-video", "close", Media.VIDEO, "h264"),
    )
    assert room.camera("close").label == "Nær"
    with pytest.raises(KeyError):
        room.camera("ceiling")


REFUSED = {
    "room_missing": ('room = "rum-1"\n', "", "room"),
    "room_upper_case": ('room = "rum-1"', 'room = "Rum-1"', "room"),
    "room_begins_with_digit": ('room = "rum-1"', 'room = "1-rum"', "room"),
    "room_with_slash": ('room = "rum-1"', 'room = "a/b"', "room"),
    "room_ends_with_newline": ('room = "rum-1"', r'room = "rum-1\n"', "room"),
    "room_too_long": ('room = "rum-1"', f'room = "{"a" * 33}"', "room"),
    "label_blank": ('label = "Afhøringsrum 1"', 'label = "  "', "label"),
    "label_too_long": ('label = "Afhøringsrum 1"', f'label = "{"a" * 65}"', "label"),
    "house_is_number": ('house = "Børnehus Nord"', "house = 7", "house"),
    "unknown_key": ('house = "Børnehus Nord"', 'house = "Børnehus Nord"\ncolour = "blue"', "colour"),
    "camera_unknown_key": ('label = "Nær"', 'label = "Nær"\ntoken = "x"', "cameras[1].token"),
    "camera_id_used_twice": ('id = "close"', 'id = "wide"', "cameras[1].id"),
    "camera_id_with_dot": ('id = "close"', 'id = "close.1"', "cameras[1].id"),
    "camera_video_is_text": ("video = true\naudio = false", 'video = "yes"\naudio = false', "cameras[1].video"),
    "camera_video_is_number": ("video = true\naudio = false", "video = 1\naudio = false", "cameras[1].video"),
    "camera_without_tracks": ("video = true\naudio = false", "video = false\naudio = false", "cameras[1].video"),
    "codec_missing": ('audio = false\nvideo_codec = "h264"', "audio = false", "cameras[1].video_codec"),
    "codec_unknown": ('audio_codec = "opus"', 'audio_codec = "aac"', "cameras[0].audio_codec"),
    "codec_of_track_not_sent": ("audio = false", 'audio = false\naudio_codec = "opus"', "cameras[1].audio_codec"),
    "not_toml": ('room = "rum-1"', "room = ", "file"),
}


@pytest.mark.parametrize(("old", "new", "field"), REFUSED.values(), ids=REFUSED.keys())
def test_refusals_name_the_file_and_the_field(old: str, new: str, field: str) -> None:
    assert GOOD.count(old) >= 1
    head, _, tail = GOOD.rpartition(old)
    with pytest.raises(InvalidProfile) as refusal:
        parse_profile(f"{head}{new}{tail}", where="rum.toml")
    assert (refusal.value.where, refusal.value.field) == ("rum.toml", field)
    assert str(refusal.value).startswith(f"rum.toml: {field}: ")


@pytest.mark.parametrize("cameras", ["", "cameras = []", "cameras = 3", 'cameras = ["wide"]'])
def test_a_room_needs_cameras(cameras: str) -> None:
    with pytest.raises(InvalidProfile, match="cameras"):
        parse_profile(f'room = "rum"\nlabel = "Rum"\nhouse = "Hus"\n{cameras}', where="rum.toml")


def test_too_many_cameras_are_refused() -> None:
    many = "\n".join(
        f'[[cameras]]\nid = "c{n}"\nlabel = "C"\nvideo = true\naudio = false\nvideo_codec = "h264"' for n in range(13)
    )
    with pytest.raises(InvalidProfile, match="at most 12"):
        parse_profile(f'room = "rum"\nlabel = "Rum"\nhouse = "Hus"\n{many}', where="rum.toml")


def test_a_file_that_is_not_text_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "rum.toml"
    path.write_bytes(b"\xff\xfe")
    with pytest.raises(InvalidProfile, match="UTF-8"):
        load_profile(path)


def test_every_profile_that_comes_with_vidne_is_valid() -> None:
    assert named_profiles() == ("audio_only", "demo")
    assert [track.id for track in load_named_profile("demo").tracks] == [
        "wide-video",
        "wide-audio",
        "close-video",
        "close-audio",
    ]
    assert [track.id for track in load_named_profile("audio_only").tracks] == ["wide-audio"]
    with pytest.raises(InvalidProfile, match="no such profile"):
        load_named_profile("../demo")
