"""Cameras that are not files: a real RTSP server on loopback, and FFmpeg's invented inputs in place of a device.

There is no V4L2 device on a test machine, nor a kernel module to invent one: what stands in for it is another input of
the same FFmpeg with the same encoding and the same way from there on. What that cannot show is that V4L2 itself gives
its formats; that a device which is not there is told and asked for again is shown with V4L2's own input.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
import threading
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import pytest

from api.routes.whip import whip_routes
from hardware.camera import CameraSettings, End, Report, State, next_delay, run_camera
from hardware.live_source import Device, Rtsp, SourceTrouble, open_live
from hardware.rtsp_reader import has_sps
from recorder.rtp import payload_of
from recorder.whip import WhipEndpoint
from tests.hardware.test_camera import children, free_port, shown_by_ps
from tests.recorder_webrtc import rig

SERVER = Path(__file__).with_name("rtsp_server.py")
USER, PASSWORD = "vidne", "hemmelig-kode-7"
SCENE = "videotestsrc is-live=true ! video/x-raw,width=320,height=180,framerate=25/1 ! "
NO_B_FRAMES = SCENE + "x264enc tune=zerolatency key-int-max=25 bitrate=500 ! rtph264pay name=pay0 pt=96"
B_FRAMES = SCENE + (
    "x264enc speed-preset=veryfast bframes=2 b-adapt=false key-int-max=25 ! video/x-h264,profile=main ! "
    "rtph264pay name=pay0 pt=96"
)
H265 = SCENE + "x265enc tune=zerolatency speed-preset=ultrafast key-int-max=25 ! rtph265pay name=pay0 pt=96"
ALAW = " audiotestsrc is-live=true ! audio/x-raw,rate=8000 ! alawenc ! rtppcmapay name=pay1 pt=8"
OPUS = " audiotestsrc is-live=true ! audio/x-raw,channels=2 ! opusenc ! rtpopuspay name=pay1 pt=97"


@contextlib.asynccontextmanager
async def rtsp_camera(pipeline: str, port: int) -> AsyncIterator[str]:
    """Its address, with user and password."""
    process = await asyncio.create_subprocess_exec(
        "/usr/bin/python3", str(SERVER), str(port), USER, PASSWORD, pipeline,
        stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    try:
        assert process.stdout is not None
        assert await asyncio.wait_for(process.stdout.readline(), 10) == b"ready\n"
        yield f"rtsp://{USER}:{PASSWORD}@127.0.0.1:{port}/stream"
    finally:
        process.kill()
        await process.wait()


@dataclass
class Room:
    sink: rig.RememberingSink
    whip: WhipEndpoint
    endpoint: str


@pytest.fixture
async def room() -> AsyncIterator[Room]:
    sink, sock = rig.RememberingSink(), rig.free_socket()
    url = f"http://127.0.0.1:{sock.getsockname()[1]}"
    whip = WhipEndpoint(base_url=url, token_of={"wide": rig.TOKEN}.get, sink=sink, ice=rig.LOOPBACK)
    async with rig.serving(whip_routes(whip), sock):
        yield Room(sink, whip, f"{url}/whip/wide")
        await whip.stop()


@contextlib.asynccontextmanager
async def agent(room: Room, source: Rtsp | Device) -> AsyncIterator[list[Report]]:
    """`vidne camera` at work; on leaving it has stopped, and so have its child processes."""
    reports: list[Report] = []
    stop = asyncio.Event()
    settings = CameraSettings("wide", room.endpoint, rig.TOKEN, source)
    running = asyncio.create_task(run_camera(settings, stop, reports.append))
    try:
        yield reports
    finally:
        stop.set()
        await asyncio.wait_for(running, 10)
        assert children(os.getpid(), "ffmpeg") == []
    assert reports[-1].state is State.STOPPED


def ends(reports: list[Report]) -> list[End | None]:
    return [report.end for report in reports if report.state is State.WAITING]


async def test_an_rtsp_cameras_own_picture_is_relayed_and_its_password_is_shown_nowhere(
    room: Room, capfd: pytest.CaptureFixture[str]
) -> None:
    async with rtsp_camera(NO_B_FRAMES + ALAW, free_port()) as address, agent(room, Rtsp(address)):
        await rig.until(lambda: len(room.sink.packets["video"]) > 60 and len(room.sink.packets["audio"]) > 60, 20)
        seen = [shown_by_ps(child) for name in ("ffmpeg", "python") for child in children(os.getpid(), name)]
        seen = [each for each in seen if b"rtsp_server.py" not in each]
        assert any(b"hardware.rtsp_reader" in each for each in seen)
        assert any(b"whip" in each for each in seen)
        assert not any(PASSWORD.encode() in each for each in seen)
    connection = room.sink.connections[0]
    assert {kind: codec.name for kind, codec in connection.codecs.items()} == {"video": "H264", "audio": "opus"}
    units = rig.depacketised([payload_of(packet) for packet in room.sink.packets["video"]])
    assert {unit[0] & 0x1F for unit in units} >= {1, 5, 7, 8}, "slices, key frames and parameter sets, as they came"
    stamps = sorted({packet[1] for packet in room.sink.packets["video"]})
    assert {round((b - a) / 90) for a, b in pairwise(stamps)} <= {39, 40, 41}
    said = capfd.readouterr()
    assert PASSWORD not in said.out + said.err


async def test_the_command_takes_the_cameras_address_from_a_file(room: Room, tmp_path: Path) -> None:
    address_file, token_file = tmp_path / "wide.rtsp", tmp_path / "camera-wide.token"
    token_file.write_text(rig.TOKEN)
    async with rtsp_camera(NO_B_FRAMES, free_port()) as address:
        address_file.write_text(address + "\n")
        command = ["camera", "--name", "wide", "--endpoint", room.endpoint]
        command += ["--token-file", str(token_file), "--rtsp-file", str(address_file)]
        process = await asyncio.create_subprocess_exec(
            str(Path(sys.executable).with_name("vidne")), *command, stderr=asyncio.subprocess.PIPE
        )
        try:
            await rig.until(lambda: len(room.sink.packets["video"]) > 20, 30)
            assert PASSWORD.encode() not in shown_by_ps(process.pid)
        finally:
            process.terminate()
            _, said = await process.communicate()
    assert room.sink.ends == [("wide", "ended-by-camera")]
    assert b'"state": "publishing"' in said
    assert PASSWORD.encode() not in said


async def test_what_a_camera_says_of_itself_is_the_time_of_its_pictures(room: Room) -> None:
    async with rtsp_camera(NO_B_FRAMES + OPUS, free_port()) as address, agent(room, Rtsp(address)):
        await rig.until(lambda: room.sink.reports["video"] and room.sink.reports["audio"], 20)
        for kind in ("video", "audio"):
            ntp, _ = room.sink.reports[kind][0]
            assert ntp / (1 << 32) - 2_208_988_800 == pytest.approx(time.time(), abs=3)


async def test_a_relayed_picture_is_the_files_own_to_the_last_bit(room: Room, tmp_path: Path) -> None:
    clip = rig.make_clip(tmp_path / "clip.mp4", seconds=4)
    parse = f"filesrc location={clip} ! qtdemux ! h264parse ! rtph264pay name=pay0 pt=96 config-interval=-1"
    async with rtsp_camera(parse, free_port()) as address, agent(room, Rtsp(address)):
        await rig.until(lambda: len({packet[1] for packet in room.sink.packets["video"]}) > 60, 20)
        units = rig.depacketised([payload_of(packet) for packet in room.sink.packets["video"]])
        got = [unit for unit in units if unit[0] & 0x1F in (1, 5)]
    sent = [unit for unit in rig.nal_units(clip) if unit[0] & 0x1F in (1, 5)]
    start = sent.index(got[0])
    whole = got[:-1][: len(sent) - start]  # the last one may have come in part
    assert len(whole) >= 25
    assert whole == sent[start : start + len(whole)]


async def test_comes_back_when_the_camera_does(room: Room) -> None:
    port = free_port()
    async with contextlib.AsyncExitStack() as stack:
        async with rtsp_camera(NO_B_FRAMES, port) as address:
            reports = await stack.enter_async_context(agent(room, Rtsp(address)))
            await rig.until(lambda: len(room.sink.packets["video"]) > 20, 20)
        await rig.until(lambda: End.SOURCE_OUT_OF_REACH in ends(reports), 20)
        assert ends(reports)[0] in (End.SOURCE_LOST, End.SOURCE_OUT_OF_REACH)
        before = len(room.sink.packets["video"])
        async with rtsp_camera(NO_B_FRAMES, port):
            await rig.until(lambda: len(room.sink.packets["video"]) > before + 20, 20)
            assert len(room.sink.connections) == 2


async def read_on(source: Rtsp) -> None:
    async with open_live(source, int(time.time()), asyncio.Event()) as stream:
        while True:
            await asyncio.wait_for(stream.read(), 10)


@pytest.mark.parametrize(
    ("pipeline", "path", "password", "end", "words"),
    [
        (B_FRAMES, "stream", PASSWORD, "unsuitable", "B-frames"),
        (NO_B_FRAMES, "stream", "forkert", "refused", "the user or the password"),
        (NO_B_FRAMES, "other", PASSWORD, "refused", "nothing at this address"),
        (H265, "stream", PASSWORD, "unsuitable", "sends H.265. Choose H.264"),
    ],
    ids=["b-frames", "wrong-password", "no-such-path", "h265"],
)
async def test_what_cannot_be_relayed_is_said_in_words(
    pipeline: str, path: str, password: str, end: str, words: str
) -> None:
    port = free_port()
    async with rtsp_camera(pipeline, port):
        source = Rtsp(f"rtsp://{USER}:{password}@127.0.0.1:{port}/{path}")
        with pytest.raises(SourceTrouble) as trouble:
            await read_on(source)
    assert trouble.value.kind == end
    assert words in str(trouble.value)
    assert password not in str(trouble.value)


@dataclass(frozen=True, slots=True)
class Invented(Device):
    """Inputs of FFmpeg's own in place of V4L2 and PulseAudio."""

    @property
    def inputs(self) -> list[list[str]]:
        return [
            ["-re", "-f", "lavfi", "-i", f"testsrc2=size={self.size}:rate={self.rate}"],
            ["-re", "-f", "lavfi", "-i", "sine=frequency=440:sample_rate=44100"],
        ]


async def test_a_devices_picture_and_sound_are_encoded_once_and_published(room: Room) -> None:
    device = Invented(Path("/dev/video0"), "default", size="320x180", rate=25, bitrate=500_000)
    async with agent(room, device):
        await rig.until(lambda: len(room.sink.packets["video"]) > 60 and len(room.sink.packets["audio"]) > 60, 20)
        ntp, _ = room.sink.reports["video"][0]
        assert ntp / (1 << 32) - 2_208_988_800 == pytest.approx(time.time(), abs=5)
    assert {kind: codec.name for kind, codec in room.sink.connections[0].codecs.items()} == {
        "video": "H264",
        "audio": "opus",
    }
    units = rig.depacketised([payload_of(packet) for packet in room.sink.packets["video"]])
    assert {unit[0] & 0x1F for unit in units} >= {1, 5, 7, 8}
    assert room.sink.ends == [("wide", "ended-by-camera")]


@dataclass(frozen=True, slots=True)
class InventedCoder(Device):
    """A named pipe, written at the pace of a camera, in place of a device that gives H.264."""

    @property
    def inputs(self) -> list[list[str]]:
        return [["-f", "h264", "-framerate", "25", "-i", str(self.video)]]


def play(units: list[bytes], into: Path, stop: threading.Event) -> None:
    """A picture each 40 ms, over and over."""
    with contextlib.suppress(BrokenPipeError), into.open("wb", buffering=0) as pipe:
        while not stop.is_set():
            for unit in units:
                pipe.write(b"\0\0\0\1" + unit)
                if unit[0] & 0x1F in (1, 5) and stop.wait(0.04):
                    return


async def test_a_devices_own_h264_is_relayed_to_the_last_bit(room: Room, tmp_path: Path) -> None:
    units = rig.nal_units(rig.make_clip(tmp_path / "clip.mp4", seconds=3))
    device, stop = tmp_path / "video0", threading.Event()
    os.mkfifo(device)
    playing = asyncio.create_task(asyncio.to_thread(play, units, device, stop))
    async with agent(room, InventedCoder(device, gives="h264")):
        await rig.until(lambda: len({packet[1] for packet in room.sink.packets["video"]}) > 50, 20)
        got = rig.depacketised([payload_of(packet) for packet in room.sink.packets["video"]])
    stop.set()
    await playing
    pictures = [unit for unit in units if unit[0] & 0x1F in (1, 5)] * 3
    whole = [unit for unit in got if unit[0] & 0x1F in (1, 5)][:50]
    start = pictures.index(whole[0])
    assert whole == pictures[start : start + 50]


async def test_a_device_that_is_not_there_is_told_and_asked_for_again(room: Room, tmp_path: Path) -> None:
    async with agent(room, Device(tmp_path / "video9")) as reports:
        await rig.until(lambda: len(ends(reports)) >= 2, 20)
    assert set(ends(reports)) == {End.SOURCE_OUT_OF_REACH}
    assert next_delay(9, End.SOURCE_OUT_OF_REACH, None, 0.0) == 0.5
    assert next_delay(9, End.SOURCE_REFUSED, None, 0.0) == 5.0


@pytest.mark.parametrize("address", ["http://camera/stream", "rtsp://", "rtsp://camera/a b", "camera"])
def test_an_address_that_is_none_is_refused(address: str) -> None:
    with pytest.raises(ValueError, match="rtsp://"):
        Rtsp(address)


def test_addresses_and_devices_are_spelt_out() -> None:
    assert PASSWORD not in repr(
        CameraSettings("wide", "http://127.0.0.1:1/whip/wide", rig.TOKEN, Rtsp(f"rtsp://a:{PASSWORD}@b/c"))
    )
    command = Device.named(Path("/dev/video0"), sound=None, gives="h264", size="1920x1080", rate=25).command(0)
    assert command[command.index("-f") : command.index("-i")] == [
        "-f", "v4l2", "-input_format", "h264", "-video_size", "1920x1080", "-framerate", "25",
    ]  # fmt: skip
    assert command[command.index("-c:v") + 1] == "copy"
    with pytest.raises(ValueError, match="mpeg2"):
        Device.named(Path("/dev/video0"), sound=None, gives="mpeg2", size="640x480", rate=30)
    with pytest.raises(ValueError, match="1280x720"):
        Device.named(Path("/dev/video0"), sound=None, gives="mjpeg", size="big", rate=30)


def test_parameter_sets_are_found_in_the_byte_stream() -> None:
    assert has_sps(b"\0\0\0\1\x09\xf0\0\0\1\x67\x42")
    assert not has_sps(b"\0\0\0\1\x09\xf0\0\0\1\x65\x42")
    assert not has_sps(b"\0\0\1")
