"""Starts processes, restarts those that die, and ends them all together. Knows nothing of what they do."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

FIRST_PAUSE: Final = 0.05
LONGEST_PAUSE: Final = 2.0
WELL_AFTER: Final = 10.0
"""Seconds after which a process counts as well: the next restart is at once again."""
END_WITHIN: Final = 6.0
SUPERVISOR: Final = "VIDNE_SUPERVISOR_PID"
"""In each child's environment: who its parent has to be."""


@dataclass(frozen=True, slots=True)
class Program:
    """`arguments` for this Python: a `vidne` command line. `environment` is added to ours."""

    name: str
    arguments: Sequence[str]
    environment: Mapping[str, str]


class Supervisor:
    """`tell(name, what)` hears of every start and end."""

    def __init__(self, programs: Sequence[Program], log: int | None, tell: Callable[[str, str], None]) -> None:
        """`log`: a file descriptor for the children's standard error; None leaves it as ours."""
        self._programs = programs
        self._log = log
        self._tell = tell
        self._stopping = asyncio.Event()
        self.pids: dict[str, int] = {}

    def stop(self) -> None:
        self._stopping.set()

    async def run(self) -> None:
        """Until `stop`; then every child has ended."""
        async with asyncio.TaskGroup() as group:
            for program in self._programs:
                group.create_task(self._keep(program), name=f"keep-{program.name}")

    async def _keep(self, program: Program) -> None:
        loop, pause = asyncio.get_running_loop(), FIRST_PAUSE
        while not self._stopping.is_set():
            began = loop.time()
            child = await asyncio.create_subprocess_exec(
                sys.executable, "-m", "api.cli", *program.arguments,
                env={**os.environ, **program.environment, SUPERVISOR: str(os.getpid())},
                stdin=asyncio.subprocess.DEVNULL, stderr=self._log,
            )  # fmt: skip
            self.pids[program.name] = child.pid
            self._tell(program.name, f"started, pid {child.pid}")
            ended = asyncio.create_task(child.wait())
            stopping = asyncio.create_task(self._stopping.wait())
            try:
                await asyncio.wait([ended, stopping], return_when=asyncio.FIRST_COMPLETED)
            finally:
                stopping.cancel()
                if child.returncode is None:
                    await _end(child)
                await ended
            if self._stopping.is_set():
                return
            self._tell(program.name, f"ended with {child.returncode}; starting it again")
            pause = FIRST_PAUSE if loop.time() - began > WELL_AFTER else min(pause * 2, LONGEST_PAUSE)
            await asyncio.sleep(pause)


async def _end(child: asyncio.subprocess.Process) -> None:
    with contextlib.suppress(ProcessLookupError):
        child.send_signal(signal.SIGTERM)
    try:
        async with asyncio.timeout(END_WITHIN):
            await child.wait()
    except TimeoutError:
        with contextlib.suppress(ProcessLookupError):
            child.kill()
