"""Other people's programs as child processes, and what they say on standard output, one JSON object a line."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

from tests.monitor_room.room import MONITOR_TOKEN
from tests.recorder_webrtc import rig

HERE = Path(__file__).parent
DEBIANS_PYTHON = "/usr/bin/python3"
"""The interpreter that has Debian's bindings of GStreamer."""


class Program:
    """`said`: all of it so far; `until` waits for what must be said, and fails with what was."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process
        self.said: list[dict[str, Any]] = []
        self._reading = asyncio.create_task(self._read())

    async def _read(self) -> None:
        assert self.process.stdout is not None
        while line := await self.process.stdout.readline():
            self.said.append(json.loads(line))

    def of(self, kind: str) -> list[dict[str, Any]]:
        return [each for each in self.said if each["kind"] == kind]

    async def until(self, told: Callable[[], object], seconds: float = 15.0) -> None:
        end = time.monotonic() + seconds
        while not told():
            assert time.monotonic() < end, f"was not said in time; the latest was {str(self.said[-6:])[-1500:]}"
            await asyncio.sleep(0.05)

    def tell(self, **what: Any) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps(what).encode() + b"\n")

    async def end(self) -> None:
        """Its input ends, upon which it says goodbye."""
        assert self.process.stdin is not None
        self.process.stdin.close()
        try:
            await asyncio.wait_for(self.process.wait(), 8)
        except TimeoutError:
            self.process.kill()
            await self.process.wait()
        await self._reading


@contextlib.asynccontextmanager
async def program(*command: str, **environment: str) -> AsyncIterator[Program]:
    pipe = asyncio.subprocess.PIPE
    kept = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
    process = await asyncio.create_subprocess_exec(
        *command, stdin=pipe, stdout=pipe, env=kept | environment, limit=4 * 1024 * 1024
    )
    running = Program(process)
    try:
        yield running
    finally:
        await running.end()


def gstreamer_camera(url: str, codec: str = "h264", **more: str) -> contextlib.AbstractAsyncContextManager[Program]:
    script = str(HERE / "gstreamer.py")
    return program(DEBIANS_PYTHON, script, "publish", url, codec, TOKEN=rig.TOKEN, **more)


def gstreamer_viewer(
    url: str, frame: Path, codec: str = "h264", **more: str
) -> contextlib.AbstractAsyncContextManager[Program]:
    script = str(HERE / "gstreamer.py")
    environment = {"TOKEN": MONITOR_TOKEN, "VIEWER": "account-1"} | more
    return program(DEBIANS_PYTHON, script, "view", url, str(frame), codec, **environment)
