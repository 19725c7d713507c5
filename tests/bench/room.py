"""Our side: a whole house of real processes with as many cameras as a measurement wants, recording."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from types import TracebackType
from typing import Self

import httpx

from api.drill.house import House, loopback_settings
from api.drill.visitor import Visitor
from api.settings import Secrets

_CAMERA = """
[[cameras]]
id = "camera-{n}"
label = "Kamera {n}"
video = true
audio = true
video_codec = "h264"
audio_codec = "opus"
"""
_WITHIN_S = 20.0


def profile(folder: Path, cameras: int) -> Path:
    """A room profile with so many cameras, each with picture and sound."""
    path = folder / "bench.toml"
    text = 'room = "bench"\nlabel = "Måling"\nhouse = "Måling"\n'
    path.write_text(text + "".join(_CAMERA.format(n=n + 1) for n in range(cameras)))
    return path


class MeasuredRoom:
    """Recorder, monitor and web application on loopback, with an operator signed in."""

    def __init__(self, folder: Path, cameras: int) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.settings = loopback_settings(folder / "house", str(profile(folder, cameras)), watch=False)
        self.settings.data.mkdir(mode=0o700)
        self.cameras = [f"camera-{n + 1}" for n in range(cameras)]
        self.house = House(self.settings, folder / "house.log")
        self._operator: Visitor = self.house.visitor()
        self._recordings = 0
        self._leases: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        await self.house.__aenter__()
        await self._operator.__aenter__()
        await self.house.answers()
        await self.house.admit(self._operator, "operator")
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for lease in self._leases:
            lease.cancel()
        await asyncio.gather(*self._leases, return_exceptions=True)
        await self._operator.__aexit__(kind, error, trace)
        await self.house.__aexit__(kind, error, trace)

    @property
    def room_node(self) -> list[int]:
        """The room node's processes: recorder and monitor."""
        return [self.house.pid("recorder"), self.house.pid("monitor")]

    def publishing(self) -> list[tuple[str, str | None]]:
        """Each camera's WHIP address and token."""
        secrets = Secrets(self.settings.run_folder)
        return [
            (f"{self.settings.recorder_url}/whip/{camera}", secrets.token(f"camera-{camera}"))
            for camera in self.cameras
        ]

    def keep(self, session: str, token: str) -> None:
        """Renews a viewer's lease, as the web application does, until it has ended."""
        task = asyncio.create_task(_renew(f"{session}/lease", token))
        self._leases.add(task)
        task.add_done_callback(self._leases.discard)

    @asynccontextmanager
    async def recording(self) -> AsyncIterator[str]:
        """An interview that is being recorded; its id. Raises DrillFailed, or TimeoutError when nothing is durable."""
        self._recordings += 1
        number = f"0100-83986-{self._recordings:05d}-26"
        async with asyncio.timeout(_WITHIN_S):
            await self.house.cameras_send()
        page = await self._operator.submit("/afhoering", "/afhoering", case_number=number, child_ordinal="1")
        await self._operator.submit(f"{page}/start", page)
        async with asyncio.timeout(_WITHIN_S):
            while True:
                if (await self.house.room()).get("durable"):
                    break
                await asyncio.sleep(0.1)
        try:
            yield page.rsplit("/", 1)[1]
        finally:
            await self._operator.submit(f"{page}/stop", page)


async def _renew(lease: str, token: str) -> None:
    async with httpx.AsyncClient(headers={"Authorization": f"Bearer {token}"}, trust_env=False) as client:
        while True:
            if not (await client.put(lease)).is_success:
                return
            await asyncio.sleep(5.0)
