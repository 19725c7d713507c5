"""WHEP, row by row: what is asked, what must come, and where it is written (draft-ietf-wish-whep-03 unless another).

Each row is asked over HTTP of a monitor room that is fed one camera, `wide` (FFmpeg's: H.264 and Opus), and has one
session; a camera `close` sends nothing. That pictures flow then is shown in test_watching.py and tests/clients.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

import httpx
import pytest

from api.routes.whep import whep_routes
from monitor_room.fanout import Fanout
from monitor_room.roster import Roster
from monitor_room.whep import WhepEndpoint
from recorder.feed import FeedTrack
from recorder.sdp import LIMIT, parse_offer
from tests.clients.offers import offer
from tests.recorder_webrtc import rig
from tests.recorder_webrtc.test_whip_table import HOST, MDNS, TCP, trickle

SDP, FRAGMENT = "application/sdp", "application/trickle-ice-sdpfrag"
BEARER = "Bearer monitor-token"
CLOSE, WIDE, SESSION = "/whep/close", "/whep/wide", "{session}"
UNKNOWN = "/whep/wide/" + "A" * 43
CHROMIUM = offer("chromium-view")
NO_H264 = offer("gstreamer-view").replace("H264/", "VP8/")
ONLY_SOUND = (
    offer("gstreamer-view").split("m=video")[0].replace("video0 ", "")
    + "m=audio 9"
    + CHROMIUM.split("m=audio 9")[1].replace("a=mid:1", "a=mid:audio1")
)
POSTED = {"location": "http://monitor/whep/wide/", "etag": '"', "accept-patch": FRAGMENT, "vidne-lease": "15"}
ANSWER = {"content-type": SDP} | POSTED
OFFER = {"content-type": f'{SDP}; valid-until="'} | POSTED
LATER = {"retry-after": "2"}


@dataclass(frozen=True)
class Row:
    """As in tests/recorder_webrtc/test_whip_table.py; `words`: what a refusal must say."""

    name: str
    where: str
    method: str
    at: str
    status: int
    code: str | None = None
    content_type: str | None = None
    body: str | bytes | None = None
    token: str | None = BEARER
    if_match: str | None = None
    accept: str | None = None
    viewer: str | None = "account-1"
    gives: dict[str, str] = field(default_factory=dict)
    words: str = ""
    candidates: tuple[str, ...] | None = None


def post(name: str, where: str, status: int, body: str | bytes, code: str | None = None, **more: Any) -> Row:
    fixed = {"at": WIDE, "content_type": SDP, "body": body, "gives": ANSWER if status == 201 else {}}
    return Row(name, where, "POST", status=status, code=code, **(fixed | more))


def patch(name: str, where: str, status: int, body: str | bytes, code: str | None = None, **more: Any) -> Row:
    fixed = {"at": SESSION, "content_type": FRAGMENT, "body": body, "if_match": "{etag}"}
    return Row(name, where, "PATCH", status=status, code=code, **(fixed | more))


SET_UP, ICE, USAGE, BUNDLE, TOKEN = "4.2", "4.4.2", "4.4.1", "4.5.1", "4.8.1"
TABLE = [
    *(
        post(f"offer of {name}", SET_UP, 201, offer(name))
        for name in ("chromium-view", "safari-view", "gstreamer-view")
    ),
    post("sendrecv", SET_UP, 201, CHROMIUM.replace("recvonly", "sendrecv")),
    post("sendonly", SET_UP, 422, CHROMIUM.replace("recvonly", "sendonly"), "wrong-direction"),
    post("inactive", SET_UP, 422, CHROMIUM.replace("recvonly", "inactive"), "wrong-direction"),
    post("wrong content type", SET_UP, 415, CHROMIUM, "not-sdp", content_type="text/plain"),
    post("not SDP", SET_UP, 400, "hello", "sdp-malformed"),
    post("too large", "9110 15.5.14", 413, "v=0\r\n" + "a" * LIMIT, "sdp-too-large"),
    post("not bundled", BUNDLE, 422, CHROMIUM.replace("a=group:BUNDLE 0 1\r\n", ""), "not-bundled"),
    post("nothing is live", SET_UP, 409, CHROMIUM, "not-live", at=CLOSE, gives=LATER),
    post("no H.264, in words", SET_UP, 406, NO_H264, "codec-unsupported", words="Chrome or Edge"),
    post("Firefox, in words", SET_UP, 406, offer("firefox-view"), "codec-unsupported", words="Firefox has no H.264"),
    post("no picture", SET_UP, 422, ONLY_SOUND, "no-video"),
    post("nobody", "ours", 400, CHROMIUM, "no-viewer", viewer=None),
    post("no token", TOKEN, 401, CHROMIUM, "wrong-token", token=None, gives={"www-authenticate": "Bearer"}),
    post("wrong token", TOKEN, 401, CHROMIUM, "wrong-token", token="Bearer x"),
    post("no H.264, a counter-offer is wanted", SET_UP, 406, NO_H264, accept=SDP, gives=OFFER),
    post(
        "no picture, a counter-offer is wanted", SET_UP, 406, ONLY_SOUND, accept=f"text/html, {SDP};q=0.5", gives=OFFER
    ),
    post("an offer that fits needs no other", SET_UP, 201, CHROMIUM, accept=SDP),
    post("no SDP, whatever is wanted", SET_UP, 400, "hello", "sdp-malformed", accept=SDP),
    post("not live, whatever is wanted", SET_UP, 409, CHROMIUM, "not-live", at=CLOSE, accept=SDP, gives=LATER),
    Row("what the endpoint takes", "4.3", "OPTIONS", WIDE, 200, token=None, gives={"accept-post": SDP}),
    Row("endpoint is empty", "4.1", "GET", WIDE, 200, token=None),
    Row("endpoint is empty", "4.1", "HEAD", WIDE, 200, token=None),
    Row("what a session takes", "4.3", "OPTIONS", SESSION, 200, token=None, gives={"accept-patch": FRAGMENT}),
    Row("session is empty", "4.1", "HEAD", SESSION, 200, gives={"etag": "{etag}"}),
    Row("no such session", "9110 15.5.5", "GET", UNKNOWN, 404, "no-session"),
    patch("candidates", ICE, 204, trickle(HOST, ufrag="{ufrag}"), candidates=("192.0.2.1",)),
    patch("names and transports that are not ours", ICE, 204, trickle(MDNS, TCP, ufrag="{ufrag}"), candidates=()),
    patch("an ICE restart", USAGE, 422, trickle(HOST, ufrag="ysXw"), "no-ice-restart", if_match='"*"', candidates=()),
    patch("no tag", USAGE, 428, trickle(HOST, ufrag="{ufrag}"), "no-precondition", if_match=None, candidates=()),
    patch("another tag", USAGE, 412, trickle(HOST, ufrag="{ufrag}"), "precondition-failed", if_match='"x"'),
    patch("wrong content type", USAGE, 415, trickle(HOST), "not-sdpfrag", content_type="text/plain"),
    patch("no SDP", USAGE, 400, "hello", "sdp-malformed"),
    patch("an answer to no offer of ours", SET_UP, 422, CHROMIUM, "no-renegotiation", content_type=SDP),
    patch("no such session", "9110 15.5.5", 404, trickle(HOST), "no-session", at=UNKNOWN),
    patch("no token", TOKEN, 401, trickle(HOST), "wrong-token", token=None),
    Row("the end", "4.3", "DELETE", SESSION, 200),
    Row("no end without the token", TOKEN, "DELETE", SESSION, 401, "wrong-token", token=None),
    Row("no end of another session", "9110 15.5.5", "DELETE", UNKNOWN, 404, "no-session"),
]


@dataclass
class Monitor:
    whep: WhepEndpoint
    client: httpx.AsyncClient
    session: str
    etag: str

    def given(self) -> tuple[str, ...]:
        viewer = self.whep._sessions[self.session.rpartition("/")[2]].viewer
        return tuple(candidate.host for candidate in viewer._transport._ice.remote_candidates)


@pytest.fixture
async def monitor() -> AsyncIterator[Monitor]:
    fanout = Fanout(lambda track: None, lambda track, wanted: None)
    chosen = parse_offer(offer("ffmpeg").encode()).publisher()
    fanout.tracks({at: FeedTrack(at, "wide", choice.codec) for at, choice in enumerate(chosen)})
    whep = WhepEndpoint(
        base_url="http://monitor", token="monitor-token", fanout=fanout, roster=Roster(), ice=rig.LOOPBACK,
        report=lambda presence: None,
    )  # fmt: skip
    sock = rig.free_socket()
    url = f"http://127.0.0.1:{sock.getsockname()[1]}"
    async with rig.serving(whep_routes(whep), sock), httpx.AsyncClient(base_url=url) as client:
        headers = {"Content-Type": SDP, "Authorization": BEARER, "Vidne-Viewer": "account-1"}
        made = await client.post(WIDE, content=CHROMIUM, headers=headers)
        assert made.status_code == 201, made.text
        yield Monitor(whep, client, made.headers["location"].removeprefix("http://monitor"), made.headers["etag"])
        await whep.stop()


@pytest.mark.parametrize("row", TABLE, ids=lambda row: f"{row.where} {row.method} {row.name}: {row.status}")
async def test_whep(monitor: Monitor, row: Row) -> None:
    ufrag = CHROMIUM.partition("a=ice-ufrag:")[2].partition("\r")[0]

    def filled(text: str) -> str:
        return text.replace("{session}", monitor.session).replace("{etag}", monitor.etag).replace("{ufrag}", ufrag)

    headers = {
        "Content-Type": row.content_type,
        "Authorization": row.token,
        "If-Match": row.if_match and filled(row.if_match),
        "Accept": row.accept or "*/*",
        "Vidne-Viewer": row.viewer,
    }
    before = monitor.given()
    body = filled(row.body) if isinstance(row.body, str) else row.body
    reply = await monitor.client.request(
        row.method, filled(row.at), content=body, headers={name: value for name, value in headers.items() if value}
    )
    assert reply.status_code == row.status, reply.text
    for name, value in row.gives.items():
        assert filled(value) in reply.headers[name]
    if row.code is not None:
        assert reply.headers["content-type"] == "application/problem+json"
        assert reply.json()["code"] == row.code
        assert row.words in reply.json()["detail"]
    elif row.status in (201, 406):
        assert described(reply.text, offered=row.status == 406) == []
    else:
        assert reply.content == b""
    if row.candidates is not None:
        assert monitor.given() == (*before, *row.candidates)
    goes_on = (await monitor.client.head(monitor.session, headers={"Authorization": BEARER})).status_code == 200
    assert goes_on is (row.name != "the end"), "whatever was asked, the session goes on"


def described(text: str, *, offered: bool) -> list[str]:
    """What is wrong with an answer or a counter-offer."""
    session, *sections = text.split("\r\nm=")
    wanted = {
        "sendonly": "\r\na=sendonly\r\n",
        "rtcp-mux-only": "\r\na=rtcp-mux-only",
        "rtcp-mux": "\r\na=rtcp-mux\r\n",
        "candidates": "\r\na=candidate:",
        "fingerprint": "\r\na=fingerprint:sha-256 ",
        "setup": "\r\na=setup:actpass" if offered else "\r\na=setup:passive",
        "stream": "\r\na=msid:",
    }
    wrong = [
        f"section {at}: {name}"
        for at, section in enumerate(sections)
        for name, line in wanted.items()
        if line not in section
    ]
    mids = [line.removeprefix("a=mid:") for line in text.split("\r\n") if line.startswith("a=mid:")]
    if f"a=group:BUNDLE {' '.join(mids)}" not in session.split("\r\n"):
        wrong.append("not max-bundle")
    if {section.split()[0] for section in sections} != {"video", "audio"}:
        wrong.append("not the camera's media")
    if "H264/90000" not in text or "opus/48000/2" not in text:
        wrong.append("not the camera's codecs")
    return wrong


async def test_a_counter_offer_that_is_refused_says_what_to_do_and_may_be_answered_better(monitor: Monitor) -> None:
    headers = {"Content-Type": SDP, "Authorization": BEARER, "Vidne-Viewer": "account-2", "Accept": SDP}
    made = await monitor.client.post(WIDE, content=NO_H264, headers=headers)
    session = made.headers["location"].removeprefix("http://monitor")
    without = made.text.replace("a=sendonly", "a=recvonly").replace("a=setup:actpass", "a=setup:active")
    video = without[without.index("m=video ") :].split(" ")[1]
    for answer, status, code in (
        (without.replace(f"m=video {video}", "m=video 0"), 406, "codec-unsupported"),
        (made.text.replace("a=sendonly", "a=recvonly"), 400, "sdp-malformed"),
        (without.replace("recvonly", "sendonly"), 422, "wrong-direction"),
        (without[: without.rindex("m=")], 400, "sdp-malformed"),
        ("hello", 400, "sdp-malformed"),
    ):
        reply = await monitor.client.patch(session, content=answer, headers=headers)
        assert (reply.status_code, reply.json()["code"]) == (status, code)
        assert "Chrome" in reply.json()["detail"] or status != 406
    taken = await monitor.client.patch(session, content=without, headers=headers)
    assert (taken.status_code, taken.content) == (204, b"")
    again = await monitor.client.patch(session, content=without, headers=headers)
    assert (again.status_code, again.json()["code"]) == (422, "no-renegotiation")
