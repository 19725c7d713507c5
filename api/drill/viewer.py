"""A WHEP viewer that decodes what it gets and reads the clock in the picture: how old is what the monitor room sees?"""

from __future__ import annotations

import asyncio
import statistics
import time
from dataclasses import dataclass

from aiortc import MediaStreamTrack, RTCConfiguration, RTCPeerConnection, RTCSessionDescription
from aiortc.mediastreams import MediaStreamError
from av import AudioFrame, VideoFrame

from api.drill.visitor import DrillFailed, Visitor
from hardware.picture_clock import age, read_picture_clock

RATE, LOOP_SECONDS = 30, 10
FIRST_WITHIN = 8.0


@dataclass(frozen=True, slots=True)
class Watched:
    """`pictures`, `sounds`: decoded frames. `age`: median seconds from a picture's UTC instant to its decoding."""

    pictures: int
    sounds: int
    first: float
    age: float | None


async def watch(visitor: Visitor, room: str, camera: str, seconds: float, *, video: bool) -> Watched:
    """Watches one camera live. Raises DrillFailed when nothing comes."""
    peer = RTCPeerConnection(RTCConfiguration(iceServers=[]))
    pictures: list[float] = []
    counts = {"audio": 0, "video": 0}
    began, first = time.monotonic(), asyncio.get_running_loop().create_future()

    async def read(track: MediaStreamTrack) -> None:
        while True:
            try:
                frame = await track.recv()
            except MediaStreamError:
                return
            counts[track.kind] += 1
            if not first.done() and (track.kind == "video") == video:
                first.set_result(time.monotonic() - began)
            if isinstance(frame, VideoFrame) and track.kind == "video":
                plane = frame.planes[0]
                index = read_picture_clock(bytes(plane), frame.width, frame.height, plane.line_size)
                if index is not None:
                    pictures.append(age(index, time.time(), rate=RATE, seconds=LOOP_SECONDS))
            elif not isinstance(frame, AudioFrame):
                raise DrillFailed("the viewer got something that is neither picture nor sound")

    readers: list[asyncio.Task[None]] = []
    peer.on("track", lambda track: readers.append(asyncio.create_task(read(track))))
    for kind in ("video", "audio") if video else ("audio",):
        peer.addTransceiver(kind, direction="recvonly")
    await peer.setLocalDescription(await peer.createOffer())
    try:
        headers = {"Content-Type": "application/sdp", "Vidne-CSRF": await visitor.csrf("/monitorrum")}
        offer = peer.localDescription.sdp.encode()
        reply = await visitor.send("POST", f"/live/{room}/{camera}", offer, headers)
        if reply.status_code != 201:
            raise DrillFailed(f"the monitor room answered {reply.status_code}: {reply.text[:200]}")
        await peer.setRemoteDescription(RTCSessionDescription(reply.text, "answer"))
        async with asyncio.timeout(FIRST_WITHIN):
            shown = await first
        await asyncio.sleep(seconds)
        await visitor.send("DELETE", reply.headers["location"], None, headers)
    except TimeoutError:
        raise DrillFailed("the viewer saw nothing") from None
    finally:
        await peer.close()
        await asyncio.gather(*readers, return_exceptions=True)
    median = statistics.median(pictures) if pictures else None
    return Watched(counts["video"], counts["audio"], shown, median)
