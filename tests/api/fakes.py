"""The services in memory: what the pages need, and nothing that a real part of Vidne promises."""

from __future__ import annotations

from dataclasses import dataclass, replace

from api.identity.attempts import Attempts
from api.identity.sessions import PasswordAccounts
from api.services import (
    Services,
    WebSettings,
)
from tests.api.fake_people import Clock, MemoryAccounts, cheap_passwords
from tests.api.fake_room import FakeInterviews, FakeLive, FakeRoom
from tests.api.fake_store import FakeCopies, FakeCustody, FakeMedia, FakeRetention, FakeStore


@dataclass
class World:
    """Every fake, reachable by name, behind one `Services`."""

    clock: Clock
    accounts: MemoryAccounts
    room: FakeRoom
    interviews: FakeInterviews
    live: FakeLive
    media: FakeMedia
    copies: FakeCopies
    custody: FakeCustody
    retention: FakeRetention
    store: FakeStore
    services: Services


def world() -> World:
    clock = Clock()
    passwords = cheap_passwords()
    repository = MemoryAccounts(passwords)
    room = FakeRoom(clock)
    interviews = FakeInterviews(clock, room)
    live, media, copies, custody = FakeLive(), FakeMedia(clock), FakeCopies(clock), FakeCustody()
    store = FakeStore()
    retention = FakeRetention(clock)
    services = Services(
        PasswordAccounts(repository, passwords, Attempts()),
        interviews,
        room,
        live,
        media,
        copies,
        custody,
        store,
        clock,
        retention,
    )
    return World(clock, repository, room, interviews, live, media, copies, custody, retention, store, services)


def settings(**changes: object) -> WebSettings:
    base = WebSettings(house="Børnehus Demo", hosts=("testserver", "127.0.0.1", "localhost"))
    return replace(base, **changes)  # type: ignore[arg-type]
