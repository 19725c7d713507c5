from __future__ import annotations

from itertools import pairwise

import pytest

from recorder.clock import SECOND_NS, Placed, SenderClock, StreamClock, WindowMinimum, ntp_to_unix_ns

MS = SECOND_NS // 1000
RATE = 90_000
UNIX_NS = 1_795_312_801 * SECOND_NS


def _ntp(unix_ns: int) -> int:
    seconds, rest = divmod(unix_ns, SECOND_NS)
    return ((seconds + 2_208_988_800) & 0xFFFFFFFF) << 32 | (rest << 32) // SECOND_NS


@pytest.mark.parametrize(
    ("ntp", "unix_ns"),
    [
        pytest.param(2_208_988_800 << 32, 0, id="1970"),
        pytest.param(_ntp(UNIX_NS + SECOND_NS // 2), UNIX_NS + SECOND_NS // 2, id="half_a_second"),
        pytest.param(0, (2**32 - 2_208_988_800) * SECOND_NS, id="2036_first_second_of_era_1"),
    ],
)
def test_ntp(ntp: int, unix_ns: int) -> None:
    assert ntp_to_unix_ns(ntp) == unix_ns


def _stream(rate: int = RATE) -> StreamClock:
    return StreamClock(rate, SenderClock())


@pytest.mark.parametrize(
    ("times", "steps"),
    [
        pytest.param([0, 3000, 6000], [3000, 3000], id="plain"),
        pytest.param([2**32 - 3000, 0, 3000], [3000, 3000], id="forward_wrap"),
        pytest.param([9000, 3000, 6000, 18000], [-6000, 3000, 12000], id="b_frames"),
        pytest.param([3000, 2**32 - 3000, 0, 9000], [-6000, 3000, 9000], id="b_frames_around_the_wrap"),
        pytest.param([3000, 3000], [0], id="same_time_twice"),
    ],
)
def test_unwraps_relative_to_the_one_before(times: list[int], steps: list[int]) -> None:
    clock = _stream()
    extended, jumps = zip(*(clock.observe(time, index * 33 * MS) for index, time in enumerate(times)), strict=True)
    assert [after - before for before, after in pairwise(extended)] == steps
    assert not any(jumps)


def test_27_hours_unwrap_twice() -> None:
    clock = _stream()
    first, _ = clock.observe(2**31, 0)
    last = first
    for second in range(1, 27 * 3600):
        last, jumped = clock.observe((2**31 + second * RATE) & 0xFFFFFFFF, second * SECOND_NS)
        assert not jumped
    assert last - first == (27 * 3600 - 1) * RATE


@pytest.mark.parametrize(
    ("jump", "silence_ns", "jumped"),
    [
        pytest.param(2**31 - RATE, 0, True, id="half_of_the_range"),
        pytest.param(-11 * RATE, 0, True, id="restart_at_an_earlier_time"),
        pytest.param(11 * RATE, 0, True, id="eleven_seconds_ahead"),
        pytest.param(-2 * RATE, 0, True, id="restart_two_seconds_earlier"),
        pytest.param(2 * RATE, 0, True, id="two_seconds_ahead"),
        pytest.param(-RATE // 2, 0, False, id="pictures_sent_out_of_order"),
        pytest.param(11 * RATE, 11 * SECOND_NS, False, id="eleven_seconds_of_silence"),
        pytest.param(0, 11 * SECOND_NS, True, id="time_stood_still"),
        pytest.param(0, 9 * SECOND_NS, False, id="within_what_a_network_may_hold_back"),
    ],
)
def test_tells_a_jump_from_a_wrap(jump: int, silence_ns: int, jumped: bool) -> None:
    clock = _stream()
    clock.observe(1_000_000, 0)
    clock.observe(1_003_000, 33 * MS)
    assert clock.observe((1_003_000 + jump) & 0xFFFFFFFF, 33 * MS + silence_ns)[1] is jumped


def test_small_jumps_add_up() -> None:
    clock = _stream()
    assert any(clock.observe(index * 4 * RATE, index * 33 * MS)[1] for index in range(5))


def test_what_a_network_held_back_comes_all_at_once_and_is_no_jump() -> None:
    clock = _stream()
    for index in range(300):
        sent_ns = index * 33 * MS
        held = 2 * SECOND_NS <= sent_ns < 9 * SECOND_NS
        arrival_ns = 9 * SECOND_NS + index if held else sent_ns
        assert not clock.observe(index * 2970, arrival_ns)[1]


def test_a_clock_that_stood_still_is_found_out_when_nothing_catches_up() -> None:
    clock = _stream()
    clock.observe(0, 0)
    jumps = [clock.observe(index * 2970, 5 * SECOND_NS + index * 33 * MS)[1] for index in range(1, 200)]
    assert jumps.count(True) == 1
    assert jumps.index(True) == pytest.approx(3 * 30, abs=3)


def test_200_ppm_over_twelve_hours_is_no_jump() -> None:
    clock = _stream()
    for second in range(0, 12 * 3600, 10):
        assert not clock.observe((second * RATE + second * RATE // 5000) & 0xFFFFFFFF, second * SECOND_NS)[1]
    drift = clock.delay_ns()
    assert drift is not None
    assert drift == pytest.approx(-12 * 3600 * SECOND_NS / 5000, abs=20 * MS)


def test_picture_and_sound_of_one_sender_are_placed_by_one_offset() -> None:
    sender = SenderClock()
    picture, sound = StreamClock(90_000, sender), StreamClock(48_000, sender)
    for second in range(20):
        at = second * SECOND_NS
        # Pictures take 180 ms, sound 30 ms; reports 5 ms and up.
        picture.report(_ntp(UNIX_NS + at), (777 + second * 90_000) & 0xFFFFFFFF, at + (5 + second % 3) * MS)
        sound.report(_ntp(UNIX_NS + at), (99 + second * 48_000) & 0xFFFFFFFF, at + (6 + second % 5) * MS)
        video, _ = picture.observe(777 + second * 90_000, at + 180 * MS)
        audio, _ = sound.observe(99 + second * 48_000, at + 30 * MS)
    origin = 1234
    video_ns, _, by = picture.local_ns(video, origin)
    audio_ns, _, _ = sound.local_ns(audio, origin)
    assert by is Placed.SENDER_REPORT
    assert abs(video_ns - audio_ns) <= 20
    assert video_ns == pytest.approx(19 * SECOND_NS + 5 * MS, abs=20)


def test_a_fixed_offset_stays_for_its_take() -> None:
    sender = SenderClock()
    sender.report(100 * MS, 0)
    first = sender.fix(1)
    sender.report(SECOND_NS + 20 * MS, SECOND_NS)
    assert sender.fix(1) == first
    second = sender.fix(2)
    assert first is not None
    assert second is not None
    assert (first.offset_ns, second.offset_ns) == (100 * MS, 20 * MS)
    assert sender.estimate() == second


def test_the_shared_offset_follows_a_wall_clock_that_drifts() -> None:
    sender = SenderClock()
    for second in range(0, 3600, 5):
        sender.report(second * SECOND_NS, second * (SECOND_NS - SECOND_NS // 5000))
        followed = sender.follow(1)
        assert followed is not None
        # 200 ppm: 12 ms in the minute over which the least is taken, and 10 ms that are left alone.
        assert abs(followed.offset_ns - second * SECOND_NS // 5000) <= 23 * MS


def test_an_old_report_says_nothing_of_now() -> None:
    stream = _stream()
    stream.observe(0, 0)
    stream.report(_ntp(UNIX_NS), 0, 0)
    assert stream.told_ns(1, 29 * SECOND_NS, follow=False) is not None
    assert stream.told_ns(1, 31 * SECOND_NS, follow=False) is None


@pytest.mark.parametrize("early_ns", [3 * SECOND_NS, -3 * SECOND_NS], ids=["media_late", "media_before_it_was_made"])
def test_reports_that_media_contradicts_are_not_believed(early_ns: int) -> None:
    stream = _stream()
    stream.report(_ntp(UNIX_NS), 0, 0)
    extended, _ = stream.observe(RATE, SECOND_NS + early_ns)
    local_ns, _, by = stream.local_ns(extended, 5)
    assert by is Placed.MEDIA_ARRIVAL
    assert local_ns == SECOND_NS + early_ns


def test_without_reports_the_quickest_arrival_decides() -> None:
    stream = _stream()
    for index, late in enumerate((50, 10, 30, 40)):
        extended, _ = stream.observe(index * 9000, index * 100 * MS + late * MS)
    assert stream.local_ns(extended) == (310 * MS, 40 * MS, Placed.ARRIVAL)


def test_a_report_before_the_first_packet_counts() -> None:
    stream = _stream()
    stream.report(_ntp(UNIX_NS), 2**32 - 9000, 7 * MS)
    extended, jumped = stream.observe(0, 120 * MS)
    assert not jumped
    assert stream.utc_ns(extended) == pytest.approx(UNIX_NS + 100 * MS, abs=2)


def test_a_step_of_the_senders_wall_clock_starts_the_estimate_anew() -> None:
    sender = SenderClock()
    assert not sender.report(0, 0)
    assert not sender.report(5 * SECOND_NS + MS, 5 * SECOND_NS)
    assert sender.report(10 * SECOND_NS, 3610 * SECOND_NS)
    assert sender.offset_ns() == -3600 * SECOND_NS


def test_after_a_jump_old_reports_no_longer_hold() -> None:
    stream = _stream()
    stream.report(_ntp(UNIX_NS), 0, 0)
    stream.observe(0, 0)
    extended, jumped = stream.observe(3600 * RATE, 33 * MS)
    assert jumped
    assert stream.utc_ns(extended) is None
    assert stream.local_ns(extended, 1) == (33 * MS, 0, Placed.ARRIVAL)


def test_window_forgets() -> None:
    window = WindowMinimum(10 * SECOND_NS, 10)
    assert window.least() is None
    window.add(0, 5)
    window.add(SECOND_NS, 9)
    assert (window.least(), window.spread()) == (5, 4)
    window.add(10 * SECOND_NS, 8)
    assert window.least() == 8
    for second in range(11, 1000):
        window.add(second * SECOND_NS, second)
    assert window.least() == 990
