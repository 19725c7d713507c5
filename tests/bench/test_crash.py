"""What a kill cost, from what was received and what was durable."""

from __future__ import annotations

import pytest

from tests.bench.crash import Kill, lost_before
from tests.bench.sealed import SECOND, Account

MS = SECOND // 1000


@pytest.mark.parametrize(
    ("durable", "lost"),
    [
        ({"wide-video": 9_800, "wide-audio": 9_900}, 0.2),
        ({"wide-video": 10_010, "wide-audio": 10_000}, 0.0),
        ({"wide-video": 9_800}, 3.0),
        ({}, 3.0),
    ],
    ids=["worst track", "all of it", "a track with nothing", "nothing at all"],
)
def test_lost_is_from_the_end_of_what_is_durable_or_from_the_first_packet(durable: dict[str, int], lost: float) -> None:
    account = Account(spans={(4, track): (7_000 * MS, end * MS) for track, end in durable.items()})
    account.spans[3, "wide-audio"] = (0, 10_000 * MS)
    kill = Kill(4, {"wide": (7_000 * MS, 10_000 * MS)}, back=1.0)
    assert lost_before(kill, account) == pytest.approx(lost)


def test_a_camera_that_was_not_there_has_lost_nothing() -> None:
    assert lost_before(Kill(4, {}, back=1.0), Account()) == 0.0
