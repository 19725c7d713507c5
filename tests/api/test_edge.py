"""The edge: headers, body sizes, hosts, cookies, and where unsafe requests may come from."""

from __future__ import annotations

from collections.abc import AsyncIterator

import httpx
import pytest
from fastapi import FastAPI

from api.app import create_app
from evidence_store.people import Role
from tests.api.conftest import Browser, SignedIn
from tests.api.fake_people import CASE, PASSWORD, demo_accounts
from tests.api.fakes import World, settings


async def test_every_answer_carries_the_headers(anybody: Browser) -> None:
    for path in ("/log-ind", "/nowhere", "/static/css/room.css", "/healthz"):
        headers = (await anybody.get(path)).headers
        assert headers["content-security-policy"].startswith("default-src 'none'; script-src 'self'; style-src 'self'")
        assert "unsafe" not in headers["content-security-policy"]
        assert headers["referrer-policy"] == "no-referrer"
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["cross-origin-opener-policy"] == "same-origin"
        assert "camera=()" in headers["permissions-policy"]
        assert "strict-transport-security" not in headers


async def test_only_static_files_are_cached(anybody: Browser) -> None:
    assert (await anybody.get("/log-ind")).headers["cache-control"] == "no-store"
    assert (await anybody.get("/static/css/room.css")).headers["cache-control"].startswith("public")


async def test_unknown_host_is_refused(anybody: Browser) -> None:
    assert (await anybody.get("/log-ind", host="evil.example")).status_code == 400


async def test_announced_body_too_large(anybody: Browser) -> None:
    response = await anybody.send("POST", "/log-ind", b"x" * 70_000)
    assert response.status_code == 413
    assert "x-content-type-options" in response.headers


async def test_unannounced_body_too_large(anybody: Browser) -> None:
    async def endless() -> AsyncIterator[bytes]:
        for _ in range(100):
            yield b"username=" + b"x" * 1000

    response = await anybody.http.post(
        "/log-ind",
        content=endless(),
        headers={"content-type": "application/x-www-form-urlencoded", "accept": "application/json"},
    )
    assert response.status_code == 413
    assert response.json()["code"] == "too-large"


async def test_longer_bodies_where_they_are_wanted(made: World) -> None:
    app = create_app(made.services, settings(body_limits=(("/log-ind", 200_000),)))
    browser = Browser(app)
    response = await browser.send("POST", "/log-ind", b"x" * 100_000)
    assert response.status_code != 413
    await browser.http.aclose()


async def test_cookie_without_tls(anybody: Browser) -> None:
    cookie = (await anybody.sign_in("tekniker")).headers["set-cookie"]
    assert cookie.startswith("vidne=")
    assert "HttpOnly" in cookie
    assert "SameSite=strict" in cookie


async def test_cookie_with_tls(made: World) -> None:
    browser = Browser(create_app(made.services, settings(secure=True)))
    response = await browser.http.post("/log-ind", data={"username": "tekniker", "password": PASSWORD})
    cookie = response.headers["set-cookie"]
    assert cookie.startswith("__Host-vidne=")
    assert "Secure" in cookie
    assert "Path=/" in cookie
    assert "Domain" not in cookie
    assert response.headers["strict-transport-security"]
    await browser.http.aclose()


@pytest.mark.parametrize(
    "headers",
    [
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
        {"Sec-Fetch-Site": "none"},
        {"Origin": "http://evil.example"},
        {"Origin": "null"},
        {"Origin": "http://testserver:81"},
    ],
    ids=str,
)
async def test_unsafe_from_elsewhere_is_refused(
    headers: dict[str, str], signed_in: SignedIn, anybody: Browser, made: World
) -> None:
    operator = await signed_in(Role.OPERATOR)
    form = {"csrf": operator.csrf, "case_number": CASE, "child_ordinal": "1"}
    assert (await operator.http.post("/afhoering", data=form, headers=headers)).status_code == 403
    assert not made.interviews.all
    signing_in = {"username": "tekniker", "password": PASSWORD}
    assert (await anybody.http.post("/log-ind", data=signing_in, headers=headers)).status_code == 403


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Sec-Fetch-Site": "same-origin", "Origin": "null"},  # a form under "no-referrer"
        {"Origin": "http://testserver"},
    ],
    ids=str,
)
async def test_unsafe_from_our_own_pages_is_taken(headers: dict[str, str], signed_in: SignedIn, made: World) -> None:
    operator = await signed_in(Role.OPERATOR)
    form = {"csrf": operator.csrf, "case_number": CASE, "child_ordinal": "1"}
    assert (await operator.http.post("/afhoering", data=form, headers=headers)).status_code == 303


async def test_form_token_missing_or_another_sessions(signed_in: SignedIn, made: World) -> None:
    first, second = await signed_in(Role.OPERATOR), await signed_in(Role.OPERATOR)
    for token in ("", "x", second.csrf, "é"):
        form = {"csrf": token, "case_number": CASE, "child_ordinal": "1"}
        response = await first.http.post("/afhoering", data=form, headers={"Accept": "application/json"})
        assert response.status_code == 403
        assert response.json()["code"] == "form-expired"
    assert not made.interviews.all


async def test_the_description_of_the_api(app: FastAPI, made: World, anybody: Browser) -> None:
    assert (await anybody.get("/openapi.json", accept="*/*")).status_code == 401
    async with httpx.AsyncClient(
        transport=httpx.ASGITransport(create_app(made.services, settings(demo=demo_accounts()))),
        base_url="http://testserver",
    ) as demo:
        description = (await demo.get("/openapi.json")).json()
        assert "/live/{room}/{camera}" in description["paths"]
        assert (await demo.get("/docs")).status_code == 404


async def test_demo_accounts_are_shown_in_the_demo_only(anybody: Browser, made: World) -> None:
    assert PASSWORD not in (await anybody.get("/log-ind")).text
    demo = Browser(create_app(made.services, settings(demo=demo_accounts())))
    assert PASSWORD in (await demo.get("/log-ind")).text
    await demo.http.aclose()
