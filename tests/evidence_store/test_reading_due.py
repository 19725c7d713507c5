"""When the next portion of all that is stored is read: pure, with time as an argument."""

from __future__ import annotations

import pytest

from evidence_store.database.schema import ScrubRow
from evidence_store.scrub import reading_due

HOUR, DAY = 3600 * 10**9, 86_400 * 10**9


def reading(octets: int, ended: int | None = None) -> ScrubRow:
    return ScrubRow(number=1, began_at=0, ended_at=ended, reached="", octets=octets)


@pytest.mark.parametrize(
    ("row", "now", "last", "due"),
    [
        (None, 0, None, True),
        (reading(0), 0, 0, True),
        (reading(500), 15 * DAY - 1, 15 * DAY - 2, False),
        (reading(500), 15 * DAY, 15 * DAY - 2, True),
        (reading(1000), DAY, None, True),
        (reading(1000), DAY, DAY - HOUR + 1, False),
        (reading(1000), DAY, DAY - HOUR, True),
        (reading(1000, ended=DAY), 30 * DAY - 1, None, False),
        (reading(1000, ended=DAY), 30 * DAY, None, True),
    ],
)
def test_everything_is_read_evenly_within_each_period(
    row: ScrubRow | None, now: int, last: int | None, due: bool
) -> None:
    assert reading_due(row, 1000, now, last, 30 * DAY) is due
