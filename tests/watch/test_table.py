"""The pure part: when each thing begins and ends, and what keeps it from flickering."""

from __future__ import annotations

from array import array

import pytest

from recorder.watching.judge import Judge, Observation
from recorder.watching.kinds import RULES, SECOND_NS, STILL_CHANGE, Kind
from recorder.watching.measures import CELLS, Picture, Pictures, Rate, Rates, Sound, Sounds, Unwrapped

ROOM = Picture(mean=120, deviation=40, brightest=200, change=60, still_since_ns=0)
SPEECH = Sound(peak=9000, level=-300, clipped=0)


def seconds(value: float) -> int:
    return int(value * SECOND_NS)


def told(found: list[Observation]) -> list[tuple[str, Kind, float, float]]:
    return [(each.act, each.kind, each.from_ns / SECOND_NS, each.at_ns / SECOND_NS) for each in found]


@pytest.fixture
def picture() -> Judge:
    return Judge("wide", "video", heard_ns=0, frame_rate=30)


@pytest.fixture
def sound() -> Judge:
    return Judge("wide", "audio", heard_ns=0)


def pictures(judge: Judge, *seen: tuple[float, Picture]) -> list[tuple[str, Kind, float, float]]:
    return told([each for at, one in seen for each in judge.picture(one, seconds(at))])


def black(mean: int = 2, deviation: int = 1) -> Picture:
    return Picture(mean, deviation, mean, 60, 0)


def test_every_kind_begins_within_five_seconds_but_the_soft_one() -> None:
    assert set(RULES) == set(Kind)
    late = {kind for kind, rule in RULES.items() if rule.hold_ns > 3 * SECOND_NS}
    assert late == {Kind.QUIET}, "a child may sit silent in a quiet room"


def test_black_begins_when_it_has_held_and_is_dated_back(picture: Judge) -> None:
    assert pictures(picture, (0, ROOM), (1, black()), (2, black())) == []
    assert pictures(picture, (3, black())) == [("began", Kind.BLACK, 1, 3)]
    assert pictures(picture, (4, black()), (5, ROOM)) == [], "a single picture ends nothing"
    assert pictures(picture, (6, ROOM)) == [("ended", Kind.BLACK, 1, 5)]


def test_a_black_picture_between_others_is_nothing(picture: Judge) -> None:
    assert pictures(picture, (0, black()), (1, ROOM), (2, black()), (3, ROOM)) == []


def test_what_began_does_not_flicker_about_its_limit(picture: Judge) -> None:
    just, past = black(10, 8), black(14, 12)
    assert pictures(picture, (0, past), (1, past), (2, past)) == [], "not black enough to begin"
    assert pictures(picture, (3, just), (4, just), (5, just)) == [("began", Kind.BLACK, 3, 5)]
    assert pictures(picture, *((at, past) for at in range(6, 12))) == [], "not bright enough to end"


def test_black_is_not_also_low_light_nor_frozen(picture: Judge) -> None:
    still = Picture(2, 1, 2, 0, 0)
    assert {each[1] for each in pictures(picture, *((at, still) for at in range(20)))} == {Kind.BLACK}


def test_low_light_looks_at_the_brightest_part_too(picture: Judge) -> None:
    dim = Picture(mean=30, deviation=15, brightest=70, change=60, still_since_ns=0)
    lamp = Picture(mean=30, deviation=40, brightest=220, change=60, still_since_ns=0)
    assert pictures(picture, *((at, lamp) for at in range(10))) == [], "a dark room with a lit face"
    assert pictures(picture, *((at, dim) for at in range(10, 14))) == [("began", Kind.LOW_LIGHT, 10, 13)]


def test_a_still_picture_is_dated_to_where_it_began(picture: Judge) -> None:
    still = Picture(120, 40, 200, STILL_CHANGE, seconds(7))
    assert pictures(picture, (8, still), (9, still)) == []
    assert pictures(picture, (10, still)) == [("began", Kind.FROZEN, 7, 10)]
    assert pictures(picture, (11, ROOM)) == [("ended", Kind.FROZEN, 7, 11)]


@pytest.mark.parametrize(
    ("expected", "hundred", "paused", "wrong"),
    [
        (30, 3000, False, False),
        (30, 2500, False, False),
        (30, 2390, False, True),
        (30, 3800, False, True),
        (30, 3000, True, True),
        (None, 1500, False, False),
        (None, 9000, False, False),
        (None, 500, False, True),
        (25, 500, False, True),
    ],
)
def test_frame_rates(expected: int | None, hundred: int, paused: bool, wrong: bool) -> None:
    judge = Judge("wide", "video", 0, expected)
    rate = Rate(hundred, paused)
    found = [each for at in range(4) for each in judge.rate(rate, seconds(at))]
    assert [(each.kind, each.measure) for each in found] == ([(Kind.WRONG_FRAME_RATE, hundred)] if wrong else [])


def test_digital_silence_at_once_a_quiet_room_late_or_never(sound: Judge) -> None:
    silent, quiet = Sound(0, -960, 0), Sound(12, -720, 0)
    found = [each for at in range(10) for each in sound.sound(silent, seconds(at / 2))]
    assert told(found) == [("began", Kind.SILENCE, 0, 2.5)]
    found = [each for at in range(10, 70) for each in sound.sound(quiet, seconds(at / 2))]
    assert told(found) == [("ended", Kind.SILENCE, 0, 5)]
    found = [each for at in range(70, 80) for each in sound.sound(quiet, seconds(at / 2))]
    assert told(found) == [("began", Kind.QUIET, 5, 35)]
    assert told(sound.sound(SPEECH, seconds(41))) == [("ended", Kind.QUIET, 5, 41)]


def test_a_silent_child_in_a_room_with_a_working_microphone_raises_nothing(sound: Judge) -> None:
    room = Sound(peak=60, level=-610, clipped=0)
    assert [each for at in range(1200) for each in sound.sound(room, seconds(at / 2))] == []


def test_clipping_begins_at_once_and_ends_when_it_has_been_away(sound: Judge) -> None:
    loud = Sound(32767, -60, 8)
    assert told(sound.sound(loud, 0)) == [("began", Kind.CLIPPED, 0, 0)]
    found = [each for at in (1.0, 2.0, 2.5, 3.0) for each in sound.sound(SPEECH, seconds(at))]
    assert told(found) == [("ended", Kind.CLIPPED, 0, 1)]


def test_a_track_that_ceases_is_lost_and_nothing_else(picture: Judge) -> None:
    picture.heard(seconds(1))
    pictures(picture, *((at, black()) for at in (1, 2, 3)))
    picture.heard(seconds(3))
    assert picture.tick(seconds(5.9)) == []
    lost = told(picture.tick(seconds(6)))
    assert lost == [("ended", Kind.BLACK, 1, 3), ("began", Kind.CAMERA_LOST, 3, 6)]
    assert picture.tick(seconds(60)) == [], "said once"
    assert picture.lapse(seconds(60)) == [], "a camera that disconnects is lost all the same"
    assert told(picture.heard(seconds(61))) == [("ended", Kind.CAMERA_LOST, 3, 61)]


def test_a_clock_that_is_off_until_it_is_well_within(picture: Judge) -> None:
    offsets = [(1, 400), (2, 501), (3, 450), (4, 399), (5, -501)]
    found = [each for at, off in offsets for each in picture.clock(off, seconds(at))]
    assert told(found) == [
        ("began", Kind.CLOCK_OFF, 2, 2),
        ("ended", Kind.CLOCK_OFF, 2, 4),
        ("began", Kind.CLOCK_OFF, 5, 5),
    ]


# Measures


def test_measures_of_a_picture() -> None:
    half = bytes([0]) * (CELLS // 2) + bytes([200]) * (CELLS // 2)
    seen = Pictures().measure(half, 5)
    assert (seen.mean, seen.deviation, seen.brightest, seen.still_since_ns) == (100, 100, 200, 5)


def test_a_picture_that_creeps_is_not_still() -> None:
    measured = Pictures()
    since = {measured.measure(bytes([100 + at]) * CELLS, at).still_since_ns for at in range(60)}
    assert max(since) > 50, "each step alone is below the limit"


def test_noise_is_still_and_a_few_cells_that_move_are_not() -> None:
    measured, before = Pictures(), bytes([100]) * CELLS
    measured.measure(before, 0)
    assert measured.measure(bytes(100 + at % 4 for at in range(CELLS)), 1).still_since_ns == 0
    assert measured.measure(before[:-4] + bytes([160]) * 4, 2).still_since_ns == 0, "less than a hand"
    assert measured.measure(before[:-5] + bytes([160]) * 5, 3).still_since_ns == 3


def test_measures_of_sound() -> None:
    half_second = array("h", [3276, -3276] * 12_000)
    assert Sounds().measure(half_second, SECOND_NS // 2) == Sound(3276, -200, 0)
    full = array("h", [32767, -32768] * 12_000)
    assert Sounds().measure(full, SECOND_NS // 2) == Sound(32768, 0, 1000)
    assert Sounds().measure(array("h", [0] * 960), SECOND_NS // 50) is None, "not half a second yet"


def test_a_clap_is_not_clipping() -> None:
    sounds, quiet, clap = Sounds(), array("h", [100] * 24_000), array("h", [32767] * 480 + [100] * 23_520)
    found = [sounds.measure(each, SECOND_NS // 2) for each in (quiet, quiet, quiet, quiet, quiet, clap)]
    assert found[-1] is not None
    assert found[-1].clipped < 5


def test_rates_by_the_cameras_own_time() -> None:
    rates = Rates(90_000)
    found = [rates.measure(2**32 - 50_000 + at * 3600) for at in range(200)]
    assert {each.hundred for each in found if each is not None} == {2500}
    assert rates.measure(2**40) is None, "a jump in its time starts it anew"


def test_pictures_sent_out_of_order_have_the_same_rate() -> None:
    rates, order = Rates(90_000), [at + step for at in range(0, 240, 3) for step in (2, 0, 1)]
    found = [each for at in order if (each := rates.measure(at * 3000)) is not None]
    assert all(2900 <= each.hundred <= 3100 for each in found)
    assert not any(each.paused for each in found)


def test_rtp_times_go_on_over_the_wrap() -> None:
    unwrap = Unwrapped()
    assert [unwrap(at & 0xFFFFFFFF) for at in (2**32 - 10, 2**32 + 10, 2**32 + 5, 2**32 + 20)] == [
        2**32 - 10, 2**32 + 10, 2**32 + 5, 2**32 + 20,
    ]  # fmt: skip
