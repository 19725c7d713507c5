"""Every format, and streams made to break a decoder: what cannot be decoded is counted, and the next camera is not."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from random import Random

import pytest

from recorder.feed import FeedTrack
from recorder.sdp import Codec
from recorder.watching.content import ContentWatch, Expected
from recorder.watching.decode import PICTURE_DECODERS, PictureDecoder, SoundDecoder, Unit
from recorder.watching.judge import Observation
from recorder.watching.kinds import SECOND_NS, Kind
from tests.watch.film import BEGIN, END, UTC_AHEAD, WHILE, make_film, units_of

CODERS = {
    "VP8": ("webm", "-c:v libvpx -deadline realtime -cpu-used 16 -keyint_min 30"),
    "VP9": ("webm", "-c:v libvpx-vp9 -deadline realtime -cpu-used 8 -keyint_min 30"),
    "AV1": ("webm", "-c:v libsvtav1 -preset 12"),
    "H265": ("mp4", "-c:v libx265 -preset ultrafast -x265-params log-level=none:scenecut=0:repeat-headers=1"),
    "H264": ("mp4", "-c:v libx264 -preset superfast -bf 2 -x264-params scenecut=0:repeat-headers=1"),
}
BLACK = f",drawbox=c=black:t=fill:{WHILE}"


def pictures(film: Path) -> list[Unit]:
    return [Unit(number, key, True, round(at * 90_000), data) for number, (at, key, data) in enumerate(units_of(film))]


def watched(name: str, units: list[Unit]) -> list[Observation]:
    found: list[Observation] = []
    watch = ContentWatch([Expected("wide", ("video",))], found.append)
    watch.tick(0, UTC_AHEAD)
    watch.tracks({1: FeedTrack(1, "wide", Codec("video", name, 96, 90_000, None))}, 0)
    for unit in units:
        watch.unit(1, unit, unit.rtp * SECOND_NS // 90_000)
    return found


@pytest.mark.parametrize("name", CODERS)
def test_black_is_seen_in_every_format(name: str, tmp_path: Path) -> None:
    assert set(CODERS) == set(PICTURE_DECODERS)
    kind, coder = CODERS[name]
    units = pictures(make_film(tmp_path / f"film.{kind}", BLACK, coder=coder))
    began, ended = watched(name, units)
    assert (began.act, began.kind, ended.act, ended.kind) == ("began", Kind.BLACK, "ended", Kind.BLACK)
    assert BEGIN <= began.at_ns / SECOND_NS <= BEGIN + 5
    assert END <= ended.at_ns / SECOND_NS <= END + 5


@pytest.fixture(scope="module")
def units(tmp_path_factory: pytest.TempPathFactory) -> list[Unit]:
    coder = "-c:v libx264 -preset ultrafast -tune zerolatency -x264-params scenecut=0:repeat-headers=1"
    return pictures(make_film(tmp_path_factory.mktemp("film") / "film.mp4", coder=coder))


def test_about_a_picture_a_second_is_decoded(units: list[Unit]) -> None:
    decoder = PictureDecoder("H264", 90_000)
    grids = [grid for unit in units if (grid := decoder.grid(unit)) is not None]
    assert 13 <= len(grids) <= 15


def test_a_format_that_no_decoder_knows_is_still_counted(units: list[Unit]) -> None:
    slow = [replace(unit, number=at) for at, unit in enumerate(units[::6])]
    assert [(each.act, each.kind) for each in watched("H999", slow)] == [("began", Kind.WRONG_FRAME_RATE)]


def test_a_picture_that_cannot_be_decoded_is_said(units: list[Unit]) -> None:
    noise = [replace(unit, data=Random(unit.number).randbytes(len(unit.data))) for unit in units]  # noqa: S311
    kinds = {(each.act, each.kind) for each in watched("H264", noise)}
    assert ("began", Kind.PICTURE_UNREADABLE) in kinds
    assert {kind for _, kind in kinds} == {Kind.PICTURE_UNREADABLE}


def test_what_the_feed_dropped_is_not_judged(units: list[Unit]) -> None:
    dropped = [unit for unit in units if unit.number % 30 in (0, 3, 4, 5, 11, 12, 25)]
    assert watched("H264", dropped) == [], "a third of the pictures came to us; the camera sent all"


def test_a_unit_with_a_packet_missing_is_not_decoded(units: list[Unit]) -> None:
    decoder = PictureDecoder("H264", 90_000)
    torn = [replace(unit, complete=False, data=unit.data[: len(unit.data) // 2]) for unit in units]
    assert [decoder.grid(unit) for unit in torn] == [None] * len(torn)
    assert decoder.failed == 0


@pytest.mark.parametrize("name", sorted(PICTURE_DECODERS))
def test_garbage_breaks_no_picture_decoder(name: str) -> None:
    random, decoder = Random(7), PictureDecoder(name, 90_000)  # noqa: S311
    for number in range(60):
        data = random.randbytes(random.choice((0, 1, 3, 4, 5, 40, 3000)))
        assert decoder.grid(Unit(number, number % 3 == 0, True, number * 90_000, data)) is None


@pytest.mark.parametrize("step_ms", [20, 60, 400])
def test_silence_is_seen_whether_or_not_its_packets_are_left_out(step_ms: int) -> None:
    found: list[Observation] = []
    watch = ContentWatch([Expected("wide", ("audio",))], found.append)
    watch.tracks({1: FeedTrack(1, "wide", Codec("audio", "opus", 111, 48_000, 2))}, 0)
    for number, at in enumerate(range(0, 6000, step_ms)):
        watch.unit(1, Unit(number, True, True, at * 48, b"\xf8\xff\xfe"), at * 1_000_000)
    assert [(each.act, each.kind) for each in found] == [("began", Kind.SILENCE)]
    assert found[0].at_ns <= 5 * SECOND_NS


def test_garbage_breaks_no_sound_decoder() -> None:
    random, decoder = Random(7), SoundDecoder("opus")  # noqa: S311
    for _ in range(300):
        decoder.samples(random.randbytes(random.choice((0, 1, 2, 3, 40, 1200))))
    silence = decoder.samples(b"\xf8\xff\xfe")
    assert silence is not None
    assert silence[1] == SECOND_NS // 50
