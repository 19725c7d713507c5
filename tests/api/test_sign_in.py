"""Passwords, attempts and sessions."""

from __future__ import annotations

import hashlib
from dataclasses import replace

import pytest

from api.identity.attempts import FAILURES_PER_ADDRESS, FAILURES_PER_NAME, WINDOW, Attempts
from api.identity.passwords import Passwords
from evidence_store.people import Role
from tests.api.conftest import Browser, SignedIn
from tests.api.fake_people import NOON, PASSWORD, cheap_passwords
from tests.api.fakes import World


def test_passwords_are_argon2id_with_the_costs_of_rfc_9106() -> None:
    assert Passwords().hash("x").startswith("$argon2id$v=19$m=65536,t=3,p=4$")


def test_password_checks() -> None:
    passwords = cheap_passwords()
    stored = passwords.hash("rigtig hest")
    assert passwords.correct(stored, "rigtig hest")
    assert not passwords.correct(stored, "rigtig Hest")
    assert not passwords.correct(None, "the password of an account that does not exist")
    assert not passwords.correct(stored, "x" * 5000)
    with pytest.raises(ValueError, match="damaged"):
        passwords.correct("not a hash", "x")


def test_an_unknown_name_costs_the_same_work() -> None:
    class Counting:
        verified = 0

        def hash(self, password: str) -> str:
            return password

        def verify(self, stored: str, password: str) -> bool:
            self.verified += 1
            return True

    counting = Counting()
    passwords = Passwords(counting)  # type: ignore[arg-type]
    assert not passwords.correct(None, "guess")
    assert counting.verified == 1


def test_attempts_wait_for_one_name_and_let_others_in() -> None:
    attempts = Attempts()
    for _ in range(FAILURES_PER_NAME):
        assert attempts.wait("tove", "10.0.0.1", NOON) is None
        attempts.failed("tove", "10.0.0.1", NOON)
    assert attempts.wait("tove", "10.0.0.1", NOON) == WINDOW
    assert attempts.wait("tove", "10.0.0.2", NOON) is None
    assert attempts.wait("birk", "10.0.0.1", NOON) is None
    assert attempts.wait("tove", "10.0.0.1", NOON + WINDOW) is None


def test_attempts_wait_for_an_address_that_tries_many_names() -> None:
    attempts = Attempts()
    for number in range(FAILURES_PER_ADDRESS):
        attempts.failed(f"name{number}", "10.0.0.1", NOON)
    assert attempts.wait("somebody", "10.0.0.1", NOON) is not None
    assert attempts.wait("somebody", "10.0.0.2", NOON) is None


def test_attempts_are_bounded() -> None:
    attempts = Attempts(greatest=10)
    for number in range(1000):
        attempts.failed(f"name{number}", f"address{number}", NOON)
    assert len(attempts._failures) == 10


async def test_wrong_password_and_unknown_name_look_the_same(anybody: Browser) -> None:
    wrong = await anybody.sign_in("tekniker", "nej")
    unknown = await anybody.sign_in("ingen", "nej")
    assert wrong.status_code == unknown.status_code == 401
    assert wrong.text.replace("tekniker", "") == unknown.text.replace("ingen", "")
    assert "set-cookie" not in wrong.headers


async def test_too_many_attempts(anybody: Browser, made: World) -> None:
    for _ in range(FAILURES_PER_NAME):
        assert (await anybody.sign_in("tekniker", "nej")).status_code == 401
    assert (await anybody.sign_in("tekniker")).status_code == 429
    made.clock.pass_by(minutes=16)
    assert (await anybody.sign_in("tekniker")).status_code == 303


async def test_only_the_tokens_hash_is_stored(anybody: Browser, made: World) -> None:
    await anybody.sign_in("Tekniker ")
    token = anybody.http.cookies["vidne"]
    (digest,) = made.accounts.sessions
    assert digest == hashlib.sha256(token.encode()).digest()
    assert len(token) >= 43


async def test_idle_for_an_hour(signed_in: SignedIn, made: World) -> None:
    operator = await signed_in(Role.OPERATOR)
    made.clock.pass_by(minutes=59)
    assert (await operator.get("/afhoering")).status_code == 200
    made.clock.pass_by(minutes=59)
    assert (await operator.get("/afhoering")).status_code == 200
    made.clock.pass_by(minutes=61)
    assert (await operator.get("/afhoering")).headers["location"] == "/log-ind"


async def test_twelve_hours_at_most(signed_in: SignedIn, made: World) -> None:
    operator = await signed_in(Role.OPERATOR)
    for _ in range(23):
        made.clock.pass_by(minutes=30)
        assert (await operator.get("/afhoering")).status_code == 200
    made.clock.pass_by(minutes=31)
    assert (await operator.get("/afhoering")).status_code == 303


async def test_a_page_that_asks_by_itself_keeps_nobody_signed_in(signed_in: SignedIn, made: World) -> None:
    operator = await signed_in(Role.OPERATOR)
    for _ in range(5):
        made.clock.pass_by(minutes=10)
        assert (await operator.get("/rum/monitorrum")).status_code == 200
    made.clock.pass_by(minutes=11)
    answer = await operator.get("/rum/monitorrum", **{"HX-Request": "true"})
    assert answer.status_code == 401
    assert answer.headers["hx-redirect"] == "/log-ind"


async def test_watching_keeps_a_person_signed_in(signed_in: SignedIn, made: World) -> None:
    staff = await signed_in(Role.HOUSE_STAFF)
    made.live.sessions["abcdefgh12345678"] = "a2"
    for _ in range(8):
        made.clock.pass_by(minutes=30)
        assert (await staff.send("PUT", "/live/rum-1/wide/abcdefgh12345678/lease")).status_code == 204


async def test_one_write_a_minute(signed_in: SignedIn, made: World) -> None:
    operator = await signed_in(Role.OPERATOR)
    for _ in range(30):
        made.clock.pass_by(seconds=10)
        await operator.get("/afhoering")
    assert made.accounts.writes == 5


async def test_sign_out_ends_the_session_on_the_server(signed_in: SignedIn, made: World) -> None:
    operator = await signed_in(Role.OPERATOR)
    token = operator.http.cookies["vidne"]
    assert (await operator.post("/log-ud")).headers["location"] == "/log-ind"
    operator.http.cookies.set("vidne", token)
    assert (await operator.get("/afhoering")).status_code == 303
    assert not made.accounts.sessions


async def test_a_closed_account_is_out_at_once(signed_in: SignedIn, made: World) -> None:
    operator = await signed_in(Role.OPERATOR)
    stored = made.accounts.accounts["a1"]
    made.accounts.accounts["a1"] = replace(stored, account=replace(stored.account, active=False))
    assert (await operator.get("/afhoering")).status_code == 303
    assert (await operator.sign_in("tekniker", PASSWORD)).status_code == 401


async def test_every_role_has_a_front_page(signed_in: SignedIn) -> None:
    homes = {
        Role.OPERATOR: "/afhoering",
        Role.HOUSE_STAFF: "/monitorrum",
        Role.PROSECUTOR: "/monitorrum",
        Role.ADMINISTRATOR: "/system",
    }
    for role, home in homes.items():
        assert (await (await signed_in(role)).get("/")).headers["location"] == home
