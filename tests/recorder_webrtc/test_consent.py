"""Who counts as still there. FFmpeg's WHIP muxer answers no consent check (RFC 7675) after its handshake."""

from __future__ import annotations

import asyncio
import signal
from pathlib import Path

import pytest

from recorder import aiortc_hooks
from recorder.whip import WhipEndpoint
from tests.bench.lossy_link import Line
from tests.recorder_webrtc import rig

EVERY_S, WITHIN_S = 0.1, 1.8
"""In place of 5 s and 30 s: the same decisions, sooner."""


async def test_a_camera_that_sends_is_kept_and_one_that_is_dead_is_lost(
    clip: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(aiortc_hooks, "CONSENT_EVERY_S", EVERY_S)
    monkeypatch.setattr(aiortc_hooks, "CONSENT_WITHIN_S", WITHIN_S)
    sink = rig.RememberingSink()
    sock = rig.free_socket()
    url = f"http://127.0.0.1:{sock.getsockname()[1]}"
    endpoint = WhipEndpoint(base_url=url, token_of={"wide": rig.TOKEN}.get, sink=sink, ice=rig.LOOPBACK)
    async with rig.serving(rig.whip_routes(endpoint), sock):
        async with rig.camera(f"{url}/whip/wide", clip, loop=True) as process:
            await rig.until(lambda: len(sink.packets["video"]) > 20)
            await asyncio.sleep(1.5 * WITHIN_S)
            assert sink.ends == [], "it went on sending"
            process.send_signal(signal.SIGSTOP)
            await rig.until(lambda: sink.ends, seconds=4 * WITHIN_S)
        assert sink.ends == [("wide", "lost")]
        await endpoint.stop()


async def test_a_camera_whose_answers_to_our_checks_are_lost_connects_all_the_same(clip: Path) -> None:
    """FFmpeg answers them for 60 ms and never again: waiting for one would cost it its whole attempt."""
    sink, lost = rig.RememberingSink(), []

    def is_answer(datagram: bytes) -> bool:
        if found := datagram[:2] == b"\x01\x01":  # a Binding success response (RFC 8489, section 5)
            lost.append(datagram)
        return found

    sock = rig.free_socket()
    url = f"http://127.0.0.1:{sock.getsockname()[1]}"
    endpoint = WhipEndpoint(base_url=url, token_of={"wide": rig.TOKEN}.get, sink=sink, ice=rig.LOOPBACK)
    async with rig.serving(rig.whip_routes(endpoint), sock), Line(url, drop=is_answer).open() as door:
        async with rig.camera(f"{door}/whip/wide", clip, loop=True):
            await rig.until(lambda: sink.packets["video"], 8)
        await endpoint.stop()
    assert lost
