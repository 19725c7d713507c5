"""The room's own page in a real browser, the web application gone: by keyboard alone, and as axe-core sees it."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from tests.browser.house import CAMERA_FLAGS, PEERS, RealHouse, real_house
from tests.browser.looking import AXE, VENDOR, accessible, no_sideways_scroll
from tests.browser.serving import CHROMIUM, chromium

pytestmark = [
    pytest.mark.skipif(
        not (CHROMIUM.exists() and AXE.exists() and VENDOR.exists()), reason="needs Chromium and scripts/assets"
    ),
    pytest.mark.timeout(180),
]

LIVE_WITHIN = 30_000
DECODED = """async (from) => {
  let most = 0;
  for (const peer of peers.slice(from)) {
    if (peer.connectionState === "closed") continue;
    for (const report of (await peer.getStats()).values())
      if (report.type === "inbound-rtp" && report.kind === "video") most = Math.max(most, report.framesDecoded ?? 0);
  }
  return most;
}"""
"""The most pictures that a connection after the first so many has shown."""


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RealHouse]:
    """A house whose browser cameras send and whose web application is gone."""
    with (
        chromium(*CAMERA_FLAGS) as browser,
        real_house(tmp_path_factory.mktemp("alone"), browser) as house,
    ):
        for camera in house.house.settings.room_profile().cameras:
            house.camera(camera.id)
        house.cameras_send()
        while not house.room()["keys"]:
            time.sleep(0.1)
        house.do(house.house.kill("web"))
        yield house


def press_until(page: Page, selector: str, most: int = 60) -> None:
    """Tab until that element has the focus."""
    for _ in range(most):
        if page.evaluate("(selector) => document.activeElement?.matches(selector) ?? false", selector):
            return
        page.keyboard.press("Tab")
    raise AssertionError(f"{selector} cannot be reached by keyboard")


def test_from_the_code_to_the_receipt_by_keyboard_alone(alone: RealHouse) -> None:
    page = alone.context().new_page()
    page.goto(alone.house.settings.room_page_url)
    accessible(page)
    press_until(page, "#code")
    page.keyboard.type(alone.house.settings.room_code())
    page.keyboard.press("Enter")
    expect(page.locator("h1")).to_have_text("Rummets egen side")
    alone.listen(page)
    assert "code" not in page.url
    expect(page.locator("[data-state-text]")).to_have_text(["Direkte", "Direkte"], timeout=LIVE_WITHIN)
    expect(page.locator("#start-button")).to_have_text("Optag alligevel", timeout=LIVE_WITHIN)
    expect(page.get_by_role("status", name="Før start")).to_contain_text("Lageret svarer ikke")
    for width in (1920, 1280, 820, 320):
        page.set_viewport_size({"width": width, "height": 900})
        no_sideways_scroll(page)
    page.set_viewport_size({"width": 1280, "height": 900})
    accessible(page)

    press_until(page, "#start-button")
    page.keyboard.press("Enter")
    expect(page.locator(".lamp__words")).to_contain_text("Billede og lyd er forseglet", timeout=LIVE_WITHIN)
    expect(page.locator("[data-state-text]")).to_have_text(["Direkte", "Direkte"], timeout=LIVE_WITHIN)
    accessible(page)
    press_until(page, "#reason")
    page.keyboard.type("Systemet svarede ikke")
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    expect(page.get_by_role("status").filter(has_text="Bemærkningen er gemt")).to_be_visible()

    press_until(page, "#stop-button")
    page.keyboard.press("Enter")
    expect(page.locator("#stop-dialog")).to_be_visible()
    accessible(page)
    page.keyboard.press("Shift+Tab")
    page.keyboard.press("Enter")
    page.wait_for_url("**/kvittering")
    accessible(page)
    assert page.locator(".hash span").count() == 16
    assert alone.room()["state"] == "idle"
    assert alone.complaints == []


def test_a_page_of_another_site_can_start_nothing(alone: RealHouse, tmp_path: Path) -> None:
    page = alone.context().new_page()
    page.goto(alone.house.settings.room_page_url)
    page.fill("#code", alone.house.settings.room_code())
    page.keyboard.press("Enter")
    page.wait_for_selector("#start-button")
    evil = tmp_path / "evil.html"
    evil.write_text(
        f'<form method="post" action="{alone.house.settings.room_page_url}start"><button id="go">x</button></form>'
    )
    page.goto(evil.as_uri())
    page.click("#go")
    page.wait_for_load_state()
    assert alone.room()["state"] == "idle"


def test_a_picture_that_stands_still_is_never_called_live(alone: RealHouse) -> None:
    """Whoever joins is given the last pictures at once: with each attempt to come back, here, and they are old."""
    context = alone.context()
    context.add_init_script(PEERS)
    page = context.new_page()
    page.goto(alone.house.settings.room_page_url)
    page.fill("#code", alone.house.settings.room_code())
    page.keyboard.press("Enter")
    state = page.locator('[data-camera="wide"] [data-state-text]')
    expect(state).to_have_text("Direkte", timeout=LIVE_WITHIN)
    camera = alone.cameras["wide"]
    camera.evaluate("peers.at(-1).getSenders().forEach((each) => { each.kept = each.track; each.replaceTrack(null); })")
    expect(state).to_have_text("Billedet står stille", timeout=LIVE_WITHIN)
    connections = page.evaluate("peers.length")
    said, old_pictures = set(), 0
    for _ in range(200):
        said.add(state.inner_text())
        old_pictures = max(old_pictures, page.evaluate(f"({DECODED})({connections})"))
        page.wait_for_timeout(100)
    assert old_pictures > 0, "it came back meanwhile, and was given what there was"
    assert not said & {"Direkte", "Ustabil forbindelse"}
    expect(page.locator('[data-camera="close"] [data-state-text]')).to_have_text("Direkte", timeout=LIVE_WITHIN)
    camera.evaluate("peers.at(-1).getSenders().forEach((each) => each.replaceTrack(each.kept))")
    expect(state).to_have_text("Direkte", timeout=LIVE_WITHIN)
