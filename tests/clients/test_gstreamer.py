"""GStreamer's webrtcbin (Debian's 1.22) publishes and views; what it shows is read off its decoded pictures.

Its certificate is of RSA and it offers TCP candidates: both stood in its way once.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from hardware.picture_clock import read_picture_clock
from tests.clients.programs import gstreamer_camera, gstreamer_viewer
from tests.monitor_room.room import Room
from tests.recorder_webrtc import rig


@pytest.mark.parametrize("trickle", ["0", "1"], ids=["whole-offer", "trickle"])
async def test_publishes_h264_and_views_it(room: Room, tmp_path: Path, trickle: str) -> None:
    async with gstreamer_camera(f"{room.url}/whip/wide", TRICKLE=trickle) as camera:
        await camera.until(lambda: len(room.sink.packets["video"]) > 40 and len(room.sink.packets["audio"]) > 40)
        assert [connection.codecs["video"].name for connection in room.sink.connections] == ["H264"]
        if trickle == "1":
            assert "a=candidate" not in camera.of("offer")[0]["sdp"]
            assert camera.of("patched")[0]["status"] == 204
        frame = tmp_path / "frame.gray"
        await rig.until(lambda: "video" in room.node.fanout.codecs("wide"))
        async with gstreamer_viewer(f"{room.url}/whep/wide", frame, TRICKLE=trickle) as viewer:
            await viewer.until(lambda: len(viewer.of("frame")) > 25 and viewer.of("sound"))
            pictures, sounds = viewer.of("frame"), viewer.of("sound")
            assert (pictures[-1]["width"], pictures[-1]["height"]) == (320, 180)
            assert min(each["spread"] for each in pictures) > 5, "a white ball on black"
            assert max(each["loudest"] for each in sounds) > 1000
        assert viewer.of("deleted") == [{"kind": "deleted", "status": 200}]
    assert camera.of("deleted") == [{"kind": "deleted", "status": 200}]
    assert [reason for _, reason in room.sink.ends] == ["ended-by-camera"]
    assert viewer.of("error") == camera.of("error") == []


async def test_publishes_vp8_and_views_it(room: Room, tmp_path: Path) -> None:
    async with gstreamer_camera(f"{room.url}/whip/wide", "vp8") as camera:
        await camera.until(lambda: len(room.sink.packets["video"]) > 40)
        assert [connection.codecs["video"].name for connection in room.sink.connections] == ["VP8"]
        await rig.until(lambda: "video" in room.node.fanout.codecs("wide"))
        async with gstreamer_viewer(f"{room.url}/whep/wide", tmp_path / "frame", "vp8") as viewer:
            await viewer.until(lambda: len(viewer.of("frame")) > 25)
            assert min(each["spread"] for each in viewer.of("frame")) > 5
        async with gstreamer_viewer(f"{room.url}/whep/wide", tmp_path / "frame", "h264") as other:
            await other.until(lambda: other.of("refused"))
            refusal = other.of("refused")[0]
            assert refusal["status"] == 406
            assert "has no VP8, which is what the camera sends" in refusal["body"]


async def test_views_the_picture_clock_that_ffmpeg_publishes(room: Room, tmp_path: Path, clip: Path) -> None:
    frame = tmp_path / "frame.gray"
    async with rig.camera(f"{room.url}/whip/wide", clip, loop=True):
        await rig.until(lambda: "video" in room.node.fanout.codecs("wide"))
        async with gstreamer_viewer(f"{room.url}/whep/wide", frame) as viewer:
            await viewer.until(lambda: len(viewer.of("frame")) > 20)
            early = read_picture_clock(frame.read_bytes(), 640, 360)
            await viewer.until(lambda: len(viewer.of("frame")) > 40)
            late = read_picture_clock(frame.read_bytes(), 640, 360)
            assert early is not None
            assert late is not None
            assert early != late, "the picture moves on"
