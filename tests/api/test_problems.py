"""Problem details for programs, pages for people, and one table for both."""

from __future__ import annotations

import inspect

import pytest

from api.problems import PROBLEMS, problem_code
from api.web import words
from evidence_store import errors
from evidence_store.custody import Verb
from evidence_store.errors import CiphertextInvalid, NoSpace, VidneError
from evidence_store.interview import InterviewState
from evidence_store.people import Role
from tests.api.conftest import Browser, SignedIn
from tests.api.fakes import World


def test_every_error_of_the_tree_has_a_row() -> None:
    for _, kind in inspect.getmembers(errors, inspect.isclass):
        if issubclass(kind, VidneError) and kind is not VidneError:
            assert PROBLEMS[problem_code(kind("x"))].status >= 400


@pytest.mark.parametrize("code", PROBLEMS)
def test_every_problem_tells_what_to_do(code: str) -> None:
    problem = PROBLEMS[code]
    assert 400 <= problem.status < 600
    assert not problem.title.endswith(".")
    assert problem.safe or problem.next
    for sentence in (problem.safe, problem.next):
        assert sentence == "" or sentence.endswith(".")


def test_a_codes_own_row_wins_over_its_place_in_the_tree() -> None:
    assert problem_code(NoSpace("full")) == "no-space"
    assert problem_code(CiphertextInvalid("cut")) == "tampered"
    assert problem_code(errors.Conflict("x", code="room-busy")) == "room-busy"
    assert problem_code(errors.Conflict("x", code="something-new")) == "conflict"


def test_danish_for_every_word_of_the_field() -> None:
    assert set(Verb) == words.VERBS.keys()
    assert set(InterviewState) == words.INTERVIEW_STATES.keys()
    assert set(Role) == words.ROLES.keys()


async def test_problem_details_for_programs(anybody: Browser) -> None:
    answer = await anybody.get("/nowhere", accept="application/json")
    assert answer.status_code == 404
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json() == {
        "type": "urn:vidne:problem:not-found",
        "title": "Siden findes ikke",
        "status": 404,
        "detail": "Gå tilbage til forsiden.",
        "code": "not-found",
    }


async def test_a_page_for_people(anybody: Browser) -> None:
    answer = await anybody.get("/nowhere")
    assert answer.status_code == 404
    assert "<h1>Siden findes ikke</h1>" in answer.text


async def test_denied_page_keeps_the_menu_and_says_the_attempt_is_logged(signed_in: SignedIn, made: World) -> None:
    answer = await (await signed_in(Role.HOUSE_STAFF)).get("/sager")
    assert answer.status_code == 403
    assert "Forsøget er skrevet i loggen" in answer.text
    assert 'href="/monitorrum"' in answer.text
    assert made.custody.denials == [("a2", "interview:case:read")]


async def test_an_unexpected_error_says_nothing_of_itself(signed_in: SignedIn, made: World) -> None:
    def broken(limit: int) -> list[object]:
        raise RuntimeError("secret detail 0100-83986-00001-17")

    made.interviews.recent = broken  # type: ignore[assignment,method-assign]
    operator = await signed_in_without_front(signed_in)
    answer = await operator.get("/afhoering", accept="application/json")
    assert answer.status_code == 500
    assert "secret" not in answer.text
    assert len(answer.json()["reference"]) == 8
    assert answer.headers["x-content-type-options"] == "nosniff"


async def test_the_log_tells_where_and_not_what(
    signed_in: SignedIn, made: World, capsys: pytest.CaptureFixture[str]
) -> None:
    def broken(interview: str) -> object:
        raise RuntimeError("secret detail 0100-83986-00001-17")

    made.interviews.get = broken  # type: ignore[assignment,method-assign]
    operator = await signed_in(Role.OPERATOR)
    assert (await operator.get("/afhoering/x")).status_code == 500
    logged = capsys.readouterr().out
    assert "broken:" in logged
    assert "secret" not in logged


async def signed_in_without_front(signed_in: SignedIn) -> Browser:
    browser = await signed_in(Role.HOUSE_STAFF)
    await browser.http.post("/log-ind", data={"username": "tekniker", "password": "børnehus-demo"})
    return browser


async def test_methods_and_input_of_the_wrong_kind(signed_in: SignedIn) -> None:
    prosecutor = await signed_in(Role.PROSECUTOR)
    assert (await prosecutor.get("/gennemsyn/x/one/t/2", accept="*/*")).status_code == 422
    wrong = await prosecutor.send("PUT", "/sager", accept="*/*")
    assert (wrong.status_code, wrong.json()["code"]) == (405, "method-not-allowed")
