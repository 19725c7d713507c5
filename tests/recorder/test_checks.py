"""What is looked at before a start, and how long the disk lasts."""

from __future__ import annotations

from recorder.checks import LOW_SPACE_BYTES, Seen, Standing, alarms_of, failing, heard_just_now, minutes_left, space_low

WELL = Seen("wide", True, True, True)


def test_all_well_is_nothing() -> None:
    assert failing([WELL], space_is_low=False, clock_set=True, delivery_trouble=None, monitored=True) == []
    assert failing([WELL], space_is_low=False, clock_set=None, delivery_trouble=None, monitored=True) == []


def test_each_check_is_named_and_a_camera_with_it() -> None:
    seen = [Seen("wide", False, False, False), Seen("near", True, False, True), Seen("mic", True, None, False), WELL]
    found = failing(seen, space_is_low=True, clock_set=False, delivery_trouble="store-out-of-reach", monitored=False)
    assert [(each["code"], each["camera"]) for each in found] == [
        ("camera-lost", "wide"), ("picture-lost", "near"), ("audio-lost", "mic"), ("spool-low", None),
        ("clock-not-set", None), ("store-out-of-reach", None), ("monitor-away", None),
    ]  # fmt: skip
    assert alarms_of(seen) == ["audio-lost", "camera-lost", "picture-lost"]


def test_a_camera_counts_as_heard_for_two_seconds() -> None:
    assert heard_just_now(1, 2_000_000_000)
    assert not heard_just_now(0, 2_000_000_000)
    assert not heard_just_now(None, 1)


def test_minutes_are_those_of_the_present_rate() -> None:
    assert minutes_left(60_000_000, 8_000_000) == 1.0
    assert minutes_left(60_000_000, 0.0) is None


def test_space_is_low_by_size_or_by_time() -> None:
    assert space_low(LOW_SPACE_BYTES - 1, None)
    assert not space_low(LOW_SPACE_BYTES, None)
    assert space_low(100 << 30, 119.0)
    assert not space_low(100 << 30, 120.0)


def test_an_alarm_stands_since_it_was_first_seen_until_it_is_over() -> None:
    standing = Standing()
    assert standing.seen(["spool-low"], 1) == {"spool-low": 1}
    assert standing.seen(["camera-lost", "spool-low"], 2) == {"camera-lost": 2, "spool-low": 1}
    assert standing.seen(["camera-lost"], 3) == {"camera-lost": 2}
    assert standing.seen(["camera-lost", "spool-low"], 4) == {"camera-lost": 2, "spool-low": 4}
