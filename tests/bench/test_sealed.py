"""Holes in what was sealed are found by the bytes, and told from those that a gap record covers."""

from __future__ import annotations

import hashlib

import pytest

from tests.bench.sealed import SECOND, Clip, Declared, Follower, Hole, Unit, uncovered

STEP = SECOND // 30
CLIP = Clip({hashlib.sha256(b"picture %d" % n).digest(): [n] for n in range(300)}, 300, STEP)


def holes(*units: Unit) -> list[Hole]:
    follower = Follower("wide-video", CLIP)
    return [hole for unit in units if (hole := follower.see(unit)) is not None]


def unit(number: int, place: int | None = -1, take: int = 1) -> Unit:
    return Unit(take, number * STEP, number % 300 if place == -1 else place)


def test_a_unit_is_known_by_its_bytes_and_where_there_are_twins_by_what_is_expected() -> None:
    clip = Clip({hashlib.sha256(b"silence").digest(): [4, 9]}, 500, SECOND // 50)
    assert [clip.place(b"silence", expected) for expected in (None, 5, 9, 10)] == [4, 9, 9, 4]
    assert clip.place(b"noise", 4) is None


def test_nothing_is_missing_from_one_lap_to_the_next() -> None:
    assert holes(*(unit(number) for number in range(290, 610))) == []


@pytest.mark.parametrize(
    ("after", "missing"), [(13, 2), (12 + 300, 301), (12 + 3000, 3001)], ids=["two", "a lap", "ten laps"]
)
def test_missing_units_are_counted_over_laps(after: int, missing: int) -> None:
    (hole,) = holes(unit(9), unit(10), unit(after))
    assert (hole.begin, hole.missing) == (11 * STEP, missing)


def test_a_damaged_unit_is_a_missing_one() -> None:
    assert [hole.missing for hole in holes(unit(9), unit(10, None), unit(11))] == [1]


def test_what_a_gap_of_the_track_or_of_all_covers_is_declared() -> None:
    hole = Hole("wide-video", 100, 200, 3)
    covering = [Declared("wide-video", 50, 150, "loss"), Declared(None, 150, 250, "crashed")]
    assert uncovered(hole, covering) == 0
    assert uncovered(hole, covering[:1]) == 50
    assert uncovered(hole, [Declared("wide-audio", 0, 300, "loss")]) == 100
    assert uncovered(hole, [Declared("wide-video", 120, 130, "loss"), *covering[1:]]) == 20
    assert uncovered(hole, []) == 100
