"""A real camera (FFmpeg's WHIP muxer) through HTTP, ICE, DTLS and SRTP to the sink, on both event loops."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest
import uvloop

from recorder.rtp import payload_of
from recorder.sdp import Kind
from recorder.whip import WhipEndpoint
from tests.recorder_webrtc import rig


@pytest.mark.parametrize("loop_factory", [asyncio.new_event_loop, uvloop.new_event_loop], ids=["asyncio", "uvloop"])
def test_every_nal_unit_arrives_in_order(clip: Path, loop_factory: Callable[[], asyncio.AbstractEventLoop]) -> None:
    sink = rig.RememberingSink()

    async def record() -> None:
        sock = rig.free_socket()
        url = f"http://127.0.0.1:{sock.getsockname()[1]}"
        endpoint = WhipEndpoint(base_url=url, token_of={"wide": rig.TOKEN}.get, sink=sink, ice=rig.LOOPBACK)
        async with rig.serving(rig.whip_routes(endpoint), sock), rig.camera(f"{url}/whip/wide", clip) as process:
            assert await asyncio.wait_for(process.wait(), 20) == 0
            await rig.until(lambda: sink.ends)
            await endpoint.stop()

    with asyncio.Runner(loop_factory=loop_factory) as runner:
        runner.run(record())

    (connection,) = sink.connections
    assert connection.fingerprint.startswith("sha-256 ")
    assert (connection.address or "").startswith("127.0.0.1:")
    assert {kind: codec.name for kind, codec in connection.codecs.items()} == {"video": "H264", "audio": "opus"}
    assert sink.ends == [("wide", "ended-by-camera")]

    for kind in ("video", "audio"):
        numbers = [packet[0] for packet in sink.packets[kind]]
        assert numbers == [(numbers[0] + n) & 0xFFFF for n in range(len(numbers))]
    assert len(sink.packets["audio"]) >= 140
    assert rig.depacketised([payload_of(packet) for packet in sink.packets["video"]]) == rig.nal_units(clip)
    assert sum(map(len, sink.raw)) == sum(
        12 + len(payload_of(packet)) for kind in sink.packets.values() for packet in kind
    )
    rates: dict[Kind, int] = {"video": 90_000, "audio": 48_000}
    for kind, rate in rates.items():
        (first_ntp, first_rtp), *_, (last_ntp, last_rtp) = sink.reports[kind] * (
            1 if len(sink.reports[kind]) > 1 else 2
        )
        passed = (last_ntp - first_ntp) / (1 << 32)
        assert ((last_rtp - first_rtp) & 0xFFFFFFFF) / rate == pytest.approx(passed, abs=0.2)


async def test_second_publisher_waits_until_the_first_is_silent(clip: Path) -> None:
    sink = rig.RememberingSink()
    sock = rig.free_socket()
    url = f"http://127.0.0.1:{sock.getsockname()[1]}"
    endpoint = WhipEndpoint(base_url=url, token_of={"wide": rig.TOKEN}.get, sink=sink, ice=rig.LOOPBACK)
    headers = {"Content-Type": "application/sdp", "Authorization": f"Bearer {rig.TOKEN}"}
    pc, offer = await rig.offer_of("video")
    async with rig.serving(rig.whip_routes(endpoint), sock), httpx.AsyncClient() as client:
        async with rig.camera(f"{url}/whip/wide", clip, loop=True):
            await rig.until(lambda: len(sink.packets["video"]) > 20)
            busy = await client.post(f"{url}/whip/wide", content=offer, headers=headers)
            assert (busy.status_code, busy.headers["retry-after"]) == (409, "2")
        # killed: no DELETE, no DTLS goodbye, only silence
        await asyncio.sleep(2.1)
        assert sink.ends == []
        taken = await client.post(f"{url}/whip/wide", content=offer, headers=headers)
        assert taken.status_code == 201
        assert sink.ends == [("wide", "replaced")]
        assert taken.headers["location"].startswith(f"{url}/whip/wide/")
        assert (await client.delete(taken.headers["location"])).status_code == 401
        assert (await client.delete(taken.headers["location"], headers=headers)).status_code == 200
        assert (await client.delete(taken.headers["location"], headers=headers)).status_code == 404
        await endpoint.stop()
    await pc.close()


async def test_a_peer_that_never_connects_is_closed(clip: Path) -> None:
    sink = rig.RememberingSink()
    endpoint = WhipEndpoint(
        base_url="http://r", token_of={"wide": rig.TOKEN}.get, sink=sink, ice=rig.LOOPBACK, connect_within_s=0.2
    )
    pc, offer = await rig.offer_of("video")
    reply = await endpoint.post("wide", "application/sdp", offer.encode(), f"Bearer {rig.TOKEN}")
    assert reply.status == 201
    await rig.until(lambda: endpoint.peer("wide") is None, 3)
    assert sink.ends == []
    await pc.close()
