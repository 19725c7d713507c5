"""`python -m tests.browser.screenshots`: walks through a house with the simulated room and takes the pictures of docs/.

Pictures 1280 wide go to docs/images/; all of them, also 1920 and 820 wide, to a temporary folder, to be looked at.
"""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

from playwright.sync_api import Page, expect
from rich.console import Console

from api.drill.house import loopback_settings
from api.processes.demo import demo_key, make_clips
from tests.browser.house import CAMERA_FLAGS, CASE_NUMBER, RealHouse, real_house
from tests.browser.serving import chromium

IMAGES = Path(__file__).parents[2] / "docs" / "images"
FOR_DOCS = 1280
WIDTHS = (1920, 820, FOR_DOCS)
HEIGHTS = {1920: 1080, 820: 1180, 1280: 800}
GREATEST_SUM = 3_000_000

LIVE = ["Direkte", "Direkte"]
VIDEOS = "[...document.querySelectorAll('video')]"


class Album:
    """Takes each picture at every width; those in `docs` are for the documentation."""

    def __init__(self, review: Path) -> None:
        self.review = review
        self.docs: list[str] = []

    def take(self, page: Page, name: str, *, docs: bool = False) -> None:
        for width in WIDTHS:
            page.set_viewport_size({"width": width, "height": HEIGHTS[width]})
            page.wait_for_timeout(400)
            page.screenshot(path=self.review / f"{name}-{width}.png", full_page=True, animations="disabled")
        if docs:
            self.docs.append(name)

    def publish(self) -> int:
        """Copies what is for the documentation; its size together."""
        IMAGES.mkdir(parents=True, exist_ok=True)
        sizes = []
        for name in self.docs:
            shutil.copyfile(self.review / f"{name}-{FOR_DOCS}.png", IMAGES / f"{name}.png")
            sizes.append((IMAGES / f"{name}.png").stat().st_size)
        return sum(sizes)


def operator(house: RealHouse, album: Album) -> None:
    """From the case number to the receipt, with somebody in the monitor room."""
    page = house.context().new_page()
    house.listen(page)
    page.goto(f"{house.url}/log-ind")
    album.take(page, "log-ind", docs=True)
    page.close()
    page = house.person("operator")
    page.goto(f"{house.url}/afhoering")
    album.take(page, "afhoering-ny")
    page.fill("#case_number", CASE_NUMBER)
    page.keyboard.press("Enter")
    page.wait_for_selector("#start-button")
    expect(page.locator("[data-state-text]")).to_have_text(LIVE, timeout=30_000)
    album.take(page, "afhoering-klar")
    page.click("#start-button")
    expect(page.locator(".lamp")).to_contain_text("Billede og lyd er forseglet")
    staff = house.person("barnehus")
    staff.goto(f"{house.url}/monitorrum")
    for each in (staff, page):
        expect(each.locator("[data-state-text]")).to_have_text(LIVE, timeout=30_000)
    staff.wait_for_timeout(12_000)
    album.take(staff, "monitorrum", docs=True)
    album.take(page, "afhoering", docs=True)
    page.click("#stop-button")
    album.take(page, "afhoering-stop")
    page.click("#stop-dialog button[type=submit]")
    page.wait_for_url("**/kvittering")
    album.take(page, "kvittering", docs=True)
    staff.context.close()
    page.goto(f"{house.url}/afhoering")
    album.take(page, "afhoering-seneste")
    page.context.close()


def prosecutor(house: RealHouse, album: Album) -> None:
    """From the case number to the copy, and what the custody log says of it all."""
    page = house.person("anklager")
    page.goto(f"{house.url}/sager")
    page.fill("#case_number", CASE_NUMBER)
    page.keyboard.press("Enter")
    page.wait_for_selector(".row-card")
    album.take(page, "sager", docs=True)
    page.click(".row-card")
    case = page.url
    album.take(page, "sag")
    page.fill("#purpose", "Vurdering af tiltalespørgsmålet")
    page.get_by_role("button", name="Åbn gennemsyn").click()
    expect(page.locator("[data-length]")).not_to_have_text("0:00:00")
    album.take(page, "afspilning-lukket")
    page.click("[data-play]")
    page.wait_for_timeout(4000)
    album.take(page, "afspilning", docs=True)
    page.goto(f"{case}/kopi")
    page.fill("#purpose", "Fremlæggelse i retten")
    page.fill("#recipient", demo_key(house.house.settings.data)[1])
    album.take(page, "kopi-bestil")
    page.get_by_role("button", name="Bestil beviskopi").click()
    page.wait_for_selector("progress")
    album.take(page, "kopi-undervejs")
    expect(page.locator(".copy-state__title")).to_contain_text("Klar til udlevering", timeout=180_000)
    album.take(page, "kopi", docs=True)
    with page.expect_download():
        page.get_by_role("link", name="Hent beviskopi").click()
    page.goto(case)
    album.take(page, "sag-med-kopi")
    page.goto(f"{case}/beviskaede")
    album.take(page, "beviskaede", docs=True)
    page.context.close()


def administrator(house: RealHouse, album: Album) -> None:
    page = house.person("admin")
    page.goto(f"{house.url}/system")
    album.take(page, "system")
    page.context.close()


def room_alone(house: RealHouse, album: Album) -> None:
    """The room's own page while nothing else answers, and what is left for a person to do afterwards."""
    house.do(house.house.kill("web"))
    page = house.context().new_page()
    house.listen(page)
    page.goto(house.house.settings.room_page_url)
    page.fill("#code", "K7QF-2MXD")
    page.keyboard.press("Enter")
    expect(page.locator(".alert")).to_contain_text("Forkert kode")
    album.take(page, "rummet-kode")
    house.complaints.clear()
    page.fill("#code", house.house.settings.room_code())
    page.keyboard.press("Enter")
    expect(page.locator("[data-state-text]")).to_have_text(LIVE, timeout=30_000)
    expect(page.locator("#start-button")).to_have_text("Optag alligevel", timeout=30_000)
    album.take(page, "rummet-klar")
    page.click("#start-button")
    expect(page.locator(".lamp")).to_contain_text("Billede og lyd er forseglet")
    expect(page.locator("[data-state-text]")).to_have_text(LIVE, timeout=30_000)
    page.wait_for_timeout(5_000)
    album.take(page, "rummets-side", docs=True)
    page.fill("#reason", "Systemet svarede ikke, og barnet var kommet")
    page.get_by_role("button", name="Gem bemærkningen").click()
    album.take(page, "rummet-bemaerkning")
    page.click("#stop-button")
    album.take(page, "rummet-stop")
    page.click("#stop-dialog button[type=submit]")
    page.wait_for_url("**/kvittering")
    album.take(page, "rummet-kvittering")
    page.context.close()

    async def back() -> None:
        house.house.bring_back("web")
        await house.house.answers()

    house.do(back())
    page = house.person("operator")
    page.goto(f"{house.url}/afhoering")
    while "uden journalnummer" not in page.content():
        page.wait_for_timeout(500)
        page.reload()
    album.take(page, "afhoering-uden-nummer")
    page.get_by_role("link", name="uden journalnummer").first.click()
    album.take(page, "kvittering-uden-nummer")
    page.get_by_role("link", name="Knyt den til et journalnummer").click()
    album.take(page, "knyt-til-nummer")
    page.context.close()


def main() -> None:
    say = Console(soft_wrap=True).print
    review = Path(tempfile.mkdtemp(prefix="vidne-screenshots-"))
    album = Album(review)
    with tempfile.TemporaryDirectory(prefix="vidne-house-") as data, chromium(*CAMERA_FLAGS) as browser:
        make_clips(loopback_settings(Path(data), "demo"), Console(stderr=True))
        with real_house(Path(data), browser, simulated=True) as house:
            house.cameras_send()
            operator(house, album)
            prosecutor(house, album)
            administrator(house, album)
            room_alone(house, album)
            complaints = house.complaints
    total = album.publish()
    say(f"docs/images: {len(album.docs)} pictures, {total / 1e6:.1f} MB")
    say(f"To be looked at, every page at every width: {review}")
    if complaints:
        raise SystemExit("The pages complained:\n" + "\n".join(complaints))
    if total > GREATEST_SUM:
        raise SystemExit(f"The pictures take more than {GREATEST_SUM / 1e6:.0f} MB together.")


if __name__ == "__main__":
    main()
