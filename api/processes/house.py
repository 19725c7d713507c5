"""A house's processes under one supervisor: `vidne room`, `vidne api`, `vidne serve`."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Callable

import httpx
import typer

from api.desk.witnesses import require_authorities
from api.processes.serving import listen
from api.processes.supervisor import Program, Supervisor
from api.settings import Secrets, Settings
from evidence_store.errors import InvalidInput
from hardware.profile import Camera


def programs(settings: Settings, *, room: bool, web: bool) -> list[Program]:
    """What has to run; the tokens that processes share are made here."""
    secrets, environment = Secrets(settings.run_folder), settings.environment()
    for name in ("room", "monitor", "delivery", "enrolment"):
        secrets.token(name)
    for camera in settings.room_profile().cameras:
        secrets.token(f"camera-{camera.id}")
    names = (["web"] if web else []) + (["recorder", "monitor"] if room else [])
    if room and settings.watch:
        names.append("watch")
    return [Program(name, ["process", name], environment) for name in names]


def camera_program(settings: Settings, camera: Camera) -> Program:
    """A simulated camera of the room."""
    Secrets(settings.run_folder).token(f"camera-{camera.id}")
    arguments = [
        "camera", "--name", camera.id, "--endpoint", f"{settings.recorder_url}/whip/{camera.id}",
        "--token-file", str(settings.run_folder / f"camera-{camera.id}.token"), "--scene", camera.id,
    ]  # fmt: skip
    if not camera.video:
        arguments.append("--audio-only")
    return Program(f"camera-{camera.id}", arguments, {})


def taken_ports(settings: Settings, *, room: bool, web: bool) -> list[str]:
    """Settings whose port somebody else listens on, each with what to do about it."""
    wanted = [("port", settings.host, settings.port)] if web else []
    if room:
        wanted += [("recorder_port", "127.0.0.1", settings.recorder_port)]
        wanted += [("monitor_port", "127.0.0.1", settings.monitor_port)]
    found = []
    for name, host, port in wanted:
        try:
            listen(host, port).close()
        except OSError as error:
            said = os.strerror(error.errno or 0)
            found.append(f"{host}:{port}: {said}. Choose another one, as in VIDNE_{name.upper()}={port + 10}.")
    return found


def require_ports(settings: Settings, *, room: bool, web: bool) -> None:
    """Exit 2, naming each port that cannot be had: a process that cannot listen would be started again for ever."""
    if found := taken_ports(settings, room=room, web=web):
        for each in found:
            typer.echo(each, err=True)
        raise typer.Exit(2)


def require_keys(settings: Settings) -> None:
    """Exit 2 where the address of the database or the keys to a vault's bucket cannot be had. Only the web
    application's process reads them."""
    wanted: list[tuple[str, Callable[[], object]]] = [("database", settings.database_address)]
    if settings.s3_endpoint is not None:
        wanted.append(("s3_keys", settings.s3_credentials))
    if settings.second_s3_endpoint is not None:
        wanted.append(("second_s3_keys", settings.second_s3_credentials))
    for name, read in wanted:
        try:
            read()
        except OSError as error:
            typer.echo(f"{name} cannot be read: {os.strerror(error.errno or 0)}", err=True)
            raise typer.Exit(2) from None
        except ValueError as error:
            typer.echo(str(error), err=True)
            raise typer.Exit(2) from None


def require_witness_policy(settings: Settings) -> None:
    """Exit 2 where the witness policy cannot be followed: a house that was to have witnesses must not go on without."""
    try:
        policy = settings.witness_policy()
        if policy is not None:
            require_authorities(policy)
    except OSError as error:
        typer.echo(f"witnesses: {error.filename or settings.witnesses}: {error.strerror or error}", err=True)
        raise typer.Exit(2) from None
    except InvalidInput as error:
        typer.echo(str(error), err=True)
        raise typer.Exit(2) from None


def say(name: str, what: str) -> None:
    typer.echo(f"  {name}: {what}", err=True)


async def supervise(supervisor: Supervisor, ready: Callable[[], None] | None, settings: Settings) -> None:
    """Runs the supervisor until a signal; `ready` is called once the web application answers."""
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, supervisor.stop)
    running = asyncio.create_task(supervisor.run())
    if ready is not None:
        waiting = asyncio.create_task(answers(settings))
        await asyncio.wait([waiting, running], return_when=asyncio.FIRST_COMPLETED)
        if waiting.done():
            ready()
        waiting.cancel()
    await running


async def answers(settings: Settings) -> None:
    """Returns once the web application answers."""
    verify = str(settings.tls_certificate) if settings.tls else True
    async with httpx.AsyncClient(base_url=settings.api_url, verify=verify, trust_env=False) as client:
        while True:
            try:
                await client.get("/log-ind")
            except httpx.HTTPError:
                await asyncio.sleep(0.1)
            else:
                return


def run_house(settings: Settings, *, room: bool, web: bool) -> None:
    """Until SIGTERM or SIGINT."""
    os.umask(0o077)
    require_ports(settings, room=room, web=web)
    if web:
        require_keys(settings)
        require_witness_policy(settings)
    supervisor = Supervisor(programs(settings, room=room, web=web), None, say)

    if room:
        typer.echo(f"The room's own page: {settings.room_page_url} (its code: vidne room --code)", err=True)

    def ready() -> None:
        typer.echo(f"Vidne answers on {settings.api_url}")

    asyncio.run(supervise(supervisor, ready if web else None, settings))
