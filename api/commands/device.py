"""`vidne device …`: the room nodes that this house has enrolled."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from api.commands.settled import Data, settled

if TYPE_CHECKING:
    from api.wiring import Store

device = typer.Typer(name="device", help="The room nodes of this house: list, revoke.", no_args_is_help=True)


@device.command(name="list")
def list_devices(data: Data = None) -> None:
    """Every enrolment, with the takes that the store knows of it."""
    from sqlalchemy import func, select

    from evidence_store.database.schema import DeviceRow, TakeRow
    from evidence_store.identifiers import utc_text

    store = _store(data)
    with store.book.reading() as session:
        for row in session.scalars(select(DeviceRow).order_by(DeviceRow.created_at)):
            takes = session.scalar(select(func.max(TakeRow.n)).where(TakeRow.enrolment == row.enrolment)) or 0
            revoked = "" if row.revoked_at is None else f", revoked {utc_text(row.revoked_at)}"
            typer.echo(f"{row.enrolment}  room {row.room}, since {utc_text(row.created_at)}, {takes} takes{revoked}")


@device.command()
def revoke(
    enrolment: Annotated[str, typer.Option(help="Which one, as vidne device list names it.")],
    reason: Annotated[str, typer.Option(help="Why: goes into custody. No names.")],
    data: Data = None,
    last_take: Annotated[
        int | None, typer.Option(min=0, help="The last take that is trusted, 0 for none. Without: all that is here.")
    ] = None,
    head: Annotated[str | None, typer.Option(help="Where trust ends within it: a segment's head.")] = None,
) -> None:
    """Say from where on a device is not trusted. Stops no recording: later takes are kept, and marked doubtful."""
    from evidence_store.errors import VidneError
    from evidence_store.identifiers import parse_enrolment_id
    from evidence_store.revoking import Revoking

    store = _store(data)
    try:
        trusted = None if head is None else bytes.fromhex(head)
        made = Revoking(store.book, store.authority).revoke(parse_enrolment_id(enrolment), reason, last_take, trusted)
    except ValueError:
        typer.echo("The head has to be hexadecimal. Nothing was changed.", err=True)
        raise typer.Exit(2) from None
    except VidneError as error:
        typer.echo(f"{error} ({error.code}). Nothing was changed.", err=True)
        raise typer.Exit(1) from None
    ends = "None of its takes is trusted" if made.take == 0 else f"Its last trusted take is {made.take}"
    typer.echo(f"OK   revocation no. {made.number} of device {enrolment[:8]} is in the vault and in custody. {ends}.")
    typer.echo(
        "Change the room's tokens and the camera's, and enrol a new node: docs/operations.md#a-stolen-room-node."
    )


def _store(data: Data) -> Store:
    from api.wiring import open_store
    from evidence_store.errors import Conflict, OutOfReach

    settings = settled(data=data)
    if not (settings.store_folder / "keys" / "root.pem").exists():
        typer.echo(f"No store is in {settings.data}. Nothing was changed.", err=True)
        raise typer.Exit(2)
    try:
        return open_store(settings)
    except OutOfReach as error:
        typer.echo(f"The vault cannot be reached: {error}. Nothing was changed.", err=True)
        raise typer.Exit(2) from None
    except Conflict as error:
        typer.echo(f"{error}. Nothing was changed.", err=True)
        raise typer.Exit(2) from None
