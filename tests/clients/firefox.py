"""Debian's Firefox beside the tests, through `firefox.mjs`: pages are numbers, expressions are JavaScript."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from tests.clients.programs import HERE, Program, program


class Firefox:
    """`complaints`: what its pages' consoles said of errors."""

    def __init__(self, running: Program) -> None:
        self._running = running
        self._asked = 0

    @property
    def complaints(self) -> list[str]:
        return [str(each["text"]) for each in self._running.of("console")]

    async def _ask(self, **what: Any) -> Any:
        self._asked += 1
        number = self._asked
        self._running.tell(id=number, **what)
        done: list[dict[str, Any]] = []

        def answered() -> bool:
            done[:] = [each for each in self._running.of("done") if each["id"] == number]
            return bool(done)

        await self._running.until(answered, 30)
        assert "error" not in done[0], done[0]["error"]
        return done[0]["value"]

    async def open(self, url: str) -> int:
        return int(await self._ask(open=url))

    async def evaluate(self, page: int, expression: str) -> Any:
        return await self._ask(page=page, evaluate=expression)

    async def until(self, page: int, expression: str, seconds: float = 25.0) -> None:
        """Waits for what must become true; fails with what the page says."""
        end = time.monotonic() + seconds
        while not await self.evaluate(page, f"Boolean({expression})"):
            assert time.monotonic() < end, (
                f"never came true: {expression}; {await self.evaluate(page, 'document.body.innerText')}"
            )
            await asyncio.sleep(0.2)

    async def screenshot(self, page: int, to: Path) -> None:
        await self._ask(page=page, screenshot=str(to))


@contextlib.asynccontextmanager
async def firefox(home: Path) -> AsyncIterator[Firefox]:
    """`home` is its own: it leaves nothing behind and finds nothing."""
    async with program("node", str(HERE / "firefox.mjs"), HOME=str(home)) as running:
        await running.until(lambda: running.of("ready"), 60)
        yield Firefox(running)
