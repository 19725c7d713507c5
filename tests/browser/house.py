"""A house of real processes beside a real Chromium: its loop runs in a thread, as Playwright's has the test's."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from playwright.sync_api import Browser, BrowserContext, ConsoleMessage, Page

from api.drill.house import House, loopback_settings
from api.processes.house import camera_program
from api.settings import Secrets
from api.wiring import DEMO_ACCOUNTS

CAMERA_FLAGS = (
    "--use-fake-device-for-media-stream",
    "--use-fake-ui-for-media-stream",
    "--autoplay-policy=no-user-gesture-required",
    # Without it a page that may use no camera gives its own addresses as mDNS names, which loopback does not resolve.
    "--disable-features=WebRtcHideLocalIpsWithMdns",
)
T = TypeVar("T")
WITHIN = 30.0

CASE_NUMBER = "0100-83986-00001-26"
PEERS = """
window.peers = [];
window.RTCPeerConnection = class extends RTCPeerConnection {
  constructor(...given) { super(...given); window.peers.push(this); }
};
"""
"""A camera page's connections, so that a test can have one send nothing and stay connected."""


@dataclass
class RealHouse:
    """`complaints`: what pages' consoles said of errors, their refused policies included, each with its page's path.
    `cameras`: the latest page of each camera."""

    house: House
    loop: asyncio.AbstractEventLoop
    browser: Browser
    complaints: list[str] = field(default_factory=list)
    cameras: dict[str, Page] = field(default_factory=dict)

    @property
    def url(self) -> str:
        return self.house.settings.api_url

    def do(self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(asyncio.wait_for(work, WITHIN), self.loop).result()

    def room(self) -> dict[str, Any]:
        """The recorder's own word."""
        return self.do(self.house.room())

    def cameras_send(self) -> None:
        """Returns once every camera of the room is heard."""
        self.do(self.house.cameras_send())

    def listen(self, page: Page) -> None:
        def said(message: ConsoleMessage) -> None:
            if message.type == "error" or "Content Security Policy" in message.text:
                self.complaints.append(f"{page.url.removeprefix(self.url)}: {message.text}")

        page.on("console", said)
        page.on("pageerror", lambda error: self.complaints.append(f"{page.url.removeprefix(self.url)}: {error}"))

    def context(self, width: int = 1280, height: int = 900) -> BrowserContext:
        context = self.browser.new_context(viewport={"width": width, "height": height}, locale="da-DK")
        context.set_default_timeout(1000 * WITHIN / 2)
        return context

    def camera(self, name: str, size: str = "640x360") -> Page:
        """Our page that makes a browser a camera, sending."""
        context = self.context()
        context.add_init_script(PEERS)
        self.cameras[name] = page = context.new_page()
        self.listen(page)
        token = Secrets(self.house.settings.run_folder).token(f"camera-{name}")
        page.goto(f"{self.house.settings.recorder_url}/camera/{name}#token={token}")
        page.check(f"#size-{size.rpartition('x')[2]}", force=True)
        page.click("[data-toggle]")
        return page

    def person(self, username: str, width: int = 1280, height: int = 900) -> Page:
        """A browser in which one of the demo's people has signed in."""
        account = next(each for each in DEMO_ACCOUNTS if each.username == username)
        page = self.context(width, height).new_page()
        self.listen(page)
        page.goto(f"{self.url}/log-ind")
        page.fill("#username", account.username)
        page.fill("#password", account.password)
        page.keyboard.press("Enter")
        page.wait_for_selector(".masthead__person")
        return page


@contextmanager
def real_house(data: Path, browser: Browser, *, simulated: bool = False) -> Iterator[RealHouse]:
    """Recorder, monitor and web application while the block runs; `simulated` adds the demo's cameras."""
    settings = loopback_settings(data, "demo")
    cameras = [camera_program(settings, each) for each in settings.room_profile().cameras] if simulated else []
    house = House(settings, data / "house.log", cameras)
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    real = RealHouse(house, loop, browser)
    try:
        real.do(house.__aenter__())
        try:
            real.do(house.answers())
            yield real
        finally:
            for context in list(browser.contexts):
                context.close()
            real.do(house.__aexit__(None, None, None))
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()
