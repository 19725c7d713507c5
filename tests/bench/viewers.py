"""Viewers that receive and throw away, in a process of their own: nothing is decoded, so that they cost little.

    python -m tests.bench.viewers

reads a line of JSON for each viewer's signalling and writes one back: `{"offer": SDP | null}` asks it to make an offer
(null) or to answer one, and gives `{"sdp": …}`; `{"answer": SDP}` completes an offer of its own; `{"deaf": true}` makes
all of them throw away what comes, undecrypted. At the end of input one line `{"packets": [n, …]}` tells how many each
received.
"""

from __future__ import annotations

import asyncio
import json
import sys
from types import TracebackType
from typing import Any, Self

import aiortc.rtcrtpreceiver
import uvloop
from aiortc import RTCConfiguration, RTCPeerConnection, RTCSessionDescription
from aiortc.codecs.base import Decoder
from aiortc.jitterbuffer import JitterFrame
from av.frame import Frame

from tests.bench.load import end


class _Nothing(Decoder):
    def decode(self, encoded_frame: JitterFrame) -> list[Frame]:
        return []


async def _nothing(data: bytes, arrival_time_ms: int) -> None:
    """In place of decrypting and counting."""


async def _serve() -> None:
    vars(aiortc.rtcrtpreceiver)["get_decoder"] = lambda codec: _Nothing()
    reader = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    peers: list[RTCPeerConnection] = []
    while line := await reader.readline():
        asked: dict[str, Any] = json.loads(line)
        if "deaf" in asked:
            for peer in peers:
                # What is received and decrypted here costs the machine more than what is measured.
                vars(peer.getTransceivers()[0].receiver.transport)["_handle_rtp_data"] = _nothing
            _say({})
            continue
        if "answer" in asked:
            await peers[-1].setRemoteDescription(RTCSessionDescription(asked["answer"], "answer"))
            _say({})
            continue
        peer = RTCPeerConnection(RTCConfiguration(iceServers=[]))
        peers.append(peer)
        if asked["offer"] is None:
            peer.addTransceiver("video", direction="recvonly")
            peer.addTransceiver("audio", direction="recvonly")
            await peer.setLocalDescription(await peer.createOffer())
        else:
            await peer.setRemoteDescription(RTCSessionDescription(asked["offer"], "offer"))
            await peer.setLocalDescription(await peer.createAnswer())
        _say({"sdp": peer.localDescription.sdp})
    counts = []
    for peer in peers:
        report = await peer.getStats()
        counts.append(sum(each.packetsReceived for each in report.values() if each.type == "inbound-rtp"))
    _say({"packets": counts})
    await asyncio.gather(*(peer.close() for peer in peers))


def _say(what: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(what) + "\n")
    sys.stdout.flush()


class Viewers:
    """The process, for as long as it is entered."""

    def __init__(self) -> None:
        self._process: asyncio.subprocess.Process | None = None

    async def __aenter__(self) -> Self:
        self._process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "tests.bench.viewers",
            stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, limit=1 << 20,
        )  # fmt: skip
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._process is not None:
            await end(self._process)

    async def ask(self, what: dict[str, Any]) -> dict[str, Any]:
        """One line there and one back. Raises RuntimeError when the process has ended."""
        process = self._running()
        if process.stdin is None or process.stdout is None:
            raise RuntimeError("the viewers have no pipes")
        process.stdin.write(json.dumps(what).encode() + b"\n")
        await process.stdin.drain()
        return self._said(await process.stdout.readline())

    async def received(self) -> list[int]:
        """Ends them; how many packets each has received."""
        process = self._running()
        if process.stdin is None or process.stdout is None:
            raise RuntimeError("the viewers have no pipes")
        process.stdin.close()
        counts: list[int] = self._said(await process.stdout.readline())["packets"]
        return counts

    def _running(self) -> asyncio.subprocess.Process:
        if self._process is None:
            raise RuntimeError("the viewers have not been started")
        return self._process

    def _said(self, line: bytes) -> dict[str, Any]:
        if not line:
            raise RuntimeError("the viewers have ended")
        said: dict[str, Any] = json.loads(line)
        return said


if __name__ == "__main__":
    uvloop.run(_serve())
