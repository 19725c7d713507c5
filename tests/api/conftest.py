from __future__ import annotations

import re
from collections.abc import AsyncIterator, Awaitable, Callable

import httpx
import pytest
from fastapi import FastAPI

from api.app import create_app
from evidence_store.people import Role
from tests.api.fake_people import BY_ROLE, PASSWORD
from tests.api.fakes import World, settings, world


class Browser:
    """A client with a cookie jar that sends what a browser would send, and the form token its pages carry."""

    def __init__(self, app: FastAPI) -> None:
        self.http = httpx.AsyncClient(
            transport=httpx.ASGITransport(app, raise_app_exceptions=False),
            base_url="http://testserver",
            headers={"Accept": "text/html"},
        )
        self.csrf = ""

    async def sign_in(self, username: str, password: str = PASSWORD) -> httpx.Response:
        response = await self.http.post("/log-ind", data={"username": username, "password": password})
        if response.status_code == 303:
            front = await self.http.get("/", follow_redirects=True)
            found = re.search(r'name="vidne-csrf" content="([0-9a-f]{64})"', front.text)
            assert found
            self.csrf = found[1]
        return response

    async def get(self, path: str, **headers: str) -> httpx.Response:
        return await self.http.get(path, headers=headers)

    async def post(self, path: str, **form: str) -> httpx.Response:
        return await self.http.post(path, data={"csrf": self.csrf, **form})

    async def send(self, method: str, path: str, content: bytes = b"", **headers: str) -> httpx.Response:
        return await self.http.request(method, path, content=content, headers={"Vidne-CSRF": self.csrf, **headers})


@pytest.fixture
def made() -> World:
    return world()


@pytest.fixture
def app(made: World) -> FastAPI:
    return create_app(made.services, settings())


@pytest.fixture
async def anybody(app: FastAPI) -> AsyncIterator[Browser]:
    browser = Browser(app)
    yield browser
    await browser.http.aclose()


SignedIn = Callable[[Role], Awaitable[Browser]]


@pytest.fixture
async def signed_in(app: FastAPI) -> AsyncIterator[SignedIn]:
    browsers: list[Browser] = []

    async def sign_in(role: Role) -> Browser:
        browser = Browser(app)
        browsers.append(browser)
        assert (await browser.sign_in(BY_ROLE[role].username)).status_code == 303
        return browser

    yield sign_in
    for browser in browsers:
        await browser.http.aclose()
