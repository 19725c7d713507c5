"""Each fault, really encoded, through recorder, feed, decoder and table: seen within five seconds, and seen to end."""

from __future__ import annotations

from pathlib import Path

import pytest

from recorder.watching.kinds import Kind
from tests.recorder_media.payloads import IDR, PPS, SLICE, SPS, stap
from tests.watch.film import BEGIN, END, SECOND, SECONDS, UTC_AHEAD, WHILE, make_film, room, rtp_of, sent

WITHIN = 5.0

STILL = f",loop=loop={round((END - BEGIN) * 30)}:size=1:start={round(BEGIN * 30)},setpts=N/30/TB,trim=end={SECONDS}"

FAULTS = {
    "black": (Kind.BLACK, {"video": f",drawbox=c=black:t=fill:{WHILE}"}),
    "black_behind_a_lens_cap": (Kind.BLACK, {"video": f",lutyuv=y='16+(val-16)*0.02':u=128:v=128:{WHILE}"}),
    "low_light": (Kind.LOW_LIGHT, {"video": f",lutyuv=y='16+(val-16)*0.15':{WHILE}"}),
    "frozen": (Kind.FROZEN, {"video": STILL}),
    "frozen_key_frames_each_2_s": (Kind.FROZEN, {"video": STILL, "key_every": 60}),
    "frozen_key_frames_each_8_s": (Kind.FROZEN, {"video": STILL, "key_every": 240}),
    "black_key_frames_each_8_s": (Kind.BLACK, {"video": f",drawbox=c=black:t=fill:{WHILE}", "key_every": 240}),
    "five_pictures_a_second": (
        Kind.WRONG_FRAME_RATE,
        {"video": f",select='lt(t,{BEGIN})+gte(t,{END})+not(mod(n,6))'"},
    ),
    "digital_silence": (Kind.SILENCE, {"audio": f",volume=0:{WHILE}"}),
    "clipped": (Kind.CLIPPED, {"audio": f",volume=40:{WHILE}"}),
}


@pytest.mark.parametrize("fault", FAULTS)
async def test_a_fault_is_seen_within_five_seconds_and_so_is_its_end(fault: str, tmp_path: Path) -> None:
    kind, change = FAULTS[fault]
    film = rtp_of(make_film(tmp_path / "film.mp4", **change))  # type: ignore[arg-type]
    async with room(tmp_path) as watched:
        await watched.play(film)
        (began, at, first), (ended, until, last) = watched.told(kind)[:2]
        assert (began, ended) == ("began", "ended")
        assert BEGIN < at <= BEGIN + WITHIN
        assert END <= until <= END + WITHIN
        assert BEGIN - 0.5 <= watched.seconds_of(first["from"]) <= at
        assert last["from"] == first["from"]
        assert END - 0.5 <= watched.seconds_of(last["to"]) <= until
        assert watched.kinds() == {kind}, "nothing else is said of it"
        assert watched.cameras.feed.door.unwatched == 0


async def test_a_room_where_somebody_moves_and_speaks_raises_nothing(tmp_path: Path) -> None:
    async with room(tmp_path) as watched:
        await watched.play(rtp_of(make_film(tmp_path / "film.mp4")), clock_off_s=0.05)
        assert watched.kinds() == set()


async def test_a_camera_that_stops_is_lost_until_it_comes_back(tmp_path: Path) -> None:
    film = rtp_of(make_film(tmp_path / "film.mp4"))
    begins = [each for each in film if each.at_ns < 3 * 10**9]
    async with room(tmp_path) as watched:
        await watched.play(begins)
        assert watched.kinds() == set()
        await watched.wait(WITHIN)
        assert watched.kinds() == {Kind.CAMERA_LOST, Kind.AUDIO_LOST}
        await watched.play(begins)
        assert [act for act, _, _ in watched.told(Kind.CAMERA_LOST)] == ["began", "ended"]


async def test_a_microphone_that_never_speaks_is_lost(tmp_path: Path) -> None:
    film = rtp_of(make_film(tmp_path / "film.mp4"))
    async with room(tmp_path) as watched:
        await watched.play([each for each in film if each.at_ns < 6 * 10**9], sound=False)
        ((_, at, _),) = watched.told(Kind.AUDIO_LOST)
        assert at <= WITHIN


@pytest.mark.parametrize(("off", "seen"), [(2.0, True), (-0.7, True), (0.3, False)])
async def test_a_cameras_clock_against_ours(off: float, seen: bool, tmp_path: Path) -> None:
    film = [each for each in rtp_of(make_film(tmp_path / "film.mp4")) if each.at_ns < 4 * 10**9]
    async with room(tmp_path) as watched:
        await watched.play(film, clock_off_s=off)
        told = watched.told(Kind.CLOCK_OFF)
        assert bool(told) is seen
        if seen:
            assert told[0][1] <= WITHIN
            assert told[0][2]["measure"] == pytest.approx(off * 1000, abs=2)


@pytest.mark.parametrize("seconds", [6, 60])
async def test_a_watch_that_gets_no_processor_takes_nobody_for_lost(seconds: int, tmp_path: Path) -> None:
    """It runs only when nobody else wants to: what waits for it, or was dropped meanwhile, was there all the same."""
    async with room(tmp_path) as watched:
        connection, number = watched.connect(), 0
        await watched.pass_on()
        for picture in range(30 * seconds):
            watched.now_ns += SECOND // 30
            for payload in (stap(SPS, PPS), IDR) if picture % 30 == 0 else (SLICE,):
                marker = payload in (IDR, SLICE)
                packet = sent(number, picture * 3000, marker, payload)
                watched.cameras.rtp(connection, "video", [packet], False, watched.now_ns)
                number += 1
            watched.cameras.tracks["wide-video"].cut(watched.now_ns)
        watched.link.tick(watched.now_ns, watched.now_ns + UTC_AHEAD)
        for _ in range(100):
            await watched.pass_on()
        assert watched.told("camera-lost") == []
        await watched.wait(3.5)
        assert [act for act, _, _ in watched.told("camera-lost")] == ["began"], "and when it is lost, it is told"
