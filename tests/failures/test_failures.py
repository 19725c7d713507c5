"""Fifteen ways in which other recorders lost their users' recordings, and that each is held off by what we say it is.

docs/failures.md tells them; what happens in each, and what its user must have of it, is in hours.py, media.py,
network.py and disk.py.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.failures.guards import GUARDS, MODES
from tests.failures.mode import Guard, Place

PAGE = Path(__file__).parents[2] / "docs" / "failures.md"


async def held(number: int, place: Place) -> None:
    mode = MODES[number]
    mode.holds(await mode.happen(place))


async def test_01_timestamp_jump_of_2_32(place: Place) -> None:
    await held(1, place)


async def test_02_key_frame_starvation(place: Place) -> None:
    await held(2, place)


async def test_03_drift_guard_loses_media(place: Place) -> None:
    await held(3, place)


async def test_04_discontinuity_inflates_duration(place: Place) -> None:
    await held(4, place)


async def test_05_wall_clock_drift(place: Place) -> None:
    await held(5, place)


async def test_06_constant_offset_of_sound_and_picture(place: Place) -> None:
    await held(6, place)


async def test_07_resolution_changes_mid_stream(place: Place) -> None:
    await held(7, place)


async def test_08_lost_head_or_tail(place: Place) -> None:
    await held(8, place)


async def test_09_short_drop_ends_the_recording(place: Place) -> None:
    await held(9, place)


async def test_10_stale_session_blocks_or_kills_the_new_one(place: Place) -> None:
    await held(10, place)


async def test_11_disk_full(place: Place) -> None:
    await held(11, place)


async def test_12_upload_fails_and_the_local_copy_is_deleted(place: Place) -> None:
    await held(12, place)


async def test_13_power_loss_ruins_the_file(place: Place) -> None:
    await held(13, place)


async def test_14_recording_with_no_content(place: Place) -> None:
    await held(14, place)


async def test_15_corrupt_retransmissions_and_times_that_go_back(place: Place) -> None:
    await held(15, place)


@pytest.mark.parametrize(("number", "guard"), GUARDS, ids=[f"{number:02}-{guard.written}" for number, guard in GUARDS])
# A thread that dies of what nobody catches any more is what some of them come to.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
async def test_guard_is_what_holds(place: Place, monkeypatch: pytest.MonkeyPatch, number: int, guard: Guard) -> None:
    """Without it, what happens ends in something that no user may have. Else it guards nothing, or nothing tests it."""
    mode = MODES[number]
    assert getattr(guard.owner, guard.name) is not guard.instead
    monkeypatch.setattr(guard.owner, guard.name, guard.instead)
    try:
        outcome = await mode.happen(place)
    except guard.broken:
        return
    with pytest.raises(AssertionError):
        mode.holds(outcome)


ROWS = {
    int(number): cells
    for number, *cells in (
        [cell.strip() for cell in line.strip("|").split("|")]
        for line in PAGE.read_text().splitlines()
        if re.match(r"\| \d+ \|", line)
    )
}


def test_the_page_tells_all_fifteen_with_their_tests_and_guards() -> None:
    assert list(ROWS) == list(range(1, 16))
    for number, (_, _, guards, test) in ROWS.items():
        ours = [guard.written for of, guard in GUARDS if of == number]
        assert re.findall(r"`([^`]+)`", guards) == ours, f"row {number}"
        (name,) = re.findall(r"`([^`]+)`", test)
        assert name in globals(), f"row {number}"
        assert name.startswith(f"test_{number:02}_")
