"""A house of real processes on free ports of loopback, for whoever rehearses in it: the drill, and the tests."""

from __future__ import annotations

import asyncio
import dataclasses
import os
import signal
import socket
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import httpx

from api.drill.visitor import Visitor
from api.processes.house import answers, programs
from api.processes.supervisor import Program, Supervisor
from api.settings import Secrets, Settings
from api.wiring import DEMO_ACCOUNTS


def free_ports(count: int) -> list[int]:
    """Ports of loopback that nobody listens on now."""
    sockets = [socket.socket() for _ in range(count)]
    try:
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [int(each.getsockname()[1]) for each in sockets]
    finally:
        for each in sockets:
            each.close()


def loopback_settings(data: Path, profile: str, **more: Any) -> Settings:
    """Settings of a house with the demo's people, on free ports."""
    port, recorder_port, monitor_port = free_ports(3)
    return Settings(
        data=data, port=port, recorder_port=recorder_port, monitor_port=monitor_port, demo=True, profile=profile, **more
    )


class House:
    """Recorder, monitor and web application, each under a supervisor of its own, so that each can be started anew.

    `others`: programs beside them, such as cameras. `environment` is added to every process's. What they say goes to
    `log`.
    """

    def __init__(
        self,
        settings: Settings,
        log: Path,
        others: Sequence[Program] = (),
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self.settings = settings
        self._log = log
        self._others = others
        self._environment = dict(environment or {})
        self._running: dict[str, tuple[Supervisor, asyncio.Task[None]]] = {}
        self._descriptor = -1

    async def __aenter__(self) -> Self:
        self._descriptor = os.open(self._log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        for program in (*programs(self.settings, room=True, web=True), *self._others):
            self.start(program)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for supervisor, _ in self._running.values():
            supervisor.stop()
        ended = await asyncio.gather(*(task for _, task in self._running.values()), return_exceptions=True)
        os.close(self._descriptor)
        for each in ended:
            if isinstance(each, BaseException):
                raise each

    def start(self, program: Program) -> None:
        """Runs one more program in the house until it is left."""
        program = dataclasses.replace(program, environment={**self._environment, **program.environment})
        supervisor = Supervisor([program], self._descriptor, lambda name, what: None)
        self._running[program.name] = (supervisor, asyncio.create_task(supervisor.run()))

    def pid(self, name: str) -> int:
        """The process that has that name now. Raises KeyError before its first start."""
        return self._running[name][0].pids[name]

    async def restart(self, name: str, **changed: Any) -> None:
        """Ends one process (`web`, `recorder`, `monitor`) and starts it with other settings; the others go on."""
        await self.end(name)
        self.bring_back(name, **changed)

    async def end(self, name: str) -> None:
        """Ends one process in order. It stays away until it is brought back."""
        supervisor, task = self._running.pop(name)
        supervisor.stop()
        await task

    async def kill(self, name: str) -> None:
        """Ends one process with signal 9. It stays away until it is brought back."""
        supervisor, task = self._running.pop(name)
        # Nobody starts it again: the supervisor is told first, and looks only after both.
        supervisor.stop()
        os.kill(supervisor.pids[name], signal.SIGKILL)
        await task

    def bring_back(self, name: str, **changed: Any) -> None:
        """Starts a process that was ended, with other settings."""
        self.settings = self.settings.model_copy(update=changed)
        self.start(next(each for each in programs(self.settings, room=True, web=True) if each.name == name))

    async def answers(self) -> None:
        """Returns once the web application answers."""
        await answers(self.settings)

    def visitor(self) -> Visitor:
        return Visitor(self.settings.api_url)

    async def admit(self, visitor: Visitor, username: str) -> None:
        """Signs one of the demo's people in. Raises DrillFailed."""
        account = next(each for each in DEMO_ACCOUNTS if each.username == username)
        await visitor.sign_in(account.username, account.password)

    async def room(self) -> dict[str, Any]:
        """The recorder's own word; empty while it does not answer."""
        token = Secrets(self.settings.run_folder).token("room")
        try:
            async with httpx.AsyncClient(base_url=self.settings.recorder_url, trust_env=False) as client:
                reply = await client.get("/room/state", headers={"Authorization": f"Bearer {token}"}, timeout=2.0)
        except httpx.HTTPError:
            return {}
        described: dict[str, Any] = reply.json() if reply.is_success else {}
        return described

    async def cameras_send(self) -> list[dict[str, Any]]:
        """Returns the cameras once each of them is heard."""
        while True:
            cameras: list[dict[str, Any]] = (await self.room()).get("cameras", [])
            if cameras and all(each["connected"] and each["silence"] is not None for each in cameras):
                return cameras
            await asyncio.sleep(0.1)
