"""What each person does, page by page, over services in memory."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pyrage
import pytest

from api.routes.interviews import receipt_text
from api.services import Alarm, Interview, Lamp, Viewer
from evidence_store.identifiers import CaseNumber, new_interview_id
from evidence_store.interview import InterviewState
from evidence_store.people import Role
from tests.api.conftest import Browser, SignedIn
from tests.api.fake_people import BY_ROLE, CASE, NOON
from tests.api.fakes import World

SDP = b"v=0\r\no=- 1 1 IN IP4 0.0.0.0\r\n"


async def recorded(made: World) -> str:
    interview = made.interviews.create(CaseNumber.parse(CASE), 1, BY_ROLE[Role.OPERATOR]).id
    await made.interviews.start(interview, BY_ROLE[Role.OPERATOR])
    made.clock.pass_by(minutes=3)
    await made.interviews.stop(interview, BY_ROLE[Role.OPERATOR])
    return interview


async def test_operator_from_case_number_to_receipt(signed_in: SignedIn, made: World) -> None:
    operator = await signed_in(Role.OPERATOR)
    created = await operator.post("/afhoering", case_number=f" {CASE} ", child_ordinal="2")
    at = created.headers["location"]
    assert CASE not in at
    console = await operator.get(at)
    assert "Optager ikke" in console.text
    assert 'id="start-button"' in console.text
    assert (await operator.post(f"{at}/start")).headers["location"] == at
    made.clock.pass_by(minutes=12, seconds=33)
    console = await operator.get(at)
    assert 'data-lamp="recording"' in console.text
    assert "0:12:33" in console.text
    assert "Optagelse nr. 41" in console.text
    assert (await operator.post(f"{at}/stop")).headers["location"] == f"{at}/kvittering"
    receipt = await operator.get(f"{at}/kvittering")
    head = made.interviews.receipt(at.split("/")[-1]).takes[0].head.hex()
    assert all(head[i : i + 4] in receipt.text for i in range(0, 64, 4))
    code = await operator.get(f"{at}/kvittering.svg")
    assert code.headers["content-type"] == "image/svg+xml"
    assert code.text.startswith("<?xml")
    assert (await operator.get(at)).headers["location"] == f"{at}/kvittering"


async def test_the_qr_code_says_takes_and_heads_and_no_case_number(made: World) -> None:
    receipt = made.interviews.receipt(await recorded(made))
    text = receipt_text(receipt)
    assert text.splitlines()[0] == "vidne receipt 1"
    assert receipt.takes[0].head.hex() in text
    assert CASE not in text


@pytest.mark.parametrize(
    ("typed", "says"),
    [
        ("", "har ikke den rigtige form"),
        ("0100-83986-00001-1", "har ikke den rigtige form"),
        ("0100 83986 00001 17", "har ikke den rigtige form"),
        ("010170-1234", "CPR-nummer"),
        ("0101701234", "CPR-nummer"),
        ("<script>alert(1)</script>", "har ikke den rigtige form"),
    ],
)
async def test_case_number_refused_at_its_field(typed: str, says: str, signed_in: SignedIn, made: World) -> None:
    operator = await signed_in(Role.OPERATOR)
    answer = await operator.post("/afhoering", case_number=typed, child_ordinal="1")
    assert answer.status_code == 422
    assert says in answer.text
    assert 'class="form-error-message" id="case_number-error"' in answer.text
    assert 'href="#case_number"' in answer.text
    assert 'aria-invalid="true"' in answer.text
    assert "<script>alert" not in answer.text
    if "CPR" in says:
        assert typed not in answer.text
    assert not made.interviews.all


@pytest.mark.parametrize("ordinal", ["0", "100", "-1", "to", "²", ""])
async def test_child_ordinal_refused(ordinal: str, signed_in: SignedIn, made: World) -> None:
    operator = await signed_in(Role.OPERATOR)
    answer = await operator.post("/afhoering", case_number=CASE, child_ordinal=ordinal)
    assert answer.status_code == 422
    assert 'id="child_ordinal-error"' in answer.text
    assert CASE in answer.text
    assert not made.interviews.all


async def test_the_same_child_twice(signed_in: SignedIn) -> None:
    operator = await signed_in(Role.OPERATOR)
    assert (await operator.post("/afhoering", case_number=CASE, child_ordinal="1")).status_code == 303
    assert (await operator.post("/afhoering", case_number=CASE, child_ordinal="1")).status_code == 409
    assert (await operator.post("/afhoering", case_number=CASE, child_ordinal="2")).status_code == 303


async def test_a_failed_check_is_shown_overridden_with_one_press_and_explained_afterwards(
    signed_in: SignedIn, made: World
) -> None:
    operator = await signed_in(Role.OPERATOR)
    at = (await operator.post("/afhoering", case_number=CASE, child_ordinal="1")).headers["location"]
    assert "Optag alligevel" not in (await operator.get(at)).text
    made.room.connected = False
    page = (await operator.get(at)).text
    assert "Et kamera sender ikke." in page
    assert "Optag alligevel" in page
    assert (await operator.post(f"{at}/start")).status_code == 303
    interview = at.rsplit("/", 1)[1]
    made.interviews.all[interview] = replace(made.interviews.all[interview], overridden=("camera-lost",))
    assert 'name="reason"' in (await operator.get(at)).text
    refused = await operator.post(f"{at}/begrundelse", reason="nej")
    assert refused.status_code == 422
    assert 'id="reason-error"' in refused.text
    said = "Barnet var kommet, kameraet kom til efter et minut"
    assert (await operator.post(f"{at}/begrundelse", reason=said)).status_code == 303
    assert made.interviews.reasons == [said]
    assert 'name="reason"' not in (await operator.get(at)).text


async def test_what_the_room_began_by_itself_gets_its_case_number_from_a_person(
    signed_in: SignedIn, made: World
) -> None:
    operator, prosecutor = await signed_in(Role.OPERATOR), await signed_in(Role.PROSECUTOR)
    alone = Interview(new_interview_id(), None, None, InterviewState.SEALED, NOON, "", emergency=True)
    made.interviews.all[alone.id] = alone
    overview = (await operator.get("/afhoering")).text
    assert "Nødoptagelse uden journalnummer" in overview
    assert (await prosecutor.get(f"/sager/{alone.id}")).status_code == 404
    form = f"/afhoering/{alone.id}/journalnummer"
    refused = await operator.post(form, case_number="010203-1234", child_ordinal="1")
    assert refused.status_code == 422
    assert "010203" not in refused.text
    assert (await operator.post(form, case_number=CASE, child_ordinal="2")).status_code == 303
    assert (await operator.post(form, case_number=CASE, child_ordinal="3")).status_code == 409
    assert (await prosecutor.get(f"/sager/{alone.id}")).status_code == 200


async def test_room_busy_with_another_interview(signed_in: SignedIn, made: World) -> None:
    operator = await signed_in(Role.OPERATOR)
    first = (await operator.post("/afhoering", case_number=CASE, child_ordinal="1")).headers["location"]
    second = (await operator.post("/afhoering", case_number=CASE, child_ordinal="2")).headers["location"]
    await operator.post(f"{first}/start")
    page = await operator.get(second)
    assert 'id="start-button"' not in page.text
    assert 'id="stop-button"' not in page.text
    assert first in page.text
    assert (await operator.post(f"{second}/stop")).status_code == 409
    assert made.room.lamp is Lamp.RECORDING


@pytest.mark.parametrize(
    ("lamp", "word"),
    [
        (Lamp.IDLE, "Optager ikke"),
        (Lamp.RECORDING, "Optager"),
        (Lamp.NOT_DURABLE, "Optagelsen er ikke sikret"),
        (Lamp.ALARM, "Alarm"),
    ],
)
async def test_the_lamp_speaks_in_words_class_and_sign(lamp: Lamp, word: str, signed_in: SignedIn, made: World) -> None:
    made.room.lamp = lamp
    operator = await signed_in(Role.OPERATOR)
    fragment = (await operator.get("/rum/afhoering?interview=x")).text
    assert f"lamp--{lamp}" in fragment
    assert f">{word}<" in fragment
    assert 'role="status"' in fragment


async def test_an_unknown_state_is_never_shown_as_the_last_known(signed_in: SignedIn, made: World) -> None:
    made.room.lamp = Lamp.RECORDING
    made.room.reachable = False
    operator = await signed_in(Role.OPERATOR)
    for view in ("afhoering", "monitorrum"):
        fragment = await operator.get(f"/rum/{view}")
        assert fragment.status_code == 200
        assert "Tilstanden er ukendt" in fragment.text
        assert "lamp--recording" not in fragment.text


async def test_alarms_and_viewers_are_shown_in_danish(signed_in: SignedIn, made: World) -> None:
    made.room.alarms = (Alarm("camera-lost", NOON, "Nær"), Alarm("never-heard-of", NOON))
    made.room.viewers = (Viewer("Birk <Børnehus>", Role.HOUSE_STAFF, NOON - timedelta(minutes=3)),)
    operator = await signed_in(Role.OPERATOR)
    fragment = (await operator.get("/rum/afhoering")).text
    assert "Kameraet sender ikke." in fragment
    assert "never-heard-of" in fragment
    assert "Birk &lt;Børnehus&gt;" in fragment
    assert "Børnehusmedarbejder · siden 12.57" in fragment


async def test_watching_live(signed_in: SignedIn, made: World) -> None:
    staff = await signed_in(Role.HOUSE_STAFF)
    answer = await staff.send("POST", "/live/rum-1/wide", SDP, **{"Content-Type": "application/sdp"})
    assert answer.status_code == 201
    assert answer.headers["content-type"].startswith("application/sdp")
    at = answer.headers["location"]
    assert at.startswith("/live/rum-1/wide/")
    assert (await staff.send("PUT", f"{at}/lease")).status_code == 204
    other = await signed_in(Role.PROSECUTOR)
    assert (await other.send("PUT", f"{at}/lease")).status_code == 404
    assert (await staff.send("DELETE", at)).status_code == 200
    assert (await staff.send("PUT", f"{at}/lease")).status_code == 404


async def test_what_live_refuses(signed_in: SignedIn, made: World) -> None:
    staff = await signed_in(Role.HOUSE_STAFF)
    sdp = {"Content-Type": "application/sdp"}
    assert (await staff.send("POST", "/live/rum-1/wide", SDP)).status_code == 415
    assert (await staff.send("POST", "/live/rum-1/wide", b"hello", **sdp)).status_code == 400
    assert (await staff.send("POST", "/live/rum-1/wide", SDP + b"a" * 40_000, **sdp)).status_code == 413
    assert (await staff.send("POST", "/live/rum-2/wide", SDP, **sdp)).status_code == 404
    assert (await staff.send("POST", "/live/rum-1/..%2fadmin", SDP, **sdp)).status_code in (404, 405, 422)
    made.live.cut = True
    waiting = await staff.send("POST", "/live/rum-1/wide", SDP, **sdp)
    assert (waiting.status_code, waiting.headers["retry-after"]) == (409, "1")
    assert not made.live.sessions


async def test_prosecutor_from_case_to_media(signed_in: SignedIn, made: World) -> None:
    interview = await recorded(made)
    prosecutor = await signed_in(Role.PROSECUTOR)
    found = await prosecutor.post("/sager", case_number=CASE)
    assert f"/sager/{interview}" in found.text
    case = await prosecutor.get(f"/sager/{interview}")
    assert "Kameraet var afbrudt" in case.text
    assert "Nær, billede" in case.text
    assert "<video" not in case.text
    opened = await prosecutor.post(f"/sager/{interview}/gennemsyn", purpose="  Vurdering af\n tiltale ")
    at = opened.headers["location"]
    (viewing,) = made.media.viewings.values()
    assert viewing.purpose == "Vurdering af tiltale"
    player = await prosecutor.get(at)
    assert "autoplay" not in player.text
    (take,) = (await prosecutor.get(f"{at}/indeks")).json()
    assert take["ordinal"] == 1
    assert take["tracks"][0]["segments"][1] == {
        "number": 1,
        "epoch": 0,
        "start": 180_000,
        "duration": 180_000,
        "key_frames": [180_000, 270_000],
    }
    assert take["gaps"][0]["reason"] == "reconnect"
    assert (await prosecutor.get(f"{at}/1/wide-video/init/0")).content == b"init"
    segment = await prosecutor.get(f"{at}/1/wide-video/3")
    assert (segment.content, segment.headers["cache-control"]) == (b"media", "no-store")


async def test_no_viewing_without_a_purpose(signed_in: SignedIn, made: World) -> None:
    interview = await recorded(made)
    prosecutor = await signed_in(Role.PROSECUTOR)
    for purpose in ("", "   x  ", "a" * 501, "Vedr. 010170-1234"):
        answer = await prosecutor.post(f"/sager/{interview}/gennemsyn", purpose=purpose)
        assert answer.status_code == 422
        assert 'id="purpose-error"' in answer.text
    assert "010170" not in answer.text
    assert not made.media.viewings


async def test_a_viewing_is_one_persons_and_ends(signed_in: SignedIn, made: World) -> None:
    interview = await recorded(made)
    prosecutor = await signed_in(Role.PROSECUTOR)
    other = made.media.open_viewing(interview, BY_ROLE[Role.OPERATOR], "En andens", made.clock())
    assert (await prosecutor.get(f"/gennemsyn/{other.id}/indeks", accept="*/*")).status_code == 404
    assert (await prosecutor.get(f"/gennemsyn/{other.id}/1/wide-video/0", accept="*/*")).status_code == 404
    mine = made.media.open_viewing(interview, BY_ROLE[Role.PROSECUTOR], "Min egen", made.clock())
    made.media.viewings[mine.id] = mine
    made.clock.pass_by(minutes=55)
    assert (await prosecutor.get(f"/gennemsyn/{mine.id}/1/wide-video/0")).status_code == 200
    made.clock.pass_by(minutes=55)
    await prosecutor.get("/sager")
    made.clock.pass_by(minutes=11)
    expired = await prosecutor.get(f"/gennemsyn/{mine.id}/1/wide-video/0", accept="*/*")
    assert (expired.status_code, expired.json()["code"]) == (403, "purpose-expired")


async def test_a_damaged_segment_gives_a_problem_and_no_media(signed_in: SignedIn, made: World) -> None:
    interview = await recorded(made)
    made.media.damaged = {2}
    prosecutor = await signed_in(Role.PROSECUTOR)
    viewing = made.media.open_viewing(interview, BY_ROLE[Role.PROSECUTOR], "Gennemsyn", made.clock())
    answer = await prosecutor.get(f"/gennemsyn/{viewing.id}/1/wide-video/2", accept="*/*")
    assert answer.status_code == 500
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["title"] == "Kontrollen af beviset fejlede"
    assert (await prosecutor.get(f"/gennemsyn/{viewing.id}/1/wide-video/3")).status_code == 200


async def test_custody_chain(signed_in: SignedIn, made: World) -> None:
    interview = await recorded(made)
    page = await (await signed_in(Role.OPERATOR)).get(f"/sager/{interview}/beviskaede")
    for words in ("Optagelse begyndt", "Optageren", "Lageret", "Vurdering af tiltalespørgsmålet", "1295"):
        assert words in page.text


async def copy_form(browser: Browser, interview: str, **form: str) -> tuple[int, str]:
    answer = await browser.post(f"/sager/{interview}/kopi", **form)
    return answer.status_code, answer.text


async def test_copy_from_order_to_download(signed_in: SignedIn, made: World) -> None:
    interview = await recorded(made)
    prosecutor = await signed_in(Role.PROSECUTOR)
    key = str(pyrage.x25519.Identity.generate().to_public())
    ordered = await prosecutor.post(f"/sager/{interview}/kopi", purpose="Fremlæggelse i retten", recipient=f" {key}\n")
    at = ordered.headers["location"]
    assert "Danner visningskopi" in (await prosecutor.get(at)).text
    state = (await prosecutor.get(f"{at}/tilstand")).text
    assert 'value="42"' in state
    assert "hx-get" in state
    assert (await prosecutor.get(f"{at}/hent", accept="*/*")).status_code == 409
    made.copies.finish(at.split("/")[-1])
    state = (await prosecutor.get(f"{at}/tilstand")).text
    assert "hx-get" not in state
    download = await prosecutor.get(f"{at}/hent")
    assert download.content == made.copies.content
    assert download.headers["content-length"] == str(len(made.copies.content))
    assert "attachment" in download.headers["content-disposition"]
    assert CASE not in str(download.headers)


async def test_copy_forms_errors(signed_in: SignedIn, made: World) -> None:
    interview = await recorded(made)
    prosecutor = await signed_in(Role.PROSECUTOR)
    good = str(pyrage.x25519.Identity.generate().to_public())
    mistyped = good[:-1] + ("p" if good.endswith("q") else "q")
    secret = str(pyrage.x25519.Identity.generate())
    status, text = await copy_form(prosecutor, interview, purpose="", recipient="")
    assert status == 422
    assert 'id="purpose-error"' in text
    assert 'id="recipient-error"' in text
    status, text = await copy_form(prosecutor, interview, purpose="I retten", recipient=mistyped)
    assert (status, 'id="recipient-error"' in text, 'id="purpose-error"' in text) == (422, True, False)
    status, text = await copy_form(prosecutor, interview, purpose="I retten", recipient=secret)
    assert "Det er en hemmelig nøgle" in text
    assert secret not in text
    assert not made.copies.all


async def test_the_administrator_sees_no_case(signed_in: SignedIn, made: World) -> None:
    interview = made.interviews.create(CaseNumber.parse(CASE), 1, BY_ROLE[Role.OPERATOR]).id
    await made.interviews.start(interview, BY_ROLE[Role.OPERATOR])
    administrator = await signed_in(Role.ADMINISTRATOR)
    for path in ("/system", "/rum/system"):
        page = (await administrator.get(path)).text
        assert CASE not in page
        assert interview not in page
