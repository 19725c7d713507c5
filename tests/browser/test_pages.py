"""The pages in a real Chromium: accessibility, the keyboard and the recording lamp."""

from __future__ import annotations

from playwright.sync_api import Page, expect

from api.services import Alarm, Lamp
from evidence_store.people import Role
from tests.api.fake_people import CASE, NOON
from tests.browser.conftest import House, Recorded
from tests.browser.looking import WIDTHS, accessible, needs_pages, no_sideways_scroll, quiet

pytestmark = needs_pages


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
