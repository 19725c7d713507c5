from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import socket
import sys
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from hardware.camera import CameraSettings, End, Report, State, next_delay, run_camera
from hardware.clip_stream import UnsuitableClip

TOKEN = "camera-token-of-the-test"
RECEIVER = Path(__file__).with_name("whip_receiver.py")
VIDEO, AUDIO, SENDER_REPORT = "106", "111", 200


class Receiver:
    """The third party's server in a process of its own, and what it said."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process
        self.seen: list[dict[str, Any]] = []
        self._news = asyncio.Event()
        self._reading = asyncio.create_task(self._read())

    async def _read(self) -> None:
        assert self.process.stdout is not None
        while line := await self.process.stdout.readline():
            self.seen.append(json.loads(line))
            self._news.set()

    def of(self, kind: str) -> list[dict[str, Any]]:
        return [item for item in self.seen if item["kind"] == kind]

    async def until(self, told: Callable[[], bool], patience: float = 8) -> None:
        async with asyncio.timeout(patience):
            while not told():
                self._news.clear()
                await self._news.wait()

    def packets(self, payload_type: str) -> int:
        counts = [item["counts"].get(payload_type, 0) for item in self.of("rtp")]
        return int(counts[-1]) if counts else 0

    async def kill(self) -> None:
        if self.process.returncode is None:
            self.process.kill()
        await self.process.wait()
        await self._reading


@contextlib.asynccontextmanager
async def receiver(port: int, token: str = TOKEN) -> AsyncIterator[Receiver]:
    process = await asyncio.create_subprocess_exec(
        sys.executable, str(RECEIVER), str(port), token, stdout=asyncio.subprocess.PIPE
    )
    server = Receiver(process)
    try:
        await server.until(lambda: bool(server.of("listening")))
        yield server
    finally:
        await server.kill()


@contextlib.asynccontextmanager
async def camera(settings: CameraSettings) -> AsyncIterator[list[Report]]:
    """A camera at work; stopped, and found to be gone, on leaving."""
    reports: list[Report] = []
    stop = asyncio.Event()
    running = asyncio.create_task(run_camera(settings, stop, reports.append))
    try:
        yield reports
    finally:
        stop.set()
        await asyncio.wait_for(running, 8)
        assert children(os.getpid(), "ffmpeg") == []
    assert reports[-1].state is State.STOPPED


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def children(parent: int, name: str) -> list[int]:
    """Processes started by `parent` whose program is called so."""
    found = []
    for status in Path("/proc").glob("[0-9]*/status"):
        with contextlib.suppress(OSError):
            text = status.read_text()
            if f"\nPPid:\t{parent}\n" in text and text.splitlines()[0].split("\t")[1].startswith(name):
                found.append(int(status.parent.name))
    return found


def shown_by_ps(pid: int) -> bytes:
    """Command line and environment of a process."""
    return b"".join(Path(f"/proc/{pid}/{name}").read_bytes() for name in ("cmdline", "environ"))


def alive(pid: int) -> bool:
    with contextlib.suppress(OSError):
        return "\nState:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    return False


async def test_publishes_in_step_with_utc_and_says_goodbye(small_clip: Path) -> None:
    port = free_port()
    settings = CameraSettings("wide", f"http://127.0.0.1:{port}/whip/wide", TOKEN, small_clip)
    async with receiver(port) as server:
        async with camera(settings) as reports:
            await server.until(lambda: server.packets(VIDEO) > 60 and server.packets(AUDIO) > 60)
            (ffmpeg,) = children(os.getpid(), "ffmpeg")
            assert TOKEN.encode() not in shown_by_ps(ffmpeg)
        await server.until(lambda: bool(server.of("delete")))
        (offer,) = server.of("offer")
        assert "m=audio" in offer["sdp"]
        assert "H264/90000" in offer["sdp"]
        for first in server.of("first"):
            assert (first["at"] + 0.1) % 1 < 0.4, "sending begins on a whole second of UTC"
        assert {item["packet_type"] for item in server.of("rtcp")} == {SENDER_REPORT}
    assert [report.state for report in reports] == [State.CONNECTING, State.PUBLISHING, State.STOPPED]


async def test_sound_alone_is_published(small_clip: Path) -> None:
    port = free_port()
    settings = CameraSettings("wide", f"http://127.0.0.1:{port}/whip/wide", TOKEN, small_clip, audio_only=True)
    async with receiver(port) as server, camera(settings):
        await server.until(lambda: server.packets(AUDIO) > 40)
        assert server.packets(VIDEO) == 0
        assert "m=video" not in server.of("offer")[0]["sdp"]


async def test_comes_back_after_the_server_was_killed(small_clip: Path) -> None:
    port = free_port()
    settings = CameraSettings("wide", f"http://127.0.0.1:{port}/whip/wide", TOKEN, small_clip)
    async with camera(settings) as reports:
        async with receiver(port) as server:
            await server.until(lambda: server.packets(VIDEO) > 10)
            await server.kill()
            killed = time.monotonic()
            while reports[-1].state is not State.WAITING:
                assert time.monotonic() - killed < 2, "the loss was not noticed"
                await asyncio.sleep(0.02)
            assert reports[-1].end is End.SERVER_LOST
            await asyncio.sleep(1.2)
            assert reports[-1].end in {End.OUT_OF_REACH, None}
        async with receiver(port) as server:
            back = time.monotonic()
            await server.until(lambda: len(server.of("first")) == 2)
            assert time.monotonic() - back < 3.0


async def test_a_refusal_is_reported_and_tried_again(small_clip: Path) -> None:
    port = free_port()
    settings = CameraSettings("wide", f"http://127.0.0.1:{port}/whip/wide", TOKEN, small_clip)
    async with receiver(port, token="another") as server, camera(settings) as reports:
        await server.until(lambda: len(server.of("refused")) >= 2)
        refusals = [report for report in reports if report.state is State.WAITING]
        assert {(report.end, report.status) for report in refusals} == {(End.REFUSED, 401)}


async def test_ffmpeg_ends_when_the_camera_process_is_killed(small_clip: Path) -> None:
    port = free_port()
    program = (
        "import asyncio, pathlib, sys\n"
        "from hardware.camera import CameraSettings, run_camera\n"
        "settings = CameraSettings('wide', sys.argv[1], sys.argv[2], pathlib.Path(sys.argv[3]))\n"
        "asyncio.run(run_camera(settings, asyncio.Event(), lambda report: None))\n"
    )
    async with receiver(port) as server:
        agent = await asyncio.create_subprocess_exec(
            sys.executable, "-c", program, f"http://127.0.0.1:{port}/whip/wide", TOKEN, str(small_clip),
            stdout=asyncio.subprocess.DEVNULL, cwd=Path(__file__).parents[2],
        )  # fmt: skip
        try:
            await server.until(lambda: server.packets(VIDEO) > 5)
            (ffmpeg,) = children(agent.pid, "ffmpeg")
        finally:
            agent.send_signal(signal.SIGKILL)
            await agent.wait()
        deadline = time.monotonic() + 3
        while alive(ffmpeg):
            assert time.monotonic() < deadline, "FFmpeg outlived the camera"
            await asyncio.sleep(0.05)


async def test_a_file_that_cannot_be_sent_is_refused_before_any_attempt(tmp_path: Path) -> None:
    (tmp_path / "clip.mp4").write_text("not a film")
    reports: list[Report] = []
    settings = CameraSettings("wide", "http://127.0.0.1:9/whip/wide", TOKEN, tmp_path / "clip.mp4")
    with pytest.raises(UnsuitableClip):
        await run_camera(settings, asyncio.Event(), reports.append)
    assert reports == []


@pytest.mark.parametrize(
    ("failures", "end", "retry_after", "chance", "expected"),
    [
        (1, End.SERVER_LOST, None, 0.0, 0.2),
        (1, End.SERVER_LOST, None, 1.0, 0.15),
        (3, End.REFUSED, None, 0.0, 0.8),
        (50, End.REFUSED, None, 0.0, 5.0),
        (5_000, End.NO_HANDSHAKE, None, 1.0, 3.75),
        (50, End.OUT_OF_REACH, None, 0.0, 0.5),
        (1, End.REFUSED, 2.0, 0.0, 2.0),
        (1, End.REFUSED, 3_600.0, 0.0, 30.0),
    ],
)
def test_delays_double_and_are_bounded(
    failures: int, end: End, retry_after: float | None, chance: float, expected: float
) -> None:
    assert next_delay(failures, end, retry_after, chance) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("endpoint", "token"),
    [
        ("http://room.example/whip/wide", TOKEN),
        ("ftp://127.0.0.1/whip/wide", TOKEN),
        ("http://user:word@127.0.0.1/whip/wide", TOKEN),
        ("https:///whip/wide", TOKEN),
        ("http://127.0.0.1/whip/wide", ""),
        ("http://127.0.0.1/whip/wide", "two\r\nlines"),
    ],
)
def test_settings_that_would_give_the_token_away_are_refused(endpoint: str, token: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError):
        CameraSettings("wide", endpoint, token, tmp_path / "clip.mp4")


def test_settings_do_not_show_the_token(tmp_path: Path) -> None:
    assert TOKEN not in repr(CameraSettings("wide", "https://room.example/whip/wide", TOKEN, tmp_path / "clip.mp4"))
