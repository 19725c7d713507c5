"""`vidne keys …`: the store's own keys."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from api.commands.recovery import Files, read_shares
from api.commands.settled import Data, settled

if TYPE_CHECKING:
    from api.settings import Settings
    from api.wiring import Store
    from evidence_store.hsm.token import Token

keys = typer.Typer(name="keys", help="The store's own keys.", no_args_is_help=True)

To = Annotated[
    str | None,
    typer.Option(help="Where the new key is made: a token's label, or file. Without: the first of hsms, else a file."),
]
NOTHING_LOST = "Nothing is lost: what was wrapped opens as before."


@keys.callback()
def about() -> None:
    """The store's own keys."""


@keys.command()
def rotate(data: Data = None, to: To = None) -> None:
    """Wrap every interview's key under a new key-encryption key, verify, destroy the old one. Goes on after a kill."""
    from evidence_store.errors import VidneError
    from evidence_store.rotation import Rotation

    settings = _settled(data)
    try:
        store = _opened(settings)
        folder = settings.store_folder / "keys"
        count = Rotation(store.book, store.authority, folder, typer.echo, _token(store, to)).run()
    except VidneError as error:
        typer.echo(f"{error} ({error.code}). {NOTHING_LOST} Run it again.", err=True)
        raise typer.Exit(1) from None
    typer.echo(f"OK   {count} keys of interviews. Make a new backup of keys and database, and let the old ones go.")


@keys.command()
def restore(data: Data = None, to: To = None, share: Files = None) -> None:
    """Where an HSM is lost with its key: open every seed from escrow with the paper, and wrap it under a new key."""
    from evidence_store.errors import VidneError
    from evidence_store.keystore import Escrow
    from evidence_store.recovery.paper import belongs, combine
    from evidence_store.rotation import Rotation
    from evidence_store.sealing.keys import PublicKey

    settings = _settled(data)
    try:
        store = _opened(settings)
        work = Rotation(store.book, store.authority, settings.store_folder / "keys", typer.echo, _token(store, to))
        recovery = combine(read_shares(share))
        belongs(recovery, PublicKey((settings.escrow_folder / "recovery.pub").read_bytes()))
        count = work.restore(Escrow(settings.escrow_folder), recovery)
    except (VidneError, OSError) as error:
        typer.echo(f"{error}. Nothing is lost: escrow and vault are as they were. Run it again.", err=True)
        raise typer.Exit(1) from None
    typer.echo(f"OK   {count} keys of interviews. Make a new backup of keys and database, and restart the house.")


@keys.command()
def where(data: Data = None) -> None:
    """Say where each key of the store is, and whether it answers. Changes nothing."""
    from evidence_store.authority import load
    from evidence_store.errors import VidneError
    from evidence_store.hsm import keys as hsm

    settings = _settled(data)
    try:
        authority = load(settings.store_folder / "keys", settings.tokens())
        kek, failed = authority.kek, False
        known: dict[str, set[bytes]] = {}
        ids = kek.ids()
        places: list[tuple[str, hsm.KeyPlace | None]] = [
            (f"key-encryption key {each}" + (", the present one" if each == ids[-1] else ""), kek.place(each))
            for each in ids
        ]
        for name, key in (("root", authority.root_key), ("store", authority.store_key)):
            places.append((f"{name} key", key.place if isinstance(key, hsm.SigningKey) else None))
        for name, place in places:
            if place is None:
                typer.echo(f"OK   {name}: a file")
                continue
            known.setdefault(place.token, set()).add(place.key)
            says = f"{name}: token {place.token} (serial {place.serial}, CKM_{place.mechanism}, id {place.key.hex()})"
            try:
                hsm.answers(kek.tokens.get(place.token), place)
                typer.echo(f"OK   {says}")
            except VidneError as error:
                failed = True
                typer.echo(f"FAIL {says}: {error} ({error.code})")
        typer.echo("OK   ledger key (Ed25519) and the store's ML-DSA-65 key: files")
        for label, ids_there in known.items():
            for stray in [] if failed else hsm.strays(kek.tokens.get(label), ids_there):
                typer.echo(f"NOTE token {label} holds {stray!r} besides, which this house does not name")
    except VidneError as error:
        typer.echo(f"{error} ({error.code}). Nothing was changed.", err=True)
        raise typer.Exit(1) from None
    raise typer.Exit(1 if failed else 0)


def _settled(data: Data) -> Settings:
    from api.processes.serving import harden

    harden()
    settings = settled(data=data)
    if not (settings.store_folder / "keys" / "root.pem").exists():
        typer.echo(f"No store is in {settings.data}. Nothing was changed.", err=True)
        raise typer.Exit(2)
    return settings


def _opened(settings: Settings) -> Store:
    from api.wiring import open_store

    return open_store(settings)


def _token(store: Store, to: str | None) -> Token | None:
    """Raises OutOfReach for a token that the settings do not name."""
    tokens = store.authority.kek.tokens
    if to is None:
        return tokens.first
    return None if to == "file" else tokens.get(to)
