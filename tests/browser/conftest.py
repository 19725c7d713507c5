from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import pytest
from playwright.sync_api import Browser, Page

from api.app import create_app
from evidence_store.identifiers import CaseNumber
from evidence_store.people import Role
from tests.api.fake_people import BY_ROLE, CASE, PASSWORD
from tests.api.fakes import World, settings, world
from tests.browser.clip import ClipMedia, take
from tests.browser.serving import chromium, serving


@dataclass
class House:
    """The application on loopback, with a clip for its stored media, and what went wrong in its pages."""

    url: str
    made: World
    media: ClipMedia
    browser: Browser
    complaints: list[str]

    def page(self, role: Role | None, width: int = 1280) -> Page:
        """A page of a new, signed-in browser. What its console says of errors is kept in `complaints`."""
        context = self.browser.new_context(viewport={"width": width, "height": 900}, locale="da-DK")
        page = context.new_page()
        page.on("console", lambda said: self.complaints.append(said.text) if said.type == "error" else None)
        page.on("pageerror", lambda error: self.complaints.append(str(error)))
        page.goto(f"{self.url}/log-ind")
        if role is not None:
            page.fill("#username", BY_ROLE[role].username)
            page.fill("#password", PASSWORD)
            page.keyboard.press("Enter")
            page.wait_for_selector(".masthead__person")
        return page

    def planned(self, ordinal: int = 1) -> str:
        return self.made.interviews.create(CaseNumber.parse(CASE), ordinal, BY_ROLE[Role.OPERATOR]).id


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium("--autoplay-policy=no-user-gesture-required") as running:
        yield running


@pytest.fixture
def house(browser: Browser) -> Iterator[House]:
    made = world()
    made.live.cut = True
    media = ClipMedia(made.clock, (take(),))
    made = replace(made, services=replace(made.services, media=media))
    with serving(create_app(made.services, settings())) as url:
        yield House(url, made, media, browser, [])
        for context in list(browser.contexts):
            context.close()


Recorded = Callable[[], str]


@pytest.fixture
def recorded(house: House) -> Recorded:
    """Makes an interview that was recorded and stopped; gives its id."""

    def record() -> str:
        page = house.page(Role.OPERATOR)
        interview = house.planned()
        page.goto(f"{house.url}/afhoering/{interview}")
        page.click("#start-button")
        page.click("#stop-button")
        page.click("#stop-dialog button[type=submit]")
        page.wait_for_url("**/kvittering")
        page.context.close()
        return interview

    return record
