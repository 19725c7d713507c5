"""The pages in a real Chromium: accessibility, the keyboard, the recording lamp, and the player."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from api.services import Alarm, Gap, Lamp, MediaInit
from evidence_store.people import Role
from tests.api.fake_people import CASE, NOON
from tests.browser.conftest import House, Recorded
from tests.browser.serving import CHROMIUM

ROOT = Path(__file__).parents[2]
AXE = ROOT / "node_modules" / "axe-core" / "axe.min.js"
VENDOR = ROOT / "api" / "web" / "static" / "vendor" / ".lock-sha256"

pytestmark = pytest.mark.skipif(
    not (CHROMIUM.exists() and AXE.exists() and VENDOR.exists()), reason="needs Chromium and scripts/assets"
)

VIDEOS = "[...document.querySelectorAll('video')]"
EXPECTED_REFUSALS = ("409", "422")


def accessible(page: Page) -> None:
    """WCAG 2.1 A and AA as far as axe-core can tell."""
    # Through the debugger: the page's own policy lets no such script in.
    page.evaluate(AXE.read_text())
    found = page.evaluate("axe.run({runOnly: ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', 'best-practice']})")
    assert [(each["id"], [node["html"] for node in each["nodes"]]) for each in found["violations"]] == []


def no_sideways_scroll(page: Page) -> None:
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")


def quiet(house: House) -> None:
    assert [said for said in house.complaints if not any(code in said for code in EXPECTED_REFUSALS)] == []


WIDTHS = (1920, 820, 1280, 320)


def test_every_page_is_accessible_and_fits(house: House, recorded: Recorded) -> None:
    interview = recorded()
    planned = house.planned(2)
    visits: dict[Role | None, list[str]] = {
        None: ["/log-ind", "/nowhere"],
        Role.OPERATOR: ["/afhoering", f"/afhoering/{planned}", f"/afhoering/{interview}/kvittering", "/sager"],
        Role.HOUSE_STAFF: ["/monitorrum"],
        Role.PROSECUTOR: [
            "/sager",
            f"/sager/{interview}",
            f"/sager/{interview}/beviskaede",
            f"/sager/{interview}/kopi",
            f"/sager/{interview}/sletning",
        ],
        Role.ADMINISTRATOR: ["/system"],
    }
    for role, paths in visits.items():
        page = house.page(role)
        for path in paths:
            page.goto(house.url + path)
            for width in WIDTHS:
                page.set_viewport_size({"width": width, "height": 900})
                no_sideways_scroll(page)
                if width <= 1280:
                    accessible(page)
        page.context.close()


def test_every_lamp_is_accessible(house: House) -> None:
    interview = house.planned()
    page = house.page(Role.OPERATOR)
    for lamp in Lamp:
        house.made.room.lamp = lamp
        house.made.room.alarms = (Alarm("camera-lost", NOON, "Nær"),) if lamp is Lamp.ALARM else ()
        page.goto(f"{house.url}/afhoering/{interview}")
        expect(page.locator(f".lamp--{lamp}")).to_be_visible()
        accessible(page)


def test_a_recording_by_keyboard_alone(house: House) -> None:
    page = house.page(Role.OPERATOR)
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.className") == "skipnav"
    page.keyboard.press("Enter")
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.id") == "case_number"
    page.keyboard.type("010170-1234")
    page.keyboard.press("Enter")
    expect(page.locator(".error-summary")).to_be_focused()
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    expect(page.locator("#case_number")).to_be_focused()
    page.keyboard.type(CASE)
    page.keyboard.press("Enter")
    page.wait_for_selector("#start-button")
    walk_to(page, "start-button")
    page.keyboard.press("Enter")
    page.wait_for_selector("#stop-button")
    walk_to(page, "stop-button")
    page.wait_for_timeout(2500)
    assert page.evaluate("document.activeElement.id") == "stop-button", "polling must not take the focus"
    page.keyboard.press("Enter")
    expect(page.locator("#stop-dialog [data-close-dialog]")).to_be_focused()
    page.keyboard.press("Escape")
    expect(page.locator("#stop-button")).to_be_focused()
    assert house.made.room.interview is not None
    page.keyboard.press("Enter")
    page.keyboard.press("Shift+Tab")
    page.keyboard.press("Enter")
    page.wait_for_url("**/kvittering")
    assert house.made.room.interview is None
    quiet(house)


def walk_to(page: Page, wanted: str) -> None:
    for _ in range(20):
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement.id") == wanted:
            outline = page.evaluate("getComputedStyle(document.activeElement).outlineStyle")
            assert outline != "none", "the focus must be seen"
            return
    raise AssertionError(f"Tab never came to {wanted}")


def test_the_lamp_follows_the_room_and_says_when_it_is_not_known(house: House) -> None:
    interview = house.planned()
    page = house.page(Role.OPERATOR)
    page.goto(f"{house.url}/afhoering/{interview}")
    page.click("#start-button")
    lamp = page.locator(".lamp")
    expect(lamp).to_contain_text("Optager")
    house.made.room.lamp = Lamp.NOT_DURABLE
    expect(lamp).to_contain_text("Optagelsen er ikke sikret")
    house.made.room.reachable = False
    expect(lamp).to_contain_text("Tilstanden er ukendt")
    house.made.room.reachable, house.made.room.lamp = True, Lamp.RECORDING
    expect(lamp).to_contain_text("Billede og lyd er forseglet")
    page.route("**/rum/**", lambda route: route.abort())
    expect(page.locator("[data-stale]")).to_contain_text("Siden får ikke svar", timeout=10_000)
    page.unroute("**/rum/**")
    expect(page.locator("[data-stale]")).to_be_empty(timeout=10_000)


def test_signed_out_elsewhere_the_page_goes_to_sign_in(house: House) -> None:
    page = house.page(Role.HOUSE_STAFF)
    house.made.accounts.sessions.clear()
    page.wait_for_url("**/log-ind")


def until(page: Page, condition: str, seconds: float = 10) -> None:
    """Asks through the debugger: a waiting function in the page would need what its policy forbids."""
    for _ in range(int(seconds * 20)):
        if page.evaluate(condition):
            return
        page.wait_for_timeout(50)
    raise AssertionError(f"never came true: {condition}")


def open_player(house: House, interview: str) -> Page:
    page = house.page(Role.PROSECUTOR)
    page.goto(f"{house.url}/sager/{interview}")
    page.fill("#purpose", "Vurdering af tiltalespørgsmålet")
    page.get_by_role("button", name="Åbn gennemsyn").click()
    until(page, "document.querySelectorAll('video').length == 2")
    until(page, f"{VIDEOS}.every(v => v.readyState >= 2)")
    return page


def times(page: Page) -> list[float]:
    found: list[float] = page.evaluate(f"{VIDEOS}.map(v => v.currentTime)")
    return found


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
    wide, close = times(page)
    assert abs(wide - close) < 0.2
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
    assert page.evaluate(f"{VIDEOS}.map(v => v.hasAttribute('data-still'))") == [True, False]
    expect(page.locator("[data-notice]")).to_contain_text("Hul i optagelsen (")
    expect(page.locator("[data-notice]")).to_contain_text("): 2 sekunder")
    until(page, f"{VIDEOS}.every(v => v.currentTime > 4.8 && v.readyState >= 3)")
    wide, close = times(page)
    assert abs(wide - close) < 0.2
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
    expect(page.locator("[data-notice]")).to_have_text("Hul i optagelsen: 6 sekunder")
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


def test_a_picture_that_the_browser_cannot_decode_is_said_and_passed_over(house: House, recorded: Recorded) -> None:
    house.media.takes = (replace(house.media.takes[0], gaps=()),)
    house.media.undecodable = {1}
    page = open_player(house, recorded())
    page.keyboard.press("k")
    problem = page.locator("[data-problem]")
    expect(problem).to_contain_text("Browseren kunne ikke vise billedet fra")
    expect(problem).to_contain_text("Afspilningen fortsatte ved 0:00:04. Optagelsen er uændret.")
    until(page, f"{VIDEOS}.every(v => v.currentTime > 5.5 && v.readyState >= 2 && !v.paused)")
    wide, close = times(page)
    assert abs(wide - close) < 0.2
    assert page.evaluate(f"{VIDEOS}.map(v => v.error)") == [None, None]
    accessible(page)
    quiet(house)


def test_what_cannot_be_decoded_at_all_stops_and_says_so(house: House, recorded: Recorded) -> None:
    house.media.takes = (replace(house.media.takes[0], gaps=()),)
    house.media.undecodable = set(range(1, 8))
    page = open_player(house, recorded())
    page.keyboard.press("k")
    expect(page.locator("[data-problem]")).to_contain_text("Afspilningen er standset. Optagelsen er uændret.")
    expect(page.locator("[data-play-text]")).to_have_text("Afspil")
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
