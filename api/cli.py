"""The command line: `vidne …`. Each command imports what it needs when it is called, so that all start quickly."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from api.commands.audit import audit
from api.commands.case_uco import case_uco
from api.commands.device import device
from api.commands.keys import keys
from api.commands.recover import recover
from api.commands.recovery import recovery
from api.commands.settled import Data, settled

app = typer.Typer(
    name="vidne",
    help="Records a child's video interview, shows it live next door, and keeps it as evidence any court can check.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_show_locals=False,
)
app.add_typer(recovery)
app.add_typer(keys)
app.add_typer(device)
app.command()(recover)
app.command()(audit)
app.command(name="case-uco")(case_uco)

Profile = Annotated[
    str | None, typer.Option("--profile", help="Room profile: a name that comes with Vidne, or a file.")
]


@app.command()
def room(
    data: Data = None,
    profile: Profile = None,
    code: Annotated[bool, typer.Option("--code", help="Print the code of the room's own page, and end.")] = False,
) -> None:
    """Run a room node: recorder and monitor. Goes on with everything else down."""
    from api.processes.house import run_house

    if code:
        typer.echo(settled(data=data, profile=profile).room_code())
        return
    run_house(settled(data=data, profile=profile), room=True, web=False)


@app.command()
def api(
    data: Data = None,
    profile: Profile = None,
    ledger_key: Annotated[
        bool, typer.Option("--ledger-key", help="Print the ledger's key, which witnesses are given, and end.")
    ] = False,
) -> None:
    """Run the web application alone: people, interviews, intake, vault, ledger, copies."""
    from api.processes.house import run_house

    if ledger_key:
        from api.wiring import ledger_key as key

        typer.echo(key(settled(data=data, profile=profile)))
        return
    run_house(settled(data=data, profile=profile), room=False, web=True)


@app.command()
def serve(
    data: Data = None,
    profile: Profile = None,
    host: Annotated[str | None, typer.Option(help="Address to listen on. Beyond loopback TLS is needed.")] = None,
    port: Annotated[int | None, typer.Option(help="Port of the web application.")] = None,
) -> None:
    """Run a whole house on one machine: room node and web application, restarted when they die."""
    from api.processes.house import run_house

    run_house(settled(data=data, profile=profile, host=host, port=port), room=True, web=True)


@app.command()
def demo(
    data: Annotated[Path, typer.Option("--data", help="The demo's own data folder.")] = Path("data/demo"),
    reset: Annotated[bool, typer.Option("--reset", help="Throw the demo's data away first.")] = False,
    port: Annotated[int | None, typer.Option(help="Port of the web application.")] = None,
    s3: Annotated[
        bool, typer.Option("--s3", help="Keep everything a second time, in an S3 server with Object Lock.")
    ] = False,
) -> None:
    """Run everything on loopback with a simulated room and invented people."""
    from api.processes.demo import run_demo

    run_demo(settled(data=data, port=port, demo=True), reset=reset, s3=s3)


@app.command()
def camera(
    name: Annotated[str, typer.Option(help="The camera's id in its room profile.")],
    endpoint: Annotated[str, typer.Option(help="WHIP endpoint, as in http://127.0.0.1:7801/whip/wide.")],
    token_file: Annotated[Path, typer.Option(help="File that holds the camera's bearer token.")],
    clip: Annotated[Path | None, typer.Option(help="MP4 or MKV to send in a loop, unchanged.")] = None,
    scene: Annotated[str | None, typer.Option(help="A test picture instead: wide or close.")] = None,
    rtsp_file: Annotated[Path | None, typer.Option(help="File that holds a camera's rtsp:// address.")] = None,
    device: Annotated[Path | None, typer.Option(help="A V4L2 device, as in /dev/video0.")] = None,
    sound: Annotated[str | None, typer.Option(help="With --device: a PulseAudio or PipeWire source.")] = None,
    gives: Annotated[str, typer.Option(help="With --device: h264 (sent as it is), mjpeg or yuyv422.")] = "mjpeg",
    size: Annotated[str, typer.Option(help="With --device: the picture's size.")] = "1280x720",
    rate: Annotated[int, typer.Option(help="With --device: pictures a second.", min=1, max=120)] = 30,
    audio_only: Annotated[bool, typer.Option("--audio-only", help="Send a file's sound alone.")] = False,
) -> None:
    """Publish a camera, a device, a file or a test picture over WHIP, and come back by itself when the way breaks."""
    from api.processes.camera import chosen_source, run_one_camera

    if sum(each is not None for each in (clip, scene, rtsp_file, device)) != 1:
        typer.echo("Give one of --clip, --scene, --rtsp-file and --device.", err=True)
        raise typer.Exit(2)
    try:
        source = chosen_source(
            clip=clip, scene=scene, rtsp_file=rtsp_file, device=device, sound=sound, gives=gives, size=size, rate=rate
        )
    except ValueError as error:
        typer.echo(f"{error}.", err=True)
        raise typer.Exit(2) from None
    run_one_camera(name, endpoint, token_file, source, audio_only=audio_only)


@app.command()
def witness(
    data: Annotated[Path, typer.Option("--data", help="The witness's own folder: its key and its memory.")] = Path(
        "data/witness"
    ),
    log: Annotated[
        list[str] | None, typer.Option("--log", help="Key of a house's ledger to cosign, as it gives it.")
    ] = None,
    name: Annotated[str | None, typer.Option(help="At the first start: a name as in prosecution.example/w1.")] = None,
    host: Annotated[str, typer.Option(help="Address to listen on. Beyond loopback TLS is needed.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port to listen on.")] = 7810,
    tls_certificate: Annotated[Path | None, typer.Option(help="PEM file.")] = None,
    tls_key: Annotated[Path | None, typer.Option(help="PEM file.")] = None,
    check: Annotated[
        Path | None, typer.Option("--check", help="Compare the checkpoint in a note or proof with the memory, and end.")
    ] = None,
) -> None:
    """Witness other people's ledgers: remember how far each has come, and cosign only what continues it."""
    from api.processes.witness import check_file, run_witness
    from evidence_store.errors import InvalidInput
    from evidence_store.ledger.checkpoint import NoteVerifier

    if check is not None:
        raise typer.Exit(0 if check_file(data, check) else 1)
    try:
        logs = [NoteVerifier.parse(each) for each in log or ()]
    except InvalidInput as error:
        typer.echo(f"--log: {error}.", err=True)
        raise typer.Exit(2) from None
    given = {"tls_certificate": tls_certificate, "tls_key": tls_key}
    run_witness(settled(data=data, host=host, port=port, **given), logs, name)


@app.command()
def drill(
    data: Annotated[Path | None, typer.Option("--data", help="Folder for the drill; default: a temporary one.")] = None,
    fault: Annotated[
        str | None, typer.Option(help="What to break on the way: kill, cable, disk, store or api.")
    ] = None,
    audio_only: Annotated[bool, typer.Option("--audio-only", help="A room with a microphone and no camera.")] = False,
    seconds: Annotated[float, typer.Option(help="How long to record.", min=3, max=600)] = 10.0,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object at the end.")] = False,
) -> None:
    """Rehearse the whole way, from camera to checked evidence copy, on the simulated room. Exit 0 if it all holds."""
    from api.drill.faults import FAULTS
    from api.drill.run import run_drill

    if fault is not None and fault not in FAULTS:
        typer.echo(f"No such fault; there are: {', '.join(FAULTS)}.", err=True)
        raise typer.Exit(2)
    raise typer.Exit(0 if run_drill(data, fault=fault, audio_only=audio_only, seconds=seconds, as_json=as_json) else 1)


@app.command()
def verify(
    package: Annotated[Path | None, typer.Argument(help="An unpacked evidence copy, or its tar file.")] = None,
    fingerprint: Annotated[
        str | None, typer.Option(help="SHA-256 of the store's root certificate, known from elsewhere than the package.")
    ] = None,
    witness_keys: Annotated[
        Path | None, typer.Option(help="File of witnesses' keys, one a line, known from elsewhere than the package.")
    ] = None,
    quorum: Annotated[int, typer.Option(help="How many of those witnesses have to stand for each act.")] = 1,
    time_authority: Annotated[
        list[str] | None,
        typer.Option(help="SHA-256 of a time stamp authority's certificate, known from elsewhere. May be repeated."),
    ] = None,
    player: Annotated[str | None, typer.Option(help="An ffmpeg that reads every film through.")] = None,
    language: Annotated[str | None, typer.Option(help="da or en; default: the system's, or Danish.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
    progress: Annotated[bool, typer.Option("--progress", help="Also where no terminal is looking.")] = False,
    single_file: Annotated[
        Path | None, typer.Option(help="Instead: write this command as one file, for who has Python and cryptography.")
    ] = None,
) -> None:
    """Check an evidence copy: no database, no network, no login. Exit 0 only if everything holds."""
    import sys

    from evidence_store.verifying.command import Asked, run
    from evidence_store.verifying.single_file import write
    from evidence_store.verifying.words import LANGUAGES

    if single_file is not None:
        typer.echo(f"{write(single_file)}  {single_file}")
        return
    if package is None or language not in (None, *LANGUAGES):
        typer.echo("Give a package; --language is da or en.", err=True)
        raise typer.Exit(2)
    asked = Asked(
        package, fingerprint, witness_keys, quorum, tuple(time_authority or ()), player, language, as_json,
        progress or None,
    )  # fmt: skip
    raise typer.Exit(run(asked, sys.stdout, sys.stderr))


@app.command(hidden=True)
def process(name: Annotated[str, typer.Argument()]) -> None:
    """One process of a house, as the supervisor starts it: recorder, monitor, watch, web; the demo's authority and
    object server."""
    settings = settled()
    if name == "recorder":
        from api.processes.recorder import main as run
    elif name == "monitor":
        from api.processes.monitor import main as run
    elif name == "watch":
        os.nice(10)  # from here on: a watch that is started again and again takes nothing from the recorder
        from api.processes.watch import main as run
    elif name == "web":
        from api.processes.web import main as run
    elif name == "objects":
        from api.processes.object_server import main as run
    elif name == "authority":
        from api.processes.authority import main as run
    else:
        raise typer.BadParameter("recorder, monitor, watch, web, objects or authority")
    run(settings)


def main() -> None:
    app()


if __name__ == "__main__":
    main()
