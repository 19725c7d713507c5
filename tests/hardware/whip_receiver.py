"""A third party's WHIP server in one file, for the tests of the cameras: aiortc, loopback only, nothing of Vidne in it.

Run as a process of its own (`python whip_receiver.py PORT TOKEN`), so that a test can kill it the way a crash would.
Every thing it sees goes to standard output as one JSON object a line: `offer`, `connected`, `rtp` (counts, each 0.2 s),
`rtcp` (packet types), `delete`, `refused`. Nothing is decoded.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import sys
import time
from collections import Counter
from typing import Any

import aioice.ice
from aiortc import RTCConfiguration, RTCPeerConnection, RTCSessionDescription
from aiortc.rtcdtlstransport import RTCDtlsTransport


def loopback_only(use_ipv4: bool, use_ipv6: bool) -> list[str]:
    """Stand in for aioice's own list, which leaves 127.0.0.1 out and binds every other address."""
    return ["127.0.0.1"]


aioice.ice.get_host_addresses = loopback_only


def report(kind: str, **values: Any) -> None:
    """Write one observation as a JSON line."""
    print(json.dumps({"kind": kind, "at": time.time(), **values}), flush=True)  # noqa: T201


class WhipReceiver:
    """Sessions of one endpoint, and what their transports have received."""

    def __init__(self, token: str) -> None:
        self.token = token
        self.sessions: dict[str, RTCPeerConnection] = {}
        self.rtp: Counter[int] = Counter()
        self.first_rtp: dict[int, float] = {}
        self.last_timestamp: dict[int, int] = {}

    async def open_session(self, offer: str) -> tuple[str, str]:
        """Answer an offer, every candidate included; give the session's path and the answer's SDP."""
        peer = RTCPeerConnection(RTCConfiguration(iceServers=[]))
        peer.on("connectionstatechange", lambda: report("state", state=peer.connectionState))
        await peer.setRemoteDescription(RTCSessionDescription(offer, "offer"))
        await peer.setLocalDescription(await peer.createAnswer())
        for transceiver in peer.getTransceivers():
            self.watch(transceiver.receiver.transport)
        path = f"/session/{len(self.sessions)}"
        self.sessions[path] = peer
        return path, peer.localDescription.sdp

    def watch(self, transport: RTCDtlsTransport) -> None:
        """Count what arrives on a transport before aiortc works on it."""
        if getattr(transport, "watched", False):
            return
        transport.watched = True  # type: ignore[attr-defined]
        handle_rtp, handle_rtcp = transport._handle_rtp_data, transport._handle_rtcp_data

        async def on_rtp(data: bytes, arrival_time_ms: int) -> None:
            payload_type = data[1] & 0x7F
            if payload_type not in self.first_rtp:
                self.first_rtp[payload_type] = time.time()
                report("first", payload_type=payload_type)
            self.rtp[payload_type] += 1
            self.last_timestamp[payload_type] = int.from_bytes(data[4:8], "big")
            await handle_rtp(data, arrival_time_ms)

        async def on_rtcp(data: bytes) -> None:
            report("rtcp", packet_type=data[1], hex=data[:28].hex())
            await handle_rtcp(data)

        transport._handle_rtp_data = on_rtp  # type: ignore[method-assign]
        transport._handle_rtcp_data = on_rtcp  # type: ignore[method-assign]

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One HTTP exchange; the connection closes after it."""
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        request, *lines = head.split("\r\n")
        method, path, _ = request.split(" ")
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        body = await reader.readexactly(int(headers.get("content-length", "0")))
        status, extra, answer = await self.answer(method, path, headers, body.decode())
        writer.write(f"HTTP/1.1 {status}\r\n{extra}Content-Length: {len(answer)}\r\nConnection: close\r\n\r\n".encode())
        writer.write(answer.encode())
        await writer.drain()
        writer.close()

    async def answer(self, method: str, path: str, headers: dict[str, str], body: str) -> tuple[str, str, str]:
        """Decide status line, extra header lines and body."""
        if method == "OPTIONS":
            return "204 No Content", "Accept-Post: application/sdp\r\n", ""
        if headers.get("authorization") != f"Bearer {self.token}":
            report("refused", method=method)
            return "401 Unauthorized", "", ""
        if method == "POST":
            report("offer", sdp=body, headers=headers)
            location, sdp = await self.open_session(body)
            return "201 Created", f"Content-Type: application/sdp\r\nLocation: {location}\r\n", sdp
        report("delete", path=path)
        peer = self.sessions.pop(path, None)
        if peer is None:
            return "404 Not Found", "", ""
        await peer.close()
        return "200 OK", "", ""


async def main(port: int, token: str) -> None:
    """Serve until killed."""
    receiver = WhipReceiver(token)
    server = await asyncio.start_server(receiver.serve, "127.0.0.1", port)
    report("listening", port=server.sockets[0].getsockname()[1])
    async with server:
        while True:
            await asyncio.sleep(0.2)
            report("rtp", counts=dict(receiver.rtp), timestamps=receiver.last_timestamp)


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(main(int(sys.argv[1]), sys.argv[2]))
