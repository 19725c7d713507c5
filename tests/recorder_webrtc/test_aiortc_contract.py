"""The hooks fit the installed aiortc and aioice; when they do not, it is said in a sentence."""

from __future__ import annotations

import errno
import socket

import pytest

from evidence_store.errors import Unavailable
from recorder import aiortc_hooks
from recorder.aiortc_hooks import IceSettings, MediaTransport, verify
from recorder.datagrams import open_socket
from tests.recorder_webrtc import rig


def test_the_installed_libraries_are_those_the_hooks_were_written_for() -> None:
    verify.cache_clear()
    verify()


def test_an_upgrade_is_refused_in_a_clear_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(aiortc_hooks.PINS, "aiortc", "1.15.9")
    verify.cache_clear()
    with pytest.raises(RuntimeError, match=r"aiortc is 1\.16\.0, the hooks were written for 1\.15\.9"):
        verify()
    verify.cache_clear()


async def answer_with(settings: IceSettings) -> str:
    from recorder.sdp import canonical, parse_offer

    pc, offer = await rig.offer_of("video", "audio")
    await pc.close()
    transport = MediaTransport(settings, rtp=lambda *_: None, rtcp=lambda *_: None, state=lambda _: None)
    try:
        return await transport.answer(canonical(parse_offer(offer.encode()).publisher(), "sendonly"))
    finally:
        await transport.close()


async def test_candidates_are_the_configured_addresses_in_order() -> None:
    text = await answer_with(IceSettings(["127.0.0.1", "127.0.0.2"]))
    section = text.split("m=")[1]
    candidates = [line.split() for line in section.splitlines() if line.startswith("a=candidate")]
    assert [words[4] for words in candidates] == ["127.0.0.1", "127.0.0.2"]
    assert int(candidates[0][3]) > int(candidates[1][3])


async def test_ports_stay_in_their_range_and_a_full_range_is_told() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
        with pytest.raises(OSError, match="no free UDP port") as full:
            open_socket("127.0.0.1", (port, port))
        assert full.value.errno == errno.EADDRINUSE
        with pytest.raises(Unavailable) as refused:
            await answer_with(IceSettings(["127.0.0.1"], (port, port)))
        assert refused.value.code == "no-udp-port"
    text = await answer_with(IceSettings(["127.0.0.1"], (port, port)))
    assert f"127.0.0.1 {port} typ host" in text


def test_the_receive_buffer_is_raised() -> None:
    with open_socket("127.0.0.1", None) as sock:
        assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF) >= 200_000
