"""The room's code: what opens, for how long, and how often somebody may be wrong."""

from __future__ import annotations

import re

import pytest

from api.identity.room_code import FAILURES, SESSION_SECONDS, WINDOW_SECONDS, RoomCode, new_code
from evidence_store.errors import NotAuthenticated

NOW = 1_795_000_000.0


def test_a_code_is_typed_as_people_type() -> None:
    code = new_code()
    assert re.fullmatch(r"[2-9A-HJKMNP-Z]{4}-[2-9A-HJKMNP-Z]{4}", code)
    room = RoomCode(code, "key")
    for typed in (code, code.lower(), code.replace("-", ""), f" {code.replace('-', ' ')} "):
        assert room.holds(room.open(typed, NOW), NOW)


def test_a_session_ends_by_itself_and_with_a_new_code() -> None:
    room = RoomCode("K7QF-2MXD", "key")
    token = room.open("k7qf2mxd", NOW)
    assert room.holds(token, NOW + SESSION_SECONDS - 1)
    assert not room.holds(token, NOW + SESSION_SECONDS)
    assert RoomCode("K7QF-2MXD", "key").holds(token, NOW), "a recorder that is started again asks nobody anew"
    assert not RoomCode("K7QF-2MXE", "key").holds(token, NOW)
    assert not RoomCode("K7QF-2MXD", "another").holds(token, NOW)


@pytest.mark.parametrize("token", [None, "", ".", "x.y.z", "9999999999.abc.", "9999999999.abc.æøå", "." * 300])
def test_what_is_no_session_holds_nothing(token: str | None) -> None:
    assert not RoomCode("K7QF-2MXD", "key").holds(token, NOW)


def test_a_session_cannot_be_made_longer() -> None:
    room = RoomCode("K7QF-2MXD", "key")
    expires, nonce, signature = room.open("K7QF-2MXD", NOW).split(".")
    assert not room.holds(f"{int(expires) + 1}.{nonce}.{signature}", NOW)


def test_after_some_wrong_codes_nobody_may_try_until_the_window_is_past() -> None:
    room = RoomCode("K7QF-2MXD", "key")
    for second in range(FAILURES):
        with pytest.raises(NotAuthenticated) as refused:
            room.open("AAAA-AAAA", NOW + second)
        assert refused.value.code == "room-code"
    with pytest.raises(NotAuthenticated) as refused:
        room.open("K7QF-2MXD", NOW + FAILURES)
    assert refused.value.code == "room-code-wait"
    assert room.open("K7QF-2MXD", NOW + WINDOW_SECONDS)
