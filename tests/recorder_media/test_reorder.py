from __future__ import annotations

from random import Random

import pytest

from recorder.reorder import Lost, Reorder

MS = 1_000_000


def _push(reorder: Reorder[int], *numbers: int, now: int = 0) -> list[int | Lost]:
    return [event for number in numbers for event in reorder.push(number & 0xFFFF, number, now)]


@pytest.mark.parametrize("start", [0, 1000, 65533])
@pytest.mark.parametrize("order", [(0, 1, 2, 3), (0, 2, 1, 3), (0, 3, 2, 1), (0, 2, 3, 1), (0, 1, 3, 3, 2, 2, 0)])
def test_gives_sequence_order_also_over_the_wrap(start: int, order: tuple[int, ...]) -> None:
    reorder: Reorder[int] = Reorder()
    assert _push(reorder, *(start + each for each in order)) == [start + each for each in range(4)]
    assert reorder.counters.lost == 0


def test_in_order_packets_never_wait() -> None:
    reorder: Reorder[int] = Reorder()
    assert all(_push(reorder, number) == [number] for number in range(65530, 65600))


def test_gives_up_each_hole_after_its_own_patience() -> None:
    reorder: Reorder[int] = Reorder(200 * MS)
    assert _push(reorder, 65534, now=0) == [65534]
    assert _push(reorder, 65537, now=10 * MS) == []
    assert _push(reorder, 65539, now=100 * MS) == []
    assert reorder.expire(209 * MS) == []
    assert reorder.expire(210 * MS) == [Lost(65535, 2), 65537]
    assert reorder.expire(299 * MS) == []
    assert reorder.expire(300 * MS) == [Lost(2, 1), 65539]
    assert reorder.counters.lost == 3


def test_gives_up_without_a_timer_when_packets_go_on() -> None:
    reorder: Reorder[int] = Reorder(200 * MS)
    _push(reorder, 0, 2, now=0)
    assert _push(reorder, 3, now=200 * MS) == [Lost(1, 1), 2, 3]


def test_drops_and_counts_late_and_duplicate_packets() -> None:
    reorder: Reorder[int] = Reorder()
    _push(reorder, 0, 1, 3, 3)
    assert _push(reorder, 1) == []
    assert _push(reorder, 2) == [2, 3]
    assert (reorder.counters.late, reorder.counters.duplicates, reorder.counters.recovered) == (1, 1, 1)


def test_holds_no_more_than_its_window() -> None:
    reorder: Reorder[int] = Reorder(window=8)
    assert _push(reorder, 0) == [0]
    assert _push(reorder, *range(2, 9)) == []
    assert _push(reorder, 9) == [Lost(1, 1), *range(2, 10)]
    assert _push(reorder, 5000) == [Lost(10, 4990), 5000]


@pytest.mark.parametrize("jump", [40_000, 60_000, 33_000])
def test_goes_on_after_an_outage_longer_than_half_the_numbers(jump: int) -> None:
    reorder: Reorder[int] = Reorder()
    _push(reorder, 7)
    assert _push(reorder, 8 + jump) == []
    assert _push(reorder, 9 + jump) == [Lost(8, jump), 8 + jump, 9 + jump]
    assert _push(reorder, 10 + jump) == [10 + jump]


def test_one_packet_from_the_far_past_changes_nothing() -> None:
    reorder: Reorder[int] = Reorder()
    _push(reorder, 10_000)
    assert _push(reorder, 1_000) == []
    assert _push(reorder, 10_001, 10_002) == [10_001, 10_002]
    assert _push(reorder, 1_001) == []
    assert reorder.counters.late == 2


def test_flush_releases_what_is_held() -> None:
    reorder: Reorder[int] = Reorder()
    _push(reorder, 0, 2, 4)
    assert reorder.flush() == [Lost(1, 1), 2, Lost(3, 1), 4]
    assert reorder.flush() == []


def test_any_shuffle_within_the_window_is_undone() -> None:
    random = Random(7)  # noqa: S311
    numbers = list(range(65_000, 67_000))
    shuffled = [numbers[0], *sorted(numbers[1:], key=lambda number: number + random.uniform(0, 60))]
    assert _push(Reorder(), *shuffled) == numbers


def test_every_packet_is_given_or_declared() -> None:
    random = Random(3)  # noqa: S311
    reorder: Reorder[int] = Reorder(50 * MS, window=64)
    events: list[int | Lost] = []
    sent = [number for number in range(60_000, 75_000) if number == 60_000 or random.random() > 0.05]
    for index, number in enumerate(sorted(sent, key=lambda number: number + random.uniform(0, 20))):
        events += reorder.push(number & 0xFFFF, number, index * MS)
    events += reorder.flush()
    position = next(event for event in events if isinstance(event, int))
    for event in events:
        if isinstance(event, Lost):
            assert event.first == position & 0xFFFF
            position += event.count
        else:
            assert event == position
            position += 1
