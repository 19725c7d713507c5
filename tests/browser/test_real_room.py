"""Browser cameras, a recorder, a monitor and a web application of real processes, and the people in real browsers."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from tests.browser.house import CAMERA_FLAGS, CASE_NUMBER, RealHouse, real_house
from tests.browser.looking import until
from tests.browser.serving import CHROMIUM, chromium

ROOT = Path(__file__).parents[2]
VENDOR = ROOT / "api" / "web" / "static" / "vendor" / ".lock-sha256"

pytestmark = pytest.mark.skipif(not (CHROMIUM.exists() and VENDOR.exists()), reason="needs Chromium and scripts/assets")

VIDEOS = "[...document.querySelectorAll('video')]"
LEASE = 15.0

COUNT = """
(videos) => {
  for (const video of videos) {
    video.seen = 0;
    const next = () => { video.seen += 1; video.requestVideoFrameCallback(next); };
    video.requestVideoFrameCallback(next);
  }
}
"""
"""Counts the pictures that are really shown, in `video.seen`."""

MEAN = """
(video) => {
  const canvas = document.createElement("canvas");
  [canvas.width, canvas.height] = [4, 4];
  const drawing = canvas.getContext("2d");
  drawing.drawImage(video, 0, 0, 4, 4);
  const pixels = drawing.getImageData(0, 0, 4, 4).data;
  const mean = (channel) => pixels.filter((_, at) => at % 4 === channel).reduce((a, b) => a + b, 0) / 16;
  return [mean(0), mean(1), mean(2)];
}
"""
"""A picture's mean red, green and blue, 0 to 255."""

LOUDEST = """
async (stream) => {
  const context = new AudioContext();
  await context.resume();
  const analyser = context.createAnalyser();
  context.createMediaStreamSource(stream).connect(analyser);
  const samples = new Float32Array(analyser.fftSize);
  let loudest = 0;
  for (const until = performance.now() + 2500; performance.now() < until;) {
    analyser.getFloatTimeDomainData(samples);
    loudest = Math.max(loudest, ...samples.map(Math.abs));
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
  await context.close();
  return loudest;
}
"""
"""The greatest amplitude within 2.5 s, 1 being full scale. Chromium's camera beeps each second."""


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RealHouse]:
    data = tmp_path_factory.mktemp("house")
    with chromium(*CAMERA_FLAGS) as browser, real_house(data, browser) as running:
        yield running


def shown(page: Page) -> list[int]:
    counted: list[int] = page.evaluate(f"{VIDEOS}.map((video) => video.seen)")
    return counted


def pictures_advance(page: Page, seconds: float = 2.0) -> None:
    """Every video of the page shows new pictures, ten a second at least, and they are not black.

    On a machine that does other work too, a video that has just begun may take a while until it does.
    """
    until(page, f"{VIDEOS}.length === 2 && {VIDEOS}.every((video) => video.readyState >= 2)", 20)
    seen: list[int] = []
    while len(seen) < 5 and max(seen, default=0) < 10 * seconds:
        page.evaluate(f"({COUNT})({VIDEOS})")
        page.wait_for_timeout(1000 * seconds)
        seen.append(min(shown(page)))
    assert max(seen) >= 10 * seconds, seen
    for at in range(2):
        assert max(page.evaluate(f"({MEAN})({VIDEOS}[{at}])")) > 30


def alike(one: list[float], other: list[float]) -> bool:
    """Whether two pictures are of the same scene: Chromium's moving figure on its ground of one colour."""
    return all(abs(a - b) < 40 for a, b in zip(one, other, strict=True))


def monitor_room(house: RealHouse) -> Page:
    page = house.person("barnehus")
    page.goto(f"{house.url}/monitorrum")
    expect(page.locator("[data-state-text]")).to_have_text(["Direkte", "Direkte"], timeout=20_000)
    return page


def test_from_a_browsers_camera_to_the_prosecutors_player(house: RealHouse) -> None:
    wide, close = house.camera("wide"), house.camera("close")
    for camera in (wide, close):
        expect(camera.locator("[data-state-text]")).to_have_text("Sender", timeout=20_000)
        assert "token" not in camera.url, "the token must not stay in the address bar"
    house.cameras_send()

    staff = monitor_room(house)
    pictures_advance(staff)
    own = wide.evaluate(f"({MEAN})({VIDEOS}[0])")
    assert alike(own, staff.evaluate(f"({MEAN})({VIDEOS}[0])"))
    for at in range(2):
        assert staff.evaluate(f"({LOUDEST})({VIDEOS}[{at}].srcObject)") > 0.01
    expect(staff.locator("#tilstand")).to_contain_text("Hans Hus")
    signed_out = sign_out_elsewhere(house, staff)

    operator, interview = record(house, change_size_of=wide)
    expect(operator.locator("h1")).to_have_text("Optagelsen er lukket og forseglet")
    expect(operator.locator(".take")).to_contain_text("Stoppet")
    assert operator.evaluate("document.querySelector('.receipt__code img').naturalWidth") > 0

    pictures_are_cut(staff, signed_out)

    player = open_player(house)
    assert interview in player.evaluate("document.querySelector('.breadcrumbs a[href*=sager\\\\/]').href")
    stored_pictures_play(player, own)
    # The monitor room's page was cut off on purpose, and says so.
    assert [said for said in house.complaints if not said.startswith("/monitorrum: ")] == []


def sign_out_elsewhere(house: RealHouse, staying: Page) -> float:
    """Signs the person out in another tab, when. The page that stays can neither renew nor ask: only the monitor's
    own lease can end its pictures."""
    elsewhere = staying.context.new_page()
    elsewhere.goto(f"{house.url}/monitorrum")
    assert house.complaints == []
    staying.route("**/live/**", lambda route: route.abort())
    staying.route("**/rum/**", lambda route: route.abort())
    elsewhere.get_by_role("button", name="Log af").click()
    elsewhere.wait_for_url("**/log-ind")
    return time.monotonic()


def pictures_are_cut(page: Page, signed_out: float) -> None:
    page.wait_for_timeout(max(0.0, 1000 * (signed_out + LEASE + 1.5 - time.monotonic())))
    page.evaluate(f"({COUNT})({VIDEOS})")
    page.wait_for_timeout(1000)
    assert shown(page) == [0, 0]
    expect(page.locator("[data-cover]").first).to_be_visible()


def record(house: RealHouse, change_size_of: Page) -> tuple[Page, str]:
    """An interview of some seconds; midway one camera's pictures become smaller. The operator's page, at its receipt,
    and the interview's id."""
    page = house.person("operator")
    page.goto(f"{house.url}/afhoering")
    page.fill("#case_number", CASE_NUMBER)
    page.keyboard.press("Enter")
    page.wait_for_selector("#start-button")
    interview = page.url.rsplit("/", 1)[1]
    page.click("#start-button")
    expect(page.locator(".lamp")).to_contain_text("Billede og lyd er forseglet", timeout=10_000)
    expect(page.locator("#tilstand")).to_contain_text("Billede og lyd 640 × 360", timeout=10_000)
    pictures_advance(page, 3.0)
    change_size_of.evaluate(f"{VIDEOS}[0].srcObject.getVideoTracks()[0].applyConstraints({{width: 320, height: 180}})")
    expect(page.locator("#tilstand")).to_contain_text("Billede og lyd 320 × 180", timeout=10_000)
    page.wait_for_timeout(5000)
    page.click("#stop-button")
    page.click("#stop-dialog button[type=submit]")
    page.wait_for_url("**/kvittering", timeout=15_000)
    return page, interview


def open_player(house: RealHouse) -> Page:
    page = house.person("anklager")
    page.goto(f"{house.url}/sager")
    page.fill("#case_number", CASE_NUMBER)
    page.keyboard.press("Enter")
    page.click(".row-card")
    page.fill("#purpose", "Vurdering af tiltalespørgsmålet")
    page.get_by_role("button", name="Åbn gennemsyn").click()
    # It begins with the camera whose pictures begin first; the other's may come a little later.
    until(page, f"{VIDEOS}.length === 2 && {VIDEOS}.some((video) => video.readyState >= 2)", 20)
    return page


def stored_pictures_play(page: Page, live: list[float]) -> None:
    """From the beginning, and near the end, where the wide camera's pictures are of another size."""
    page.keyboard.press("k")
    pictures_advance(page)
    sizes: Any = page.evaluate(f"{VIDEOS}.map((video) => [video.videoWidth, video.videoHeight])")
    assert sizes == [[640, 360], [640, 360]]
    for at in range(2):
        assert alike(live, page.evaluate(f"({MEAN})({VIDEOS}[{at}])"))
    near_end = page.evaluate("document.querySelector('[data-seek]').max - 3")
    page.locator("[data-seek]").evaluate(
        "(range, to) => { range.value = to; range.dispatchEvent(new Event('input')); }", near_end
    )
    until(page, f"{VIDEOS}.every((video) => !video.seeking && video.readyState >= 2)", 40)
    page.evaluate(f"({COUNT})({VIDEOS})")
    page.wait_for_timeout(1500)
    assert min(shown(page)) >= 10
    times = f"{VIDEOS}.map((video) => video.currentTime)"
    assert min(page.evaluate(times)) > near_end
    # On a busy machine one starts later after the jump, and is brought to the other.
    until(page, f"Math.max(...{times}) - Math.min(...{times}) < 0.15")
    assert page.evaluate(f"{VIDEOS}[0].videoWidth") == 320
    assert alike(live, page.evaluate(f"({MEAN})({VIDEOS}[0])"))
    expect(page.locator("[data-problem]")).to_be_empty()


def test_camera_page_and_monitor_room_come_back_after_the_recorder_was_killed(house: RealHouse) -> None:
    if not all(each["connected"] for each in house.room()["cameras"]):
        for name in ("wide", "close"):
            house.camera(name)
    house.cameras_send()
    staff = monitor_room(house)
    os.kill(house.house.pid("recorder"), signal.SIGKILL)
    deadline = time.monotonic() + 5
    while house.room().get("cameras", []) and time.monotonic() < deadline:
        time.sleep(0.05)
    house.cameras_send()
    expect(staff.locator("[data-state-text]")).to_have_text(["Direkte", "Direkte"], timeout=20_000)
    pictures_advance(staff)
