"""What WHIP refuses, with which status, and that refusing changes nothing."""

from __future__ import annotations

import pytest

from recorder.sdp import LIMIT
from recorder.whip import WhipEndpoint, authorised
from tests.recorder_webrtc import rig

BEARER = f"Bearer {rig.TOKEN}"


@pytest.fixture
def endpoint() -> WhipEndpoint:
    return WhipEndpoint(
        base_url="http://r", token_of={"wide": rig.TOKEN}.get, sink=rig.RememberingSink(), ice=rig.LOOPBACK
    )


@pytest.mark.parametrize(
    ("authorization", "camera"),
    [
        (None, "wide"),
        ("Bearer wrong", "wide"),
        (rig.TOKEN, "wide"),
        (f"Basic {rig.TOKEN}", "wide"),
        (BEARER, "nowhere"),
    ],
)
async def test_without_the_cameras_token_nothing_is_told(
    endpoint: WhipEndpoint, authorization: str | None, camera: str
) -> None:
    reply = await endpoint.post(camera, "application/sdp", b"v=0", authorization)
    assert (reply.status, rig.code_of(reply), reply.headers["WWW-Authenticate"]) == (401, "wrong-token", "Bearer")
    assert (await endpoint.delete(camera, "x", authorization)).status == 401
    assert endpoint.patch(camera, "x", authorization).status == 401


@pytest.mark.parametrize(
    ("content_type", "body", "status", "code"),
    [
        ("text/plain", b"v=0", 415, "not-sdp"),
        (None, b"v=0", 415, "not-sdp"),
        ("application/sdp", b"v=0\r\n" + b"a" * LIMIT, 413, "sdp-too-large"),
        ("application/sdp", b"\xff\xfe", 400, "sdp-malformed"),
        ("application/sdp; charset=utf-8", b"hello", 400, "sdp-malformed"),
        ("application/sdp", b"", 400, "sdp-malformed"),
    ],
)
async def test_bodies_that_are_no_offer(
    endpoint: WhipEndpoint, content_type: str | None, body: bytes, status: int, code: str
) -> None:
    reply = await endpoint.post("wide", content_type, body, BEARER)
    assert (reply.status, rig.code_of(reply)) == (status, code)
    assert endpoint.peer("wide") is None


@pytest.mark.parametrize(
    ("kinds", "direction", "encoding", "status", "code"),
    [
        (("video", "video"), "sendonly", "VP8", 422, "too-many-media"),
        (("audio", "audio", "video"), "sendonly", "VP8", 422, "too-many-media"),
        (("video",), "recvonly", "VP8", 422, "wrong-direction"),
        (("video", "audio"), "sendonly", "H263", 406, "codec-unsupported"),
    ],
)
async def test_offers_that_cannot_be_recorded(
    endpoint: WhipEndpoint, kinds: tuple[str, ...], direction: str, encoding: str, status: int, code: str
) -> None:
    pc, offer = await rig.offer_of(*kinds, direction=direction, h264=False)
    reply = await endpoint.post("wide", "application/sdp", offer.replace("VP8/", f"{encoding}/").encode(), BEARER)
    await pc.close()
    assert (reply.status, rig.code_of(reply)) == (status, code)
    assert endpoint.peer("wide") is None


async def test_a_microphone_alone_is_recorded(endpoint: WhipEndpoint) -> None:
    pc, offer = await rig.offer_of("audio")
    reply = await endpoint.post("wide", "application/sdp", offer.encode(), BEARER)
    assert reply.status == 201
    await endpoint.stop()
    await pc.close()


async def test_overload_and_conflict_say_when_to_come_back(endpoint: WhipEndpoint) -> None:
    pc, offer = await rig.offer_of("video", "audio")
    first = await endpoint.post("wide", "application/sdp", offer.encode(), BEARER)
    assert first.status == 201
    second = await endpoint.post("wide", "application/sdp", offer.encode(), BEARER)
    assert (second.status, rig.code_of(second), second.headers["Retry-After"]) == (409, "already-publishing", "2")
    await endpoint.stop()
    stopped = await endpoint.post("wide", "application/sdp", offer.encode(), BEARER)
    assert (stopped.status, rig.code_of(stopped), stopped.headers["Retry-After"]) == (503, "overloaded", "2")
    await pc.close()


def test_nobodys_token_admits_nobody() -> None:
    assert not authorised("Bearer ", None)
    assert not authorised("Bearer ", "")
    assert not authorised("Bearer x", None)
    assert authorised("bearer x", "x")
