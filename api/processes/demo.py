"""`vidne demo`: a house on loopback with a simulated room and invented people."""

from __future__ import annotations

import asyncio
import os
import shutil
from pathlib import Path

import pyrage
import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn

from api.processes.house import camera_program, programs, require_ports, say, supervise
from api.processes.object_server import BUCKET, WEED, folder_of, prepare
from api.processes.serving import listen
from api.processes.supervisor import Program, Supervisor
from api.settings import Settings
from api.wiring import DEMO_ACCOUNTS, ledger_key
from evidence_store.ledger.witness_memory import load_or_make_key
from hardware.simulated_room import Recipe, make_clip


def make_clips(settings: Settings, console: Console) -> None:
    """Encodes the simulated room's pictures, once in a machine's life."""
    cameras = settings.room_profile().cameras
    with Progress(TextColumn("{task.description}"), BarColumn(), console=console, transient=True) as progress:
        for camera in cameras:
            task = progress.add_task(f"Test picture of camera '{camera.id}'", total=1.0)
            make_clip(Recipe(camera.id), progress=lambda done, task=task: progress.update(task, completed=done))  # type: ignore[misc]


def demo_key(data: Path) -> tuple[Path, str]:
    """The demo prosecutor's age key file, and its public key."""
    path = data / "anklager.agekey"
    if not path.exists():
        path.touch(mode=0o600)
        path.write_text(f"{pyrage.x25519.Identity.generate()}\n")
    return path, str(pyrage.x25519.Identity.from_str(path.read_text().strip()).to_public())


def demo_witness(settings: Settings) -> tuple[Settings, Program, str]:
    """A witness of the demo's own, and settings whose policy names it; and its address. It shows what a witness does
    and proves nothing: a real one belongs to another organisation, on another machine."""
    folder, policy = settings.data / "witness", settings.data / "witnesses.toml"
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    key = load_or_make_key(folder, "demo.example/witness").verifier
    with listen("127.0.0.1", 0) as free:
        port = int(free.getsockname()[1])
    url = f"http://127.0.0.1:{port}"
    policy.write_text(
        "# The demo's: written anew at each start.\nquorum = 1\ngreatest_lag = 60\n\n"
        f'[[witness]]\nname = "Demonstrationens eget vidne"\nurl = "{url}"\nkey = "{key}"\n'
    )
    arguments = ["witness", "--data", str(folder), "--port", str(port), "--log", ledger_key(settings)]
    return settings.model_copy(update={"witnesses": policy}), Program("witness", arguments, {}), url


def with_object_server(settings: Settings) -> Settings:
    """Settings of a house whose second vault is in a server of its own, in the demo's folder. Exit 2 without it."""
    if not WEED.exists():
        typer.echo("SeaweedFS is not installed: run scripts/demo --s3, or scripts/setup.", err=True)
        raise typer.Exit(2)
    server = prepare(folder_of(settings))
    return settings.model_copy(
        update={
            "second_s3_endpoint": server.endpoint, "second_s3_bucket": BUCKET,
            "second_s3_keys": server.key_file.absolute(), "second_s3_authority": server.authority.absolute(),
        }
    )  # fmt: skip


def run_demo(settings: Settings, *, reset: bool, s3: bool) -> None:
    """Until SIGTERM or SIGINT."""
    os.umask(0o077)
    console = Console(stderr=True)
    require_ports(settings, room=True, web=True)
    if reset and settings.data.exists():
        if not (settings.data / "demo").exists():
            console.print(f"{settings.data} is not a demo's folder: nothing was removed.")
            raise typer.Exit(2)
        shutil.rmtree(settings.data)
    settings.data.mkdir(parents=True, exist_ok=True, mode=0o700)
    (settings.data / "demo").touch()
    console.print(f"The demo keeps its data in {settings.data}.")
    beside = []
    if s3:
        settings = with_object_server(settings)
        beside.append(Program("objects", ["process", "objects"], settings.environment()))
        console.print(f"Everything is kept a second time in a bucket of {settings.second_s3_endpoint}.")
    make_clips(settings, console)
    key_file, key = demo_key(settings.data)
    cameras = [camera_program(settings, camera) for camera in settings.room_profile().cameras]
    witness_url = None
    if settings.witnesses is None:
        settings, program, witness_url = demo_witness(settings)
        beside.append(program)
    log_file = settings.data / "demo.log"
    console.print(
        f"Starting recorder, monitor, web application and {len(cameras)} simulated cameras (log: {log_file})."
    )

    def ready() -> None:
        console.print(f"\n[bold]Vidne is ready on http://localhost:{settings.port}[/bold]\n")
        for account in DEMO_ACCOUNTS:
            console.print(f"  {account.name:14} user [bold]{account.username:9}[/bold] password {account.password}")
        console.print(f"\nThe room's own page, for when all else is down: {settings.room_page_url}")
        console.print(f"  its code: [bold]{settings.room_code()}[/bold]")
        console.print("\nA case number to try: 0100-83986-00001-26")
        console.print(f"The prosecutor's age key:  {key}", soft_wrap=True)
        console.print(f"  its private half:        {key_file}")
        if witness_url is not None:
            console.print(
                f"The demo's own witness of the ledger (a real one is another organisation's): {witness_url}/"
            )
        console.print("Stop with Ctrl-C.")

    with log_file.open("ab") as log:
        supervisor = Supervisor([*beside, *programs(settings, room=True, web=True), *cameras], log.fileno(), say)
        asyncio.run(supervise(supervisor, ready, settings))
