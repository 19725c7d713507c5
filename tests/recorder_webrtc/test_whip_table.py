"""WHIP, row by row: what is asked, what must come, and where it is written (RFC 9725 unless another is named).

Each row is asked over HTTP of a recorder with two cameras: `wide`, which nobody sends yet, and `close`, whose session
has just been made. Compared are status, headers and problem code, and that a refusal changed nothing.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from typing import Any

import httpx
import pytest

from recorder.sdp import LIMIT
from recorder.trickle import matches
from recorder.whip import WhipEndpoint
from tests.clients.offers import offer
from tests.recorder_webrtc import rig

ASK_BEARER = {"www-authenticate": "Bearer"}
SDP, FRAGMENT = "application/sdp", "application/trickle-ice-sdpfrag"
BEARER = f"Bearer {rig.TOKEN}"
PUBLISHERS = ("rfc9725", "ffmpeg", "gstreamer-publish", "chromium-publish", "firefox-publish", "safari-publish", "obs")


def trickle(*candidates: str, ufrag: str = "EsAw") -> str:
    """A fragment of the camera whose offer is the RFC's."""
    lines = [f"a=ice-ufrag:{ufrag}", "a=ice-pwd:bP+XJMM09aR8AiX1jdukzR6Y", "m=audio 9 UDP/TLS/RTP/SAVPF 111", "a=mid:0"]
    return "\r\n".join([*lines, *(f"a=candidate:{each}" for each in candidates), "a=end-of-candidates", ""])


HOST = "1387637174 1 udp 2122260223 192.0.2.1 61764 typ host generation 0 ufrag EsAw network-id 1"
MDNS = "1 1 udp 2113937151 7f0c1d6e-93a1-4c7e-8f25-2b6d5f0c8a44.local 59871 typ host"
TCP = "473322822 1 tcp 1518280447 192.0.2.1 9 typ host tcptype active"
NONSENSE = "1 1 udp 1 999.300.1.1 5 typ host"


@dataclass(frozen=True)
class Row:
    """`at`: the endpoint of camera `wide`, or the session of `close`; `{...}` are filled in from what that session is.
    `gives`: headers that must be there, a name alone for any value. `code`: of the problem details."""

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
    gives: dict[str, str] = field(default_factory=dict)
    candidates: tuple[str, ...] | None = None
    """Addresses that ICE must have been given of the session's camera."""


WIDE, CLOSE, SESSION = "/whip/wide", "/whip/close", "{session}"
POSTED = {"content-type": SDP, "etag": '"', "location": "http://127.0.0.1:", "accept-patch": FRAGMENT}
LATER = {"retry-after": "2"}
PROBLEM = {"content-type": "application/problem+json"}
UNKNOWN = "/whip/close/" + "A" * 43


def two(kind: str) -> str:
    """OBS's offer with one section more, of this kind."""
    text = offer("obs")
    head, *rest = next(part for part in text.split("m=") if part.startswith(kind)).partition("a=mid:")
    again = head + "a=mid:2" + rest[1][1:]
    return text.replace("BUNDLE 0 1", "BUNDLE 0 1 2") + "m=" + again


def post(name: str, where: str, status: int, body: str | bytes, code: str | None = None, **more: Any) -> Row:
    fixed = {"at": WIDE, "content_type": SDP, "body": body, "gives": POSTED if status == 201 else PROBLEM}
    return Row(name, where, "POST", status=status, code=code, **(fixed | more))


def patch(name: str, where: str, status: int, body: str | bytes, code: str | None = None, **more: Any) -> Row:
    fixed = {"at": SESSION, "content_type": FRAGMENT, "body": body, "if_match": "{etag}"}
    return Row(name, where, "PATCH", status=status, code=code, **(fixed | more))


TABLE = [
    *(post(f"offer of {name}", "4.2", 201, offer(name)) for name in PUBLISHERS),
    post("parameters of the type", "9110 8.3.1", 201, offer("obs"), content_type="Application/SDP; charset=utf-8"),
    post("wrong content type", "4.2", 415, offer("obs"), "not-sdp", content_type="text/plain"),
    post("no content type", "4.2", 415, offer("obs"), "not-sdp", content_type=None),
    post("not SDP", "4.2", 400, "hello", "sdp-malformed"),
    post("not text", "4.2", 400, b"\xff\xfe", "sdp-malformed"),
    post("nothing", "4.2", 400, "", "sdp-malformed"),
    post("too large", "9110 15.5.14", 413, "v=0\r\n" + "a" * LIMIT, "sdp-too-large"),
    post("10 MB", "9110 15.5.14", 413, b"v=0\r\n" + b"a" * 10_000_000, "sdp-too-large"),
    post("two pictures", "4.4.2", 422, two("video"), "too-many-media"),
    post("two sounds", "4.4.2", 422, two("audio"), "too-many-media"),
    post("not bundled", "4.4.1", 422, offer("obs").replace("a=group:BUNDLE 0 1\r\n", ""), "not-bundled"),
    post("recvonly", "4.2", 422, offer("obs").replace("sendonly", "recvonly"), "wrong-direction"),
    post("inactive", "4.2", 422, offer("obs").replace("sendonly", "inactive"), "wrong-direction"),
    post("sendrecv", "4.2", 201, offer("obs").replace("sendonly", "sendrecv")),
    post("no codec of ours", "4.4.3", 406, offer("obs").replace("H264/", "MPV/"), "codec-unsupported"),
    post("no token", "4.7.1", 401, offer("obs"), "wrong-token", token=None, gives=ASK_BEARER),
    post("wrong token", "4.7.1", 401, offer("obs"), "wrong-token", token="Bearer x", gives=ASK_BEARER),
    post("token of another scheme", "4.7.1", 401, offer("obs"), "wrong-token", token=f"Basic {rig.TOKEN}"),
    post("no such camera", "4.7.1", 401, offer("obs"), "wrong-token", at="/whip/nowhere"),
    post("a camera that sends", "9110 15.5.10", 409, offer("obs"), "already-publishing", at=CLOSE, gives=LATER),
    Row("what is taken, asked by anybody", "4.2", "OPTIONS", WIDE, 200, token=None, gives={"accept-post": SDP}),
    Row("endpoint is empty", "4.1", "GET", WIDE, 204, token=None),
    Row("endpoint is empty", "4.1", "HEAD", WIDE, 204, token=None),
    Row("endpoint takes no other method", "9110 15.5.6", "PUT", WIDE, 405, gives={"allow": "POST"}),
    Row("what a session takes", "4.2", "OPTIONS", SESSION, 200, token=None, gives={"accept-patch": FRAGMENT}),
    Row("session is empty", "4.1", "GET", SESSION, 204, gives={"etag": "{etag}"}),
    Row("session is empty", "4.1", "HEAD", SESSION, 204),
    Row("session shows nothing without its token", "4.7.1", "GET", SESSION, 401, "wrong-token", token=None),
    Row("no such session", "4.1", "GET", UNKNOWN, 404, "no-session"),
    Row("session takes no other method", "9110 15.5.6", "PUT", SESSION, 405, gives={"allow": "PATCH"}),
    patch("candidates", "4.3.2", 204, trickle(HOST), candidates=("192.0.2.1",)),
    patch("candidates alone", "4.3.2", 204, f"a=candidate:{HOST}\r\n", candidates=("192.0.2.1",)),
    patch("any ICE session", "9110 13.1.1", 204, trickle(HOST), if_match="*", candidates=("192.0.2.1",)),
    patch("one of several tags", "9110 13.1.1", 204, trickle(HOST), if_match='"a", {etag}', candidates=("192.0.2.1",)),
    patch("an mDNS name is skipped", "4.3.2", 204, trickle(MDNS, HOST), candidates=("192.0.2.1",)),
    patch("a transport of ours is not", "4.3.2", 204, trickle(TCP, HOST), candidates=("192.0.2.1",)),
    patch("an address that is none is skipped", "4.3.2", 204, trickle(NONSENSE), candidates=()),
    patch("the end of candidates alone", "4.3.2", 204, trickle(), candidates=()),
    patch("an ICE restart", "4.3.1", 422, trickle(HOST, ufrag="ysXw"), "no-ice-restart", if_match='"*"', candidates=()),
    patch("no tag", "6585 3", 428, trickle(HOST), "no-precondition", if_match=None, candidates=()),
    patch("another tag", "9110 13.1.1", 412, trickle(HOST), "precondition-failed", if_match='"xyzzy"', candidates=()),
    patch("a weak tag", "9110 13.1.1", 412, trickle(HOST), "precondition-failed", if_match="W/{etag}", candidates=()),
    patch("wrong content type", "4.3.1", 415, trickle(HOST), "not-sdpfrag", content_type=SDP),
    patch("no SDP", "4.3.1", 400, "hello", "sdp-malformed"),
    patch("nothing", "4.3.1", 400, "", "sdp-malformed"),
    patch("too large", "9110 15.5.14", 413, "a=x\r\n" * LIMIT, "sdp-too-large"),
    patch("no token", "4.7.1", 401, trickle(HOST), "wrong-token", token=None),
    patch("no such session", "9110 15.5.5", 404, trickle(HOST), "no-session", at=UNKNOWN),
    Row("the end", "4.2", "DELETE", SESSION, 200),
    Row("the end needs no tag, and looks at none", "4.3.1", "DELETE", SESSION, 200, if_match='"xyzzy"'),
    Row("no end without the token", "4.7.1", "DELETE", SESSION, 401, "wrong-token", token=None),
    Row("no end of another session", "9110 15.5.5", "DELETE", UNKNOWN, 404, "no-session"),
]  # fmt: skip


@dataclass
class Recorder:
    whip: WhipEndpoint
    client: httpx.AsyncClient
    session: str
    etag: str

    def given(self) -> tuple[str, ...]:
        """What ICE knows of the other side's candidates."""
        peer = self.whip.peer("close")
        assert peer is not None
        return tuple(candidate.host for candidate in peer._transport._ice.remote_candidates)


@pytest.fixture
async def recorder() -> AsyncIterator[Recorder]:
    sock = rig.free_socket()
    url = f"http://127.0.0.1:{sock.getsockname()[1]}"
    tokens = {"wide": rig.TOKEN, "close": rig.TOKEN}
    whip = WhipEndpoint(base_url=url, token_of=tokens.get, sink=rig.RememberingSink(), ice=rig.LOOPBACK)
    async with rig.serving(rig.whip_routes(whip), sock), httpx.AsyncClient(base_url=url) as client:
        body = offer("obs").replace("a=ice-ufrag:fpHs", "a=ice-ufrag:EsAw")
        made = await client.post("/whip/close", content=body, headers={"Content-Type": SDP, "Authorization": BEARER})
        assert made.status_code == 201, made.text
        yield Recorder(whip, client, made.headers["location"], made.headers["etag"])
        await whip.stop()


@pytest.mark.parametrize("row", TABLE, ids=lambda row: f"{row.where} {row.method} {row.name}: {row.status}")
async def test_whip(recorder: Recorder, row: Row) -> None:
    def filled(text: str) -> str:
        return text.replace("{session}", recorder.session).replace("{etag}", recorder.etag)

    headers = {
        "Content-Type": row.content_type,
        "Authorization": row.token,
        "If-Match": row.if_match and filled(row.if_match),
    }
    before = recorder.given()
    reply = await recorder.client.request(
        row.method, filled(row.at), content=row.body, headers={name: value for name, value in headers.items() if value}
    )
    assert reply.status_code == row.status, reply.text
    for name, value in row.gives.items():
        assert filled(value) in reply.headers[name]
    if row.code is not None:
        assert reply.headers["content-type"] == "application/problem+json"
        assert reply.json()["code"] == row.code
        assert reply.json()["status"] == row.status
        assert rig.TOKEN not in reply.text
    elif row.status == 201:
        assert answered(reply.text, str(row.body)) == []
        assert reply.headers["location"].startswith(str(recorder.client.base_url.join("/whip/wide/")))
        assert len(reply.headers["location"].rpartition("/")[2]) >= 43, "256 bits that nobody guesses"
    elif row.status < 400:
        assert reply.content == b""
    if row.status != 201 and row.at != WIDE:
        assert recorder.whip.peer("wide") is None
    if row.method == "DELETE" and row.status == 200:
        assert recorder.whip.peer("close") is None
        return
    assert recorder.whip.peer("close") is not None, "whatever was asked, the session goes on"
    if row.candidates is not None:
        assert recorder.given() == (*before, *row.candidates)


def answered(answer: str, asked: str) -> list[str]:
    """What is wrong with an answer (4.2, 4.3.2, 4.4.1; RFC 8858; RFC 3264 section 6); nothing, it is hoped."""
    session, *sections = answer.split("\r\nm=")
    wanted: list[tuple[str, Callable[[str], bool]]] = [
        ("recvonly", lambda section: "\r\na=recvonly\r\n" in section),
        ("rtcp-mux-only", lambda section: "\r\na=rtcp-mux-only" in section and "\r\na=rtcp-mux\r\n" in section),
        ("all candidates", lambda section: "\r\na=candidate:" in section and "\r\na=end-of-candidates" in section),
        ("a credential of ICE", lambda section: "\r\na=ice-ufrag:" in section and "\r\na=ice-pwd:" in section),
        ("a fingerprint", lambda section: "\r\na=fingerprint:sha-256 " in section),
        ("active or passive", lambda section: "\r\na=setup:active" in section or "\r\na=setup:passive" in section),
        ("one transport", lambda section: section.split()[1] == sections[0].split()[1]),
    ]
    wrong = [
        f"section {at}: {name}" for at, section in enumerate(sections) for name, holds in wanted if not holds(section)
    ]
    kinds = [part.split()[0] for part in asked.replace("\r\n", "\n").split("\nm=")[1:]]
    if [section.split()[0] for section in sections] != kinds:
        wrong.append("sections not in the offer's order")
    mids = [line.removeprefix("a=mid:") for line in answer.split("\r\n") if line.startswith("a=mid:")]
    if f"a=group:BUNDLE {' '.join(mids)}" not in session.split("\r\n"):
        wrong.append("not max-bundle")
    if "a=ice-options:trickle ice2" not in session.split("\r\n"):
        wrong.append("does not say that it trickles (RFC 8840, section 4.1.1)")
    return wrong


@pytest.mark.parametrize(
    ("if_match", "same"),
    [
        ('"t"', True),
        ("*", True),
        ('"*"', True),
        ('"x","t"', True),
        ('W/"t"', False),
        ('"tt"', False),
        ("t", False),
        ("", False),
    ],
)
def test_a_tag_is_compared_strongly(if_match: str, same: bool) -> None:
    assert matches(if_match, "t") is same


async def test_an_overloaded_recorder_says_when_to_come_back() -> None:
    """4.5."""
    whip = WhipEndpoint(
        base_url="http://r", token_of={"wide": rig.TOKEN}.get, sink=rig.RememberingSink(), ice=rig.LOOPBACK,
        overloaded=lambda: True,
    )  # fmt: skip
    reply = await whip.post("wide", SDP, offer("obs").encode(), BEARER)
    assert (reply.status, rig.code_of(reply), reply.headers["Retry-After"]) == (503, "overloaded", "2")
    assert json.loads(reply.body)["title"] == "Service Unavailable"


async def test_a_flood_of_candidates_is_bounded(recorder: Recorder) -> None:
    headers = {"Content-Type": FRAGMENT, "Authorization": BEARER, "If-Match": recorder.etag}
    for round_ in range(6):
        many = [HOST.replace("192.0.2.1", f"192.0.{round_}.{at}") for at in range(1, 200)]
        assert (
            await recorder.client.patch(recorder.session, content=trickle(*many), headers=headers)
        ).status_code == 204
    assert len(recorder.given()) == 32
