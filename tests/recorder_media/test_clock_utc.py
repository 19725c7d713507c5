"""The UTC of any media time, from the journal's events alone, against the time at which each unit was really made."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from evidence_store.canonical import Record
from evidence_store.media_time import MediaClock
from evidence_store.sealing.journal import TrackEntry
from recorder.clock import SECOND_NS
from recorder.ticker import track_event

from .senders import MS, T0, UNIX_NS
from .test_clock_three_hours import laid
from .two_clocks import HOUR_NS, Camera, picture, sound

ENTRIES = (
    TrackEntry(0, "wide-video", "wide", "video", 90_000),
    TrackEntry(1, "wide-audio", "wide", "audio", 48_000),
)


def journal_of(camera: Camera, length_ns: int, utc_at: Callable[[int], int]) -> MediaClock:
    """As the ticks tell it; `utc_at(true_ns)` is the recorder's own wall clock."""
    clock = MediaClock()
    events: list[Record] = [{"type": "origin", "monotonic": str(T0), "utc": str(utc_at(0))}]
    for entry, medium in zip(ENTRIES, camera.media, strict=True):
        events += [track_event(entry, event, UNIX_NS) for event in medium.events]
    for true_ns in range(SECOND_NS // 4, length_ns, SECOND_NS // 4):
        clock.tell({"events": events, "monotonic": str(T0 + true_ns), "utc": str(utc_at(true_ns))})
        events = []
    return clock


@pytest.mark.parametrize("ppm", [200, -200])
def test_utc_of_every_unit_of_three_hours(ppm: int) -> None:
    """The recorder's own clock is set 800 ms back after two hours: what is shown then is what it showed then."""
    length_ns, step_at = 3 * HOUR_NS, 2 * HOUR_NS

    def utc_at(true_ns: int) -> int:
        return UNIX_NS + true_ns - (800 * MS if true_ns >= step_at else 0)

    camera = Camera([picture(ppm), sound(-ppm)], wall_ppm=0, seed=21)
    camera.run(length_ns)
    clock = journal_of(camera, length_ns, utc_at)
    for entry, medium in zip(ENTRIES, camera.media, strict=True):
        for (true_ns, _), lies_ns in zip(medium.sent, laid(medium), strict=True):
            moment = clock.at(entry.index, lies_ns * entry.timescale // SECOND_NS, entry.timescale)
            assert moment is not None
            error = abs(moment.utc_ns - utc_at(true_ns))
            assert error <= (50 * MS if abs(true_ns - step_at) > SECOND_NS else 850 * MS)
            if moment.sender_utc_ns is None:
                assert true_ns < 120 * SECOND_NS, "of a mapping from before its first report"
            else:
                assert abs(moment.sender_utc_ns - UNIX_NS - true_ns) <= 50 * MS


def test_what_it_does_not_know_it_does_not_say() -> None:
    clock = MediaClock()
    assert clock.at(0, 90_000, 90_000) is None
    clock.tell({"events": [{"type": "origin", "monotonic": "x", "utc": None}], "monotonic": "1", "utc": "2"})
    assert clock.at(0, 90_000, 90_000) is None
    clock.tell({"events": [{"type": "origin", "monotonic": "1000", "utc": "5000"}], "monotonic": "1000", "utc": "5000"})
    moment = clock.at(0, 90_000, 90_000)
    assert moment is not None
    assert (moment.utc_ns, moment.uncertainty_ns, moment.sender_utc_ns) == (5000 + SECOND_NS, 10 * MS, None)


def test_a_step_of_the_recorders_clock_widens_what_lies_in_its_tick() -> None:
    clock = MediaClock()
    clock.tell({"events": [{"type": "origin", "monotonic": "0", "utc": "0"}], "monotonic": "0", "utc": "0"})
    for tick in range(1, 20):
        at = tick * SECOND_NS // 4
        clock.tell({"events": [], "monotonic": str(at), "utc": str(at + (SECOND_NS if tick >= 10 else 0))})
    before, within, after = (clock.at(0, media, 1000) for media in (1000, 2400, 3000))
    assert before is not None
    assert within is not None
    assert after is not None
    assert (before.utc_ns, before.uncertainty_ns) == (SECOND_NS, 10 * MS)
    assert within.uncertainty_ns == SECOND_NS + 10 * MS
    assert (after.utc_ns, after.uncertainty_ns) == (4 * SECOND_NS, 10 * MS)
