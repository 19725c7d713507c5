"""The page for holds and erasure: what each person is offered, and what is asked of the store."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

from evidence_store.identifiers import CaseNumber
from evidence_store.interview import InterviewState
from evidence_store.people import Role
from tests.api.conftest import Browser, SignedIn
from tests.api.fake_people import BY_ROLE, CASE
from tests.api.fakes import World


def page_of(made: World) -> str:
    interview = made.interviews.create(CaseNumber.parse(CASE), 1, BY_ROLE[Role.OPERATOR])
    made.interviews.all[interview.id] = replace(interview, state=InterviewState.SEALED)
    return f"/sager/{interview.id}"


async def test_held_released_and_asked_for(made: World, signed_in: SignedIn) -> None:
    here, anna = page_of(made), await signed_in(Role.PROSECUTOR)
    assert "Indstil til sletning" in (await anna.get(f"{here}/sletning")).text
    assert (await anna.post(f"{here}/spaerring", reason="Anke over dommen")).status_code == 303
    page = (await anna.get(f"{here}/sletning")).text
    assert "Anke over dommen" in page
    assert (await anna.post(f"{here}/spaerring/{'1' * 32}/ophaev", reason="Anken er hævet")).status_code == 303
    assert (await anna.post(f"{here}/sletning", reason="Sagen er endeligt afsluttet")).status_code == 303
    assert made.retention.asked == [
        ("hold", "Anke over dommen"), ("release", "Anken er hævet"), ("request", "Sagen er endeligt afsluttet"),
    ]  # fmt: skip


async def test_whoever_asked_is_not_offered_to_approve(made: World, signed_in: SignedIn) -> None:
    here, anna = page_of(made), await signed_in(Role.PROSECUTOR)
    await anna.post(f"{here}/sletning", reason="Sagen er endeligt afsluttet")
    page = (await anna.get(f"{here}/sletning")).text
    assert "En anden person skal godkende det" in page
    assert "slet for altid" not in page
    refused = await anna.post(f"{here}/sletning/godkend")
    assert refused.status_code == 409
    assert "En anden person skal godkende sletningen" in refused.text
    made.retention.keeping = replace(made.retention.keeping, requested_by_id="another", requested_by="Bo Anklager")
    assert "slet for altid" in (await anna.get(f"{here}/sletning")).text
    assert (await anna.post(f"{here}/sletning/godkend")).status_code == 303
    assert (await anna.post(f"{here}/sletning/tilbage")).status_code == 303
    assert [each[0] for each in made.retention.asked] == ["request", "approve", "withdraw"]


async def test_a_reason_is_needed_and_no_cpr_number_is_kept(made: World, signed_in: SignedIn) -> None:
    here, anna = page_of(made), await signed_in(Role.PROSECUTOR)
    for path in ("spaerring", "sletning", f"spaerring/{'1' * 32}/ophaev"):
        for reason in ("", "nej", "Barnet 010203-1234"):
            answer = await anna.post(f"{here}/{path}", reason=reason)
            assert answer.status_code == 422
            assert "010203" not in answer.text
    assert made.retention.asked == []


async def test_before_its_time_the_day_is_shown_and_nothing_offered(made: World, signed_in: SignedIn) -> None:
    here, anna = page_of(made), await signed_in(Role.PROSECUTOR)
    made.retention.keeping = replace(made.retention.keeping, until=made.clock() + timedelta(days=400))
    page = (await anna.get(f"{here}/sletning")).text
    assert "skal gemmes til 7. april 2027" in page
    assert "Indstil til sletning" not in page


async def test_what_was_erased_says_so_everywhere(made: World, signed_in: SignedIn) -> None:
    here, anna = page_of(made), await signed_in(Role.PROSECUTOR)
    interview = here.removeprefix("/sager/")
    made.interviews.all[interview] = replace(made.interviews.all[interview], state=InterviewState.ERASED)
    made.retention.keeping = replace(made.retention.keeping, erased_at=made.clock())

    def no_media(_: str) -> object:
        raise AssertionError("nothing is opened of it")

    made.media.index = no_media  # type: ignore[assignment,method-assign]
    case = await anna.get(here)
    assert (case.status_code, "Optagelsen er slettet" in case.text) == (200, True)
    page = (await anna.get(f"{here}/sletning")).text
    assert "Nøglen blev tilintetgjort" in page
    assert "Spær mod sletning" not in page


async def test_one_without_a_case_number_is_nobodys_to_decide_on(made: World, signed_in: SignedIn) -> None:
    here, anna = page_of(made), await signed_in(Role.PROSECUTOR)
    interview = here.removeprefix("/sager/")
    made.interviews.all[interview] = replace(made.interviews.all[interview], case_number=None)
    assert (await anna.get(f"{here}/sletning")).status_code == 404
    assert (await anna.post(f"{here}/spaerring", reason="Anke over dommen")).status_code == 404
    assert made.retention.asked == []


async def test_the_tab_is_there_for_prosecutors_only(made: World, signed_in: SignedIn) -> None:
    here = page_of(made)
    prosecutor: Browser = await signed_in(Role.PROSECUTOR)
    operator: Browser = await signed_in(Role.OPERATOR)
    assert "/sletning" in (await prosecutor.get(here)).text
    assert "/sletning" not in (await operator.get(f"{here}/beviskaede")).text
