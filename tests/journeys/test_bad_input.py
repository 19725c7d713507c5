"""What comes in wrong gets a clear answer, and the recording that runs meanwhile does not notice."""

from __future__ import annotations

import json

import pytest
from sqlalchemy import func, select

from api.wiring import open_store
from evidence_store.database.schema import CustodyEventRow, InterviewRow
from tests.journeys.clear_media import files_of
from tests.journeys.conftest import CASE_NUMBER, RECORDED_AT_LEAST, Journey
from tests.journeys.stage import post

IN_SESSION = pytest.mark.asyncio(loop_scope="session")
CPR = "010190-1234"
ANSWERS = {
    "whip: no token": 401,
    "whip: wrong token": 401,
    "whip: another camera's token": 401,
    "whip: malformed": 400,
    "whip: not text": 400,
    "whip: empty": 400,
    "whip: oversized": 413,
    "whip: not SDP": 415,
    "whip: a second publisher": 409,
    "room: wrong token": 401,
    "live: malformed": 400,
    "live: not SDP at all": 400,
    "live: oversized": 413,
    "live: wrong role": 403,
    "room: busy": 409,
}


@IN_SESSION
@pytest.mark.parametrize("what", ANSWERS)
async def test_a_clear_answer_while_recording(journey: Journey, what: str) -> None:
    reply = journey.replies[what]
    assert reply.status_code == ANSWERS[what], reply.text[:500]
    if what == "room: busy":
        assert "Rummet optager allerede en anden afhøring" in reply.text
    else:
        assert reply.headers["content-type"].startswith("application/problem+json")
        assert reply.json()["status"] == reply.status_code
        assert reply.json()["code"]


def test_the_recording_did_not_notice(journey: Journey) -> None:
    """One take, one connection a camera from the start to the camera's own end, no gap."""
    manifest = json.loads((journey.package / "evidence" / "manifest.json").read_bytes())
    (take,) = manifest["takes"]
    assert take["how"] == "stopped"
    (journal,) = (journey.package / "evidence").rglob("journal.jsonl")
    events = [event for line in journal.read_text().splitlines() for event in _events(json.loads(line))]
    connections = [event for event in events if event["type"] == "connection"]
    assert {event["camera"] for event in connections[:2] if event["connected"]} == {"wide", "close"}
    assert {event["reason"] for event in connections[2:]} == {"ended-by-camera"}
    # What is declared is only what came after: the cameras stopped before the recording did.
    gaps = manifest["gaps"]
    assert sorted((gap["track"], gap["reason"]) for gap in gaps) == [
        (track, "no-connection") for track in ("close-video", "wide-audio", "wide-video")
    ]
    started = int(next(event["utc"] for event in events if event["type"] == "origin"))
    assert min(int(gap["from"]) for gap in gaps) - started > RECORDED_AT_LEAST * 1e9


def _events(line: dict[str, object]) -> list[dict[str, str]]:
    record = line.get("record", line)
    assert isinstance(record, dict)
    events: list[dict[str, str]] = record["events"]
    return events


@IN_SESSION
@pytest.mark.parametrize(
    ("who", "path"),
    [
        ("staff", "/sager"),
        ("staff", "/afhoering"),
        ("staff", "/system"),
        ("operator", "/sager"),
        ("prosecutor", "/afhoering"),
        ("prosecutor", "/system"),
        ("administrator", "/sager"),
        ("administrator", "/afhoering"),
        ("administrator", "/monitorrum"),
    ],
)
async def test_a_page_of_another_role_is_refused_and_the_attempt_recorded(
    journey: Journey, who: str, path: str
) -> None:
    before = denied(journey)
    reply = await getattr(journey.people, who).send("GET", path, None, {"Accept": "text/html"})
    assert reply.status_code == 403
    assert "Du har ikke adgang til denne side" in reply.text
    assert denied(journey) == before + 1


@IN_SESSION
async def test_another_role_learns_nothing_of_an_interview(journey: Journey) -> None:
    base = f"/sager/{journey.interview}"
    for path in (base, f"{base}/beviskaede", f"{base}/kopi"):
        reply = await journey.people.staff.send("GET", path, None, {"Accept": "text/html"})
        assert reply.status_code == 403
        assert CASE_NUMBER not in reply.text


@IN_SESSION
@pytest.mark.parametrize(
    ("typed", "words"),
    [
        (CPR, "Feltet ser ud til at indeholde et CPR-nummer"),
        ("0101901234", "Feltet ser ud til at indeholde et CPR-nummer"),
        (f"0100-83986-00001-26 {CPR}", "Feltet ser ud til at indeholde et CPR-nummer"),
        ("0100-83986-1-26", "Journalnummeret har ikke den rigtige form"),
        ("", "Journalnummeret har ikke den rigtige form"),
        ("<script>alert(1)</script>", "Journalnummeret har ikke den rigtige form"),
    ],
)
async def test_what_is_no_case_number(journey: Journey, typed: str, words: str) -> None:
    before = interviews(journey)
    for visitor, path in ((journey.people.operator, "/afhoering"), (journey.people.prosecutor, "/sager")):
        reply = await post(visitor, path, path, case_number=typed, child_ordinal="1")
        assert reply.status_code == 422
        assert words in reply.text
        assert "010190" not in reply.text
        assert "<script>alert" not in reply.text
    assert interviews(journey) == before


@IN_SESSION
async def test_a_cpr_number_stays_nowhere(journey: Journey) -> None:
    """As case number, child, purpose: in no answer, no log, no database."""
    base = f"/sager/{journey.interview}"
    prosecutor = journey.people.prosecutor
    replies = [
        await post(journey.people.operator, "/afhoering", "/afhoering", case_number=CPR, child_ordinal="1"),
        await post(journey.people.operator, "/afhoering", "/afhoering", case_number=CASE_NUMBER, child_ordinal=CPR),
        await post(prosecutor, f"{base}/gennemsyn", base, purpose=f"Gennemsyn for {CPR}"),
        await post(prosecutor, f"{base}/kopi", f"{base}/kopi", purpose=f"Kopi til {CPR}", recipient="age1x"),
    ]
    assert [reply.status_code for reply in replies] == [422] * 4
    assert not any(CPR in reply.text or "0101901234" in reply.text for reply in replies)
    needles = [CPR.encode(), b"0101901234"]
    kept = [path for path in files_of(journey.places) if any(each in path.read_bytes() for each in needles)]
    assert kept == []


@IN_SESSION
async def test_no_case_number_and_no_name_in_the_log(journey: Journey) -> None:
    log = (journey.house.settings.data / "house.log").read_text()
    assert log.count("\n") > 3
    for word in (CASE_NUMBER, "83986", "Ida Optager", "Anna Anklager", "demo-operator"):
        assert word not in log
    assert not any(CASE_NUMBER in str(path) for path in files_of(journey.places))


def denied(journey: Journey) -> int:
    return _count(
        journey, select(func.count()).select_from(CustodyEventRow).where(CustodyEventRow.verb == "access:denied")
    )


def interviews(journey: Journey) -> int:
    return _count(journey, select(func.count()).select_from(InterviewRow))


def _count(journey: Journey, query: object) -> int:
    store = open_store(journey.house.settings)
    with store.book.reading() as session:
        found = session.scalar(query)  # type: ignore[call-overload]
    store.book.database.close()
    return int(found)
