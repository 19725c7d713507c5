"""The web application with somebody signed in, as a browser meets it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from api.app import create_app
from evidence_store.identifiers import CaseNumber
from evidence_store.people import Role
from tests.api.conftest import Browser
from tests.api.fake_people import BY_ROLE, CASE
from tests.api.fakes import World, settings, world


@asynccontextmanager
async def browsing(role: Role) -> AsyncIterator[tuple[Browser, World, str]]:
    """A person of that role, what stands behind the pages, and a recorded interview."""
    made = world()
    interview = made.interviews.create(CaseNumber.parse(CASE), 1, BY_ROLE[Role.OPERATOR]).id
    await made.interviews.start(interview, BY_ROLE[Role.OPERATOR])
    await made.interviews.stop(interview, BY_ROLE[Role.OPERATOR])
    browser = Browser(create_app(made.services, settings()))
    await browser.sign_in(BY_ROLE[role].username)
    try:
        yield browser, made, interview
    finally:
        await browser.http.aclose()
