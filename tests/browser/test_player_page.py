"""The player in a real Chromium: together, from the right segment, and over gaps and what cannot be decoded."""

from __future__ import annotations

from dataclasses import replace

import pytest
from playwright.sync_api import Page, expect

from api.services import Gap, MediaInit
from evidence_store.people import Role
from tests.browser.conftest import House, Recorded
from tests.browser.looking import accessible, needs_pages, quiet, until

pytestmark = needs_pages

VIDEOS = "[...document.querySelectorAll('video')]"


def open_player(house: House, interview: str, ready: int | None = None, of: int = 2) -> Page:
    """Where so many of the pictures have something to show at the beginning; None: all."""
    page = house.page(Role.PROSECUTOR)
    page.goto(f"{house.url}/sager/{interview}")
    page.fill("#purpose", "Vurdering af tiltalespørgsmålet")
    page.get_by_role("button", name="Åbn gennemsyn").click()
    until(page, f"{VIDEOS}.length == {of}")
    until(page, f"{VIDEOS}.filter(v => v.readyState >= 2).length == {of if ready is None else ready}")
    return page


def times(page: Page) -> list[float]:
    found: list[float] = page.evaluate(f"{VIDEOS}.map(v => v.currentTime)")
    return found


def together(page: Page) -> None:
    """One that has just joined catches up by its speed."""
    until(page, f"Math.abs({VIDEOS}[0].currentTime - {VIDEOS}[1].currentTime) < 0.2")


def test_player_plays_two_pictures_together_and_only_when_asked(house: House, recorded: Recorded) -> None:
    page = open_player(house, recorded())
    accessible(page)
    page.wait_for_timeout(700)
    assert times(page) == [0, 0]
    expect(page.locator("video").first).not_to_be_visible()
    page.keyboard.press("k")
    until(page, f"{VIDEOS}[0].currentTime > 1.5")
    expect(page.locator("video").first).to_be_visible()
    first, second = times(page)
    assert abs(first - second) < 0.2
    decoded = page.evaluate(f"{VIDEOS}.map(v => v.getVideoPlaybackQuality().totalVideoFrames)")
    assert min(decoded) > 15
    assert page.evaluate(f"{VIDEOS}.map(v => v.muted)") == [False, True]
    page.keyboard.press("k")
    expect(page.locator("[data-play-text]")).to_have_text("Afspil")
    stopped = times(page)
    page.wait_for_timeout(500)
    assert times(page) == stopped
    quiet(house)


def test_seeking_begins_at_the_segment_with_the_last_key_frame(house: House, recorded: Recorded) -> None:
    page = open_player(house, recorded())
    while True:  # until what a player begins with is there, however busy the machine is
        house.media.asked.clear()
        page.wait_for_timeout(1000)
        if not house.media.asked and page.evaluate(f"{VIDEOS}.every(v => v.readyState >= 2)"):
            break
    # 15 s lies in segment 7, which holds no key frame: its pictures build on the one at 12 s, in segment 6.
    page.locator("[data-seek]").evaluate("(range) => { range.value = 15; range.dispatchEvent(new Event('input')); }")
    until(page, f"{VIDEOS}.every(v => !v.seeking && v.readyState >= 2)")
    asked = dict.fromkeys(number for track, number in house.media.asked if track == "wide-video")
    assert list(asked)[:2] == [6, 7]
    assert all(abs(each - 15) < 0.1 for each in times(page))
    page.locator("[data-seek]").blur()
    page.keyboard.press("j")
    until(page, f"{VIDEOS}.every(v => !v.seeking && v.readyState >= 2)")
    assert all(abs(each - 5) < 0.1 for each in times(page))
    quiet(house)


@pytest.mark.parametrize("late", ["wide", "close"])
def test_a_camera_that_began_later_joins_the_other(late: str, house: House, recorded: Recorded) -> None:
    whole = house.media.takes[0]
    tracks = (replace(each, segments=each.segments[2:]) if each.camera == late else each for each in whole.tracks)
    house.media.takes = (replace(whole, tracks=tuple(tracks), gaps=()),)
    interview = recorded()
    page = house.page(Role.PROSECUTOR)
    page.goto(f"{house.url}/sager/{interview}")
    page.fill("#purpose", "Vurdering af tiltalespørgsmålet")
    page.get_by_role("button", name="Åbn gennemsyn").click()
    first = 1 if late == "wide" else 0
    until(page, f"{VIDEOS}.length == 2 && {VIDEOS}[{first}].readyState >= 2")
    assert times(page)[first] == 0
    page.keyboard.press("k")
    until(page, f"{VIDEOS}.every(v => v.currentTime > 4.8 && v.readyState >= 2)")
    together(page)
    quiet(house)


def test_where_a_camera_has_a_gap_the_other_goes_on_and_is_heard(house: House, recorded: Recorded) -> None:
    whole = house.media.takes[0]
    cut = (
        replace(each, segments=each.segments[:1] + each.segments[2:]) if each.camera == "wide" else each
        for each in whole.tracks
    )
    gaps = tuple(Gap(2.0, 2.0, "reconnect", f"wide-{kind}") for kind in ("video", "audio"))
    house.media.takes = (replace(whole, tracks=tuple(cut), gaps=gaps),)
    page = open_player(house, recorded())
    muted = f"{VIDEOS}.map(v => v.muted)"
    assert page.evaluate(muted) == [False, True]
    page.keyboard.press("k")
    until(page, f"{VIDEOS}[1].currentTime > 2.6 && {VIDEOS}[1].currentTime < 3.6 && {VIDEOS}[1].readyState >= 3")
    assert page.evaluate(muted) == [True, False]
    assert page.evaluate(f"{VIDEOS}[1].playbackRate") == 1
    assert page.evaluate(f"{VIDEOS}.map(v => v.hasAttribute('data-still'))") == [True, False]
    expect(page.locator("[data-notice]")).to_contain_text("Hul i optagelsen (")
    expect(page.locator("[data-notice]")).to_contain_text("): 2 sekunder")
    until(page, f"{VIDEOS}.every(v => v.currentTime > 4.8 && v.readyState >= 3)")
    together(page)
    assert page.evaluate(muted) == [False, True]
    assert page.evaluate(f"{VIDEOS}.map(v => v.hasAttribute('data-still'))") == [False, False]
    expect(page.locator("[data-notice]")).to_be_empty()
    quiet(house)


def test_where_all_have_a_gap_it_is_said_and_skipped(house: House, recorded: Recorded) -> None:
    whole = house.media.takes[0]
    cut = (replace(each, segments=each.segments[:1] + each.segments[4:]) for each in whole.tracks)
    house.media.takes = (replace(whole, tracks=tuple(cut), gaps=(Gap(2.0, 6.0, "spool-full", None),)),)
    page = open_player(house, recorded())
    page.keyboard.press("k")
    expect(page.locator("[data-notice]")).to_contain_text("sekunder sprunget over")
    until(page, f"{VIDEOS}.every(v => v.currentTime > 8.5 && v.readyState >= 3)", seconds=6)
    quiet(house)


def test_a_format_that_the_browser_lacks_is_said_at_once_and_the_rest_plays(house: House, recorded: Recorded) -> None:
    whole = house.media.takes[0]
    beyond = (MediaInit(0, "hev1.1.6.L120.B0"),)
    tracks = tuple(replace(each, inits=beyond) if each.id == "wide-video" else each for each in whole.tracks)
    house.media.takes = (replace(whole, tracks=tracks, gaps=()),)
    page = open_player(house, recorded())
    problem = page.locator("[data-problem]")
    expect(problem).to_contain_text("Denne browser kan ikke afspille H.265 (wide-video)")
    expect(problem).to_contain_text("Tag en kopi af afhøringen ud")
    accessible(page)
    page.keyboard.press("k")
    until(page, f"{VIDEOS}.every(v => v.currentTime > 1)")
    assert page.evaluate(f"{VIDEOS}.map(v => v.videoWidth)") == [0, 640]
    quiet(house)


def test_a_picture_that_the_browser_cannot_decode_is_said_and_the_rest_goes_on(
    house: House, recorded: Recorded
) -> None:
    house.media.takes = (replace(house.media.takes[0], gaps=()),)
    house.media.undecodable = {"wide": {1}}
    page = open_player(house, recorded())
    page.keyboard.press("k")
    problem = page.locator("[data-problem]")
    expect(problem).to_contain_text("Browseren kunne ikke vise billedet fra")
    expect(problem).to_contain_text("Det er med igen fra 0:00:04. Optagelsen er uændret.")
    until(page, f"{VIDEOS}[1].currentTime > 2.8 && {VIDEOS}[1].currentTime < 3.9 && {VIDEOS}[1].readyState >= 3")
    assert page.evaluate(f"{VIDEOS}.map(v => v.muted)") == [True, False], "who can be heard is"
    until(page, f"{VIDEOS}.every(v => v.currentTime > 5.5 && v.readyState >= 2 && !v.paused)")
    together(page)
    assert page.evaluate(f"{VIDEOS}.map(v => v.error)") == [None, None]
    accessible(page)
    quiet(house)


def test_what_no_browser_can_decode_is_passed_over_together(house: House, recorded: Recorded) -> None:
    house.media.takes = (replace(house.media.takes[0], gaps=()),)
    house.media.undecodable = {"wide": {1}, "close": {1}}
    page = open_player(house, recorded())
    page.keyboard.press("k")
    expect(page.locator("[data-problem]")).to_contain_text("0:00:04. Optagelsen er uændret.")
    until(page, f"{VIDEOS}.every(v => v.currentTime > 5 && v.readyState >= 2 && !v.paused)")
    together(page)
    quiet(house)


def test_a_camera_that_cannot_be_decoded_at_all_does_not_take_the_other_with_it(
    house: House, recorded: Recorded
) -> None:
    house.media.takes = (replace(house.media.takes[0], gaps=()),)
    house.media.undecodable = {"wide": set(range(1, 8))}
    page = open_player(house, recorded())
    page.keyboard.press("k")
    expect(page.locator("[data-problem]")).to_contain_text("Resten går videre uden det. Optagelsen er uændret.")
    until(page, f"{VIDEOS}[1].currentTime > 5 && {VIDEOS}[1].readyState >= 3")
    # Asked for again, and this time it can be decoded.
    house.media.undecodable = {}
    page.keyboard.press("Home")
    until(page, f"{VIDEOS}.every(v => v.currentTime > 2.5 && v.currentTime < 9 && v.readyState >= 3 && !v.error)")
    quiet(house)


def test_one_camera_alone_that_gave_up_begins_again_where_it_is_asked_to(house: House, recorded: Recorded) -> None:
    whole = house.media.takes[0]
    tracks = tuple(each for each in whole.tracks if each.camera == "wide")
    house.media.takes = (replace(whole, tracks=tracks, gaps=()),)
    house.media.undecodable = {"wide": {6, 7}}
    page = open_player(house, recorded(), of=1)
    page.keyboard.press("l")
    page.keyboard.press("k")
    problem = page.locator("[data-problem]")
    expect(problem).to_contain_text("Afspilningen er standset.")
    expect(page.locator("[data-play-text]")).to_have_text("Afspil")
    page.keyboard.press("Home")
    expect(problem).to_be_empty()
    page.keyboard.press("k")
    until(page, f"{VIDEOS}[0].currentTime > 0.5 && {VIDEOS}[0].currentTime < 4 && {VIDEOS}[0].readyState >= 3")
    quiet(house)


def test_a_slow_answer_is_no_hole(house: House, recorded: Recorded) -> None:
    house.media.takes = (replace(house.media.takes[0], gaps=()),)
    page = open_player(house, recorded())
    page.locator("[data-seek]").evaluate("(range) => { range.value = 12.5; range.dispatchEvent(new Event('input')); }")
    until(page, f"{VIDEOS}.every(v => v.buffered.length == 2 && v.readyState >= 3)")
    house.media.slow = 1.5
    page.locator("[data-seek]").evaluate("(range) => { range.value = 8.5; range.dispatchEvent(new Event('input')); }")
    page.locator("[data-seek]").blur()
    page.keyboard.press("k")
    until(page, f"{VIDEOS}.every(v => v.currentTime > 9 && v.readyState >= 3)", seconds=15)
    assert max(times(page)) < 12
    house.media.slow = 0
    quiet(house)


def test_a_segment_that_could_not_be_had_is_asked_for_again(house: House, recorded: Recorded) -> None:
    house.media.takes = (replace(house.media.takes[0], gaps=()),)
    house.media.damaged = {3}
    page = open_player(house, recorded())
    page.keyboard.press("k")
    expect(page.locator("[data-problem]")).to_contain_text("0:00:06")
    house.media.damaged = set()
    page.keyboard.press("k")
    until(page, f"{VIDEOS}.every(v => v.currentTime > 6.5 && v.readyState >= 3)")
    expect(page.locator("[data-problem]")).to_be_empty()


def test_what_cannot_be_decoded_at_all_stops_and_says_so(house: House, recorded: Recorded) -> None:
    house.media.takes = (replace(house.media.takes[0], gaps=()),)
    house.media.undecodable = {"wide": set(range(1, 8)), "close": set(range(1, 8))}
    page = open_player(house, recorded())
    page.keyboard.press("k")
    expect(page.locator("[data-problem]")).to_contain_text("Afspilningen er standset. Optagelsen er uændret.")
    expect(page.locator("[data-play-text]")).to_have_text("Afspil")
    quiet(house)


def test_of_gaps_that_overlap_nothing_is_skipped_that_one_camera_has(house: House, recorded: Recorded) -> None:
    whole = house.media.takes[0]
    missing = {"wide": range(3, 6), "close": range(2, 4)}
    cut = (
        replace(each, segments=tuple(s for s in each.segments if s.number not in missing[each.camera]))
        for each in whole.tracks
    )
    gaps = tuple(
        Gap(2.0 * numbers[0], 2.0 * len(numbers), "reconnect", f"{camera}-{kind}")
        for camera, numbers in missing.items()
        for kind in ("video", "audio")
    )
    house.media.takes = (replace(whole, tracks=tuple(cut), gaps=gaps),)
    page = open_player(house, recorded())
    page.keyboard.press("ArrowRight")
    page.keyboard.press("k")
    until(page, f"{VIDEOS}[0].currentTime > 5.2 && {VIDEOS}[0].readyState >= 3")
    until(page, f"{VIDEOS}[1].currentTime > 8 && {VIDEOS}[1].currentTime < 9 && {VIDEOS}[1].readyState >= 3", seconds=3)
    until(page, f"{VIDEOS}.every(v => v.currentTime > 12.5 && v.readyState >= 3)")
    # The one that leads now began as early as the other.
    page.keyboard.press("Home")
    until(page, f"{VIDEOS}.every(v => v.currentTime > 0.5 && v.currentTime < 4 && v.readyState >= 3)")
    quiet(house)


def test_from_the_other_cameras_lead_one_comes_back_to_what_the_first_alone_has(
    house: House, recorded: Recorded
) -> None:
    whole = house.media.takes[0]
    kept = {"wide": (0, 1, 4, 5, 6, 7), "close": (2, 3, 4, 5, 6, 7)}
    cut = (
        replace(each, segments=tuple(s for s in each.segments if s.number in kept[each.camera]))
        for each in whole.tracks
    )
    gaps = tuple(Gap(4.0, 4.0, "reconnect", f"wide-{kind}") for kind in ("video", "audio"))
    house.media.takes = (replace(whole, tracks=tuple(cut), gaps=gaps),)
    page = open_player(house, recorded(), ready=1)
    page.keyboard.press("ArrowRight")
    page.keyboard.press("k")
    until(page, f"{VIDEOS}[1].currentTime > 5.5 && {VIDEOS}[1].readyState >= 3")
    page.keyboard.press("Home")
    until(page, f"{VIDEOS}[0].currentTime > 0.5 && {VIDEOS}[0].currentTime < 3 && {VIDEOS}[0].readyState >= 3")
    until(page, f"{VIDEOS}[1].currentTime > 4.5 && {VIDEOS}[1].readyState >= 3")
    quiet(house)


def test_a_picture_that_stands_for_want_of_packets_is_said(house: House, recorded: Recorded) -> None:
    whole = house.media.takes[0]
    unshown = ((6 * 90_000, 8 * 90_000),)
    tracks = tuple(replace(each, unshown=unshown) if each.id == "wide-video" else each for each in whole.tracks)
    house.media.takes = (replace(whole, tracks=tracks),)
    page = open_player(house, recorded())
    marks = page.locator("[data-gaps] .player__gap")
    assert [marks.nth(at).get_attribute("width") for at in range(marks.count())] == ["25", "125"]
    notice = page.locator("[data-notice]")
    expect(notice).to_be_empty()
    page.keyboard.press("l")  # to 10 s
    page.keyboard.press("ArrowLeft")  # to 5 s
    page.keyboard.press("k")
    expect(notice).to_contain_text("Billedet står stille (")
    expect(notice).to_contain_text("noget af det nåede aldrig frem")
    accessible(page)
    until(page, f"{VIDEOS}[0].currentTime > 8.3")
    expect(notice).to_be_empty()
    quiet(house)


def test_player_stops_at_a_segment_that_fails_its_check(house: House, recorded: Recorded) -> None:
    house.media.damaged = {3}
    page = open_player(house, recorded())
    page.keyboard.press("k")
    problem = page.locator("[data-problem]")
    expect(problem).to_contain_text("Kontrollen af beviset fejlede")
    expect(problem).to_contain_text("0:00:06")
