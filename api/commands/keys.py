"""`vidne keys …`: the store's own keys."""

from __future__ import annotations

import typer

from api.commands.settled import Data, settled

keys = typer.Typer(name="keys", help="The store's own keys.", no_args_is_help=True)


@keys.callback()
def about() -> None:
    """The store's own keys."""


@keys.command()
def rotate(data: Data = None) -> None:
    """Wrap every interview's key under a new key-encryption key, verify, destroy the old one. Goes on after a kill."""
    from api.processes.serving import harden
    from api.wiring import open_store
    from evidence_store.errors import VidneError
    from evidence_store.rotation import Rotation

    harden()
    settings = settled(data=data)
    if not (settings.store_folder / "keys" / "root.pem").exists():
        typer.echo(f"No store is in {settings.data}. Nothing was changed.", err=True)
        raise typer.Exit(2)
    try:
        store = open_store(settings)
        count = Rotation(store.book, store.authority, settings.store_folder / "keys", typer.echo).run()
    except VidneError as error:
        typer.echo(
            f"{error} ({error.code}). Nothing is lost: what was wrapped opens as before. Run it again.", err=True
        )
        raise typer.Exit(1) from None
    typer.echo(f"OK   {count} keys of interviews. Make a new backup of keys and database, and let the old ones go.")
