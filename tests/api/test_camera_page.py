"""The browser camera's page, as the recorder's process serves it."""

from __future__ import annotations

import httpx
from fastapi import FastAPI

from api.routes.camera_page import camera_page_router
from api.security import SecurityHeaders
from api.web import static_files


async def test_the_page_may_use_camera_and_microphone_and_says_no_token() -> None:
    app = FastAPI(openapi_url=None)
    app.include_router(camera_page_router())
    app.mount("/static", static_files(), name="static")
    app.add_middleware(SecurityHeaders, secure=False, camera=True)
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://testserver") as client:
        page = await client.get("/camera/wide")
        assert page.status_code == 200
        assert 'data-endpoint="/whip/wide"' in page.text
        assert "camera=(self), microphone=(self)" in page.headers["permissions-policy"]
        assert (await client.get("/camera/Wide!")).status_code == 422
        assert (await client.get("/static/js/whip.js")).status_code == 200
