"""The store's own process, as it runs in production, begun again as often as it is killed.

Each life is a process of its own, forked from one that has the modules loaded already, so that a life begins in a
fraction of a second. It listens on loopback.
"""

from __future__ import annotations

import asyncio
import contextlib
import multiprocessing
import os
import signal
import sys
from collections.abc import Callable
from multiprocessing.process import BaseProcess
from pathlib import Path

import httpx

# What each life needs is loaded once, in the process that lives are forked from.
from api.commands.keys import rotate
from api.processes import web
from api.processes.serving import listen
from api.settings import Settings

WITHIN_S = 30.0
_FORKS = multiprocessing.get_context("forkserver")


def _web(settings: Settings, log: Path) -> None:
    _say_into(log)
    web.main(settings)


def _rotate(settings: Settings, log: Path) -> None:
    _say_into(log)
    # As a console in the house's folder has them: without its second vault, that one would be new at the next start.
    os.environ.update(settings.environment())
    rotate(settings.data)


def _say_into(log: Path) -> None:
    file = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    os.dup2(file, sys.stdout.fileno())
    os.dup2(file, sys.stderr.fileno())


class Lives:
    """One store, and the processes that work on it. `base`: where it listens."""

    def __init__(self, settings: Settings, log: Path) -> None:
        self.settings, self.log = settings, log
        self.base = settings.api_url
        self.began = 0
        self._web: BaseProcess | None = None
        _FORKS.set_forkserver_preload([__name__])

    async def begin(self) -> None:
        """Returns when it answers."""
        self._web = self._fork(_web)
        self.began += 1
        async with asyncio.timeout(WITHIN_S), httpx.AsyncClient(base_url=self.base, trust_env=False) as client:
            while True:
                with contextlib.suppress(httpx.HTTPError):
                    if (await client.get("/log-ind")).is_success:
                        return
                if not self._web.is_alive():
                    raise RuntimeError(f"the store did not start: {self.log.read_text()[-2000:]}")
                await asyncio.sleep(0.01)

    @property
    def alive(self) -> bool:
        return self._web is not None

    async def kill(self) -> None:
        await self._end(signal.SIGKILL)

    async def end(self) -> None:
        await self._end(signal.SIGTERM)

    async def _end(self, number: signal.Signals) -> None:
        if self._web is not None and self._web.pid is not None:
            process, self._web = self._web, None
            os.kill(process.pid or 0, number)
            await asyncio.to_thread(process.join, WITHIN_S)
            if process.exitcode is None:
                raise RuntimeError("the store does not end")

    def rotation(self) -> BaseProcess:
        """`vidne keys rotate`, under way."""
        return self._fork(_rotate)

    def _fork(self, run: Callable[[Settings, Path], None]) -> BaseProcess:
        process = _FORKS.Process(target=run, args=(self.settings, self.log))
        process.start()
        return process


def free_port() -> int:
    with listen("127.0.0.1", 0) as listener:
        return int(listener.getsockname()[1])
