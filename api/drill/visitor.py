"""A person at a browser, without the browser: signs in and fills in the forms that are there."""

from __future__ import annotations

import re
from pathlib import Path
from types import TracebackType
from typing import Self

import httpx

_FIELD = re.compile(r'<input[^>]*name="csrf"[^>]*value="([^"]+)"')


class DrillFailed(Exception):  # noqa: N818 - said of the drill
    """A step did not hold; the message says what."""


class Visitor:
    def __init__(self, base_url: str) -> None:
        self._client = httpx.AsyncClient(base_url=base_url, trust_env=False, timeout=30.0)
        self._client.headers["Origin"] = base_url
        self._client.headers["Sec-Fetch-Site"] = "same-origin"

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._client.aclose()

    async def sign_in(self, username: str, password: str) -> None:
        reply = await self._client.post("/log-ind", data={"username": username, "password": password})
        if reply.status_code != httpx.codes.SEE_OTHER:
            raise DrillFailed(f"{username} could not sign in: {reply.status_code}")

    async def page(self, path: str) -> str:
        reply = await self._client.get(path)
        if not reply.is_success:
            raise DrillFailed(f"{path} answered {reply.status_code}")
        return reply.text

    async def submit(self, path: str, form_page: str, **fields: str) -> str:
        """Posts a form with the token of the page it is on; where it leads to."""
        found = _FIELD.search(await self.page(form_page))
        if found is None:
            raise DrillFailed(f"{form_page} has no form")
        reply = await self._client.post(path, data={"csrf": found[1], **fields})
        if reply.status_code != httpx.codes.SEE_OTHER:
            said = re.sub(r"<[^>]+>|\s+", " ", reply.text)
            raise DrillFailed(f"{path} answered {reply.status_code}: {re.sub(' +', ' ', said)[:300]}")
        return reply.headers["location"]

    async def csrf(self, page: str) -> str:
        """The token that scripts of a page send along."""
        found = re.search(r'<meta name="vidne-csrf" content="([^"]+)"', await self.page(page))
        if found is None:
            raise DrillFailed(f"{page} has no token")
        return found[1]

    async def send(
        self, method: str, path: str, body: bytes | None = None, headers: dict[str, str] | None = None
    ) -> httpx.Response:
        return await self._client.request(method, path, content=body, headers=headers)

    async def download(self, path: str, target: Path) -> int | None:
        """Fetches into a file; its size, or None where it is not to be had yet (409)."""
        async with self._client.stream("GET", path) as reply:
            if reply.status_code == httpx.codes.CONFLICT:
                return None
            if not reply.is_success:
                raise DrillFailed(f"{path} answered {reply.status_code}")
            size = 0
            with target.open("wb") as file:
                async for chunk in reply.aiter_bytes():
                    size += file.write(chunk)
        return size
