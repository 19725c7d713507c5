"""`vidne witness`: a witness of other people's ledgers, run by another organisation than theirs.

C2SP tlog-witness over HTTP: `POST /add-checkpoint`. `GET /` says in Danish, for whoever keeps it, which logs it knows,
how far it stands for them, when it last heard of them, and whether one of them was refused.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import structlog
import typer
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.routing import Mount, Route

from api.desk.moments import moment
from api.processes.locked import lock_memory
from api.processes.serving import configure_logs, die_with_parent, harden, listen, serve
from api.processes.supervisor import SUPERVISOR
from api.routes.carry import body_within
from api.security import SecurityHeaders
from api.settings import Settings
from api.web import TEMPLATES, static_files
from evidence_store.errors import (
    ChainBroken,
    Conflict,
    InvalidInput,
    NotFound,
    SignatureInvalid,
    Unavailable,
    VidneError,
)
from evidence_store.identifiers import utc_text
from evidence_store.ledger.checkpoint import NoteVerifier
from evidence_store.ledger.witness import MAX_REQUEST, SIZE_TYPE, AddCheckpoint, OtherSize, origin_of
from evidence_store.ledger.witness_memory import Remembered, Witness, check

log = structlog.get_logger()

_STATUS: Final[tuple[tuple[type[VidneError], int], ...]] = (
    (InvalidInput, 400),
    (NotFound, 404),
    (SignatureInvalid, 403),
    (Conflict, 409),
    (ChainBroken, 422),
    (Unavailable, 503),
)


def witness_app(witness: Witness, *, secure: bool) -> Starlette:
    heard: dict[str, int] = {}
    """When each log last asked, seconds since 1970, whatever came of it; since this process began."""

    async def add_checkpoint(request: Request) -> Response:
        body = await body_within(request, MAX_REQUEST)
        try:
            line = await run_in_threadpool(witness.add_checkpoint, body)
        except VidneError as error:
            if isinstance(error, Conflict | ChainBroken):
                _hear(heard, body)
            return _refusal(error, body)
        _hear(heard, body)
        return Response(line, media_type="text/plain; charset=utf-8")

    async def state(request: Request) -> Response:
        logs = await run_in_threadpool(witness.logs)
        if "application/json" in request.headers.get("accept", ""):
            return JSONResponse({"key": str(witness.verifier), "logs": [_described(each) for each in logs]})
        rows = [_row(each, heard.get(each.key.name)) for each in logs]
        template = TEMPLATES.get_template("witness.html")
        return HTMLResponse(template.render(name=witness.verifier.name, key=str(witness.verifier), logs=rows))

    app = Starlette(
        routes=[
            Route("/add-checkpoint", add_checkpoint, methods=["POST"]),
            Route("/", state, methods=["GET"]),
            Mount("/static", static_files()),
        ]
    )
    app.add_middleware(SecurityHeaders, secure=secure)
    return app


def run_witness(settings: Settings, logs: Sequence[NoteVerifier], name: str | None) -> None:
    """Until SIGTERM or SIGINT. `logs`: to be cosigned from now on; those of before stay."""
    configure_logs()
    harden()
    lock_memory("witness")
    if SUPERVISOR in os.environ:
        die_with_parent()
    try:
        witness = Witness(settings.data, lambda: int(time.time()), name)
        for each in logs:
            witness.trust(each)
    except (VidneError, OSError) as error:
        typer.echo(f"This witness cannot start: {error}. Nothing was cosigned.", err=True)
        raise typer.Exit(2) from None
    try:
        listener = listen(settings.host, settings.port)
    except OSError as error:
        typer.echo(
            f"{settings.host}:{settings.port}: {os.strerror(error.errno or 0)}. Choose another --port.", err=True
        )
        raise typer.Exit(2) from None
    if SUPERVISOR not in os.environ:
        typer.echo(_introduction(witness, settings))
    log.info("witness_serves", key=str(witness.verifier), logs=len(witness.logs()))
    try:
        asyncio.run(serve(witness_app(witness, secure=settings.tls), listener, settings))
    finally:
        witness.close()


def check_file(folder: Path, file: Path) -> bool:
    """Says what the witness knows of the checkpoint in a file. False where it contradicts its memory, or cannot be
    compared."""
    try:
        brought = check(folder, file.read_bytes())
    except (VidneError, OSError) as error:
        typer.echo(f"FAIL {error}")
        return False
    typer.echo(f"The checkpoint is signed by {brought.origin}, with {brought.size} entries. Held: {brought.held}.")
    if brought.same is False:
        typer.echo("FAIL This log has signed another history than the one that this witness cosigned. Keep the file.")
        return False
    if brought.cosigned_at is not None and brought.size > brought.held:
        typer.echo("FAIL This witness cosigned it, and does not remember it: its own folder was turned back.")
        return False
    if brought.cosigned_at is not None:
        typer.echo(f"OK   This witness cosigned it at {utc_text(brought.cosigned_at * 10**9)}.")
        return True
    if brought.same:
        typer.echo("OK   It is the head that this witness holds.")
        return True
    typer.echo(
        "FAIL It bears no cosignature of this witness, and it is not the head that is held: nothing is known of it."
    )
    return False


def _introduction(witness: Witness, settings: Settings) -> str:
    known = [f"  {each.key.name}, {each.held.size} entries" for each in witness.logs()]
    heading = "It cosigns for:" if known else "It knows no log yet. Give it the house's ledger key: --log KEY."
    return "\n".join(
        [
            f"This witness: {witness.verifier.name}",
            heading,
            *known,
            "For the house's witness policy (a key is to be compared over another way, such as the telephone):",
            "",
            "[[witness]]",
            f'name = "{witness.verifier.name}"',
            f'url = "{settings.api_url}"',
            f'key = "{witness.verifier}"',
            "",
        ]
    )


def _refusal(error: VidneError, body: bytes) -> Response:
    status = next((status for kind, status in _STATUS if isinstance(error, kind)), 500)
    log.warning("checkpoint_refused", code=error.code, status=status)
    if isinstance(error, OtherSize):
        return Response(f"{error.held}\n", 409, {"Content-Type": SIZE_TYPE})
    if status == 409:
        # Another root at the size that is held, which the request has named itself.
        return Response(f"{AddCheckpoint.parse(body).old}\n", 409, {"Content-Type": SIZE_TYPE})
    return Response(f"{error.code}\n", status, media_type="text/plain; charset=utf-8")


def _hear(heard: dict[str, int], body: bytes) -> None:
    """For what was signed by a log that is known: of others nothing is remembered."""
    heard[origin_of(AddCheckpoint.parse(body).note)] = int(time.time())


def _described(known: Remembered) -> dict[str, object]:
    refusal = known.refusal
    return {
        "cosigned_at": known.cosigned_at,
        "log": known.key.name,
        "refusal": None if refusal is None
        else {"at": refusal.at, "code": refusal.code, "size": refusal.size, "stands": refusal.stands},
        "size": known.held.size,
    }  # fmt: skip


def _row(known: Remembered, heard: int | None) -> dict[str, object]:
    """What the page shows of a log."""
    refusal, last = known.refusal, max(heard or 0, known.cosigned_at or 0)
    return {
        "name": known.key.name,
        "size": known.held.size,
        "cosigned_at": None if known.cosigned_at is None else moment(known.cosigned_at * 10**9),
        "heard_at": moment(last * 10**9) if last else None,
        "code": None if refusal is None else refusal.code,
        "refused_at": None if refusal is None else moment(refusal.at * 10**9),
        "refused_size": None if refusal is None else refusal.size,
        "stands": refusal is not None and refusal.stands,
    }
