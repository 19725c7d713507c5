"""WHIP beside its table: a microphone alone, the end of the endpoint, what admits nobody."""

from __future__ import annotations

import pytest

from recorder.whip import WhipEndpoint, authorised
from tests.recorder_webrtc import rig

BEARER = f"Bearer {rig.TOKEN}"


@pytest.fixture
def endpoint() -> WhipEndpoint:
    return WhipEndpoint(
        base_url="http://r", token_of={"wide": rig.TOKEN}.get, sink=rig.RememberingSink(), ice=rig.LOOPBACK
    )


async def test_a_microphone_alone_is_recorded(endpoint: WhipEndpoint) -> None:
    pc, offer = await rig.offer_of("audio")
    reply = await endpoint.post("wide", "application/sdp", offer.encode(), BEARER)
    assert reply.status == 201
    await endpoint.stop()
    await pc.close()


async def test_a_stopped_endpoint_takes_nobody(endpoint: WhipEndpoint) -> None:
    pc, offer = await rig.offer_of("video", "audio")
    assert (await endpoint.post("wide", "application/sdp", offer.encode(), BEARER)).status == 201
    await endpoint.stop()
    assert endpoint.peer("wide") is None
    stopped = await endpoint.post("wide", "application/sdp", offer.encode(), BEARER)
    assert (stopped.status, rig.code_of(stopped), stopped.headers["Retry-After"]) == (503, "overloaded", "2")
    await pc.close()


def test_nobodys_token_admits_nobody() -> None:
    assert not authorised("Bearer ", None)
    assert not authorised("Bearer ", "")
    assert not authorised("Bearer x", None)
    assert authorised("bearer x", "x")
