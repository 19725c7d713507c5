"""`vidne recovery …`: the recovery key on paper. Nothing of it is logged, kept or given to another program."""

from __future__ import annotations

import datetime
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

from api.commands.settled import Data, settled

if TYPE_CHECKING:
    from evidence_store.recovery.paper import PaperShare
    from evidence_store.recovery.sheet import Heading
    from evidence_store.sealing.keys import PrivateKey

recovery = typer.Typer(name="recovery", help="The recovery key on paper: split it, and rehearse.", no_args_is_help=True)

Files = Annotated[
    list[Path] | None,
    typer.Option("--share", help="A file with one list of words; once for each. Without: they are typed."),
]

SSD = (
    "Overwritten and removed. An SSD, a snapshot or a backup may keep what was there: the disk has to have been "
    "encrypted before the first start. If it was not, destroy the disk, or make a new escrow."
)


@recovery.command()
def split(
    data: Data = None,
    shares: Annotated[int, typer.Option(min=2, max=16, help="How many sheets there are.")] = 5,
    threshold: Annotated[int, typer.Option(min=2, max=16, help="How many of them are enough.")] = 3,
    out: Annotated[
        Path | None, typer.Option(help="Folder for the sheets, best in memory. Without: the terminal, one at a time.")
    ] = None,
    html: Annotated[bool, typer.Option("--html", help="With --out: pages to print instead of text.")] = False,
    keep: Annotated[bool, typer.Option("--keep", help="Leave the key where it is, for now.")] = False,
) -> None:
    """Print the recovery key as so many lists of words, and take it off the machine once they were typed back."""
    from evidence_store.errors import InvalidInput
    from evidence_store.recovery.paper import belongs, combine, read_share
    from evidence_store.recovery.paper import split as split_seed
    from evidence_store.recovery.sheet import Heading, words_on
    from evidence_store.sealing import certificates as certs
    from evidence_store.sealing.keys import PrivateKey, PublicKey

    _alone()
    settings = settled(data=data)
    key, public = settings.escrow_folder / "recovery.key", settings.escrow_folder / "recovery.pub"
    try:
        private = PrivateKey(key.read_bytes())
        belongs(private, PublicKey(public.read_bytes()))
        root = certs.from_pem((settings.store_folder / "keys" / "root.pem").read_bytes())
        lists = split_seed(private, shares, threshold)
    except FileNotFoundError as error:
        _end(f"{error.filename} is not here. Nothing was changed: the key was taken away before, or never made.")
    except InvalidInput as error:
        _end(f"{error}. Nothing was changed.")
    day = datetime.datetime.now(datetime.UTC).date().isoformat()
    heading = Heading(settings.room_profile().house, certs.fingerprint(root), shares, threshold, day)
    if out is None:
        _one_at_a_time(lists, heading)
    else:
        for path, share in zip(_write(lists, heading, out, html), lists, strict=True):
            if read_share(words_on(path.read_text())).words != share.words:
                _end(f"{path} is not what was to be written. Nothing was changed.")
        typer.echo(f"{shares} sheets are in {out}. Print them, then destroy these files: each opens a part of the key.")
    if keep:
        typer.echo("The key is still on this machine: vidne recovery check --remove takes it away.")
        return
    typer.echo(f"Now type {threshold} of the lists from the paper. Until then the key stays where it is.")
    still = "The key is still where it was: vidne recovery check --remove ends this."
    try:
        typed = combine([*_shares(None, still)])
        belongs(typed, private.public_key())
    except InvalidInput as error:
        _end(f"{error}. {still}")
    _remove(key, typed)


@recovery.command()
def check(
    data: Data = None,
    share: Files = None,
    escrow: Annotated[Path | None, typer.Option(help="An escrow folder elsewhere than in --data.")] = None,
    remove: Annotated[
        bool, typer.Option("--remove", help="Then take escrow/recovery.key off this machine, if it lies there still.")
    ] = False,
) -> None:
    """Prove that the typed lists open this escrow. Keeps nothing."""
    from evidence_store.errors import InvalidInput
    from evidence_store.recovery.paper import belongs, combine
    from evidence_store.sealing.keys import PublicKey

    _alone()
    folder = escrow or settled(data=data).escrow_folder
    try:
        public = PublicKey((folder / "recovery.pub").read_bytes())
        lists = [*_shares(share, "Nothing was changed.")]
        private = combine(lists)
        belongs(private, public)
    except FileNotFoundError as error:
        _end(f"{error.filename} is not here.")
    except InvalidInput as error:
        _end(f"{error}. Nothing was changed.")
    typer.echo(f"OK   lists {', '.join(str(each.number) for each in lists)} give back the key of this escrow.")
    seeds = sum(1 for _ in folder.glob("*.seed"))
    typer.echo(f"OK   {seeds} interviews are in it. Which of them open is shown by vidne recover, one at a time.")
    if remove:
        _remove(folder / "recovery.key", private)


@recovery.command()
def find(
    vault: Annotated[Path, typer.Option(help="A copy of the vault, or of its objects.")],
    fingerprint: Annotated[str, typer.Option(help="SHA-256 of the house's root certificate, known from elsewhere.")],
) -> None:
    """Which interviews a copy of the vault holds: needs no key. Their takes' numbers are those on the receipts."""
    from evidence_store.errors import VidneError
    from evidence_store.identifiers import utc_text
    from evidence_store.recovery import copied
    from evidence_store.sealing.check import Start

    try:
        copy = copied.CopiedVault(vault)
        found = list(copied.starts(copy, copied.signers(copy, fingerprint).root))
    except VidneError as error:
        _end(f"{error}.")
    good = [start for _, start in found if isinstance(start, Start)]
    for start in sorted(good, key=lambda each: each.utc_ns):
        device = start.enrolment.hex()[:8]
        room = start.record["room"]
        typer.echo(f"{start.interview.hex()}  {utc_text(start.utc_ns)}  room {room}, take {start.take} of {device}")
    for name, wrong in found:
        if isinstance(wrong, VidneError):
            typer.echo(f"FAIL {name}: {wrong} ({wrong.code})", err=True)
    raise typer.Exit(0 if len(good) == len(found) else 1)


def read_shares(files: list[Path] | None) -> list[PaperShare]:
    """Lists from files, or typed. Ends the command (2) where one is wrong and nobody is there to type it again."""
    return [*_shares(files, "Nothing was written.")]


def _shares(files: list[Path] | None, otherwise: str) -> Iterator[PaperShare]:
    from evidence_store.errors import InvalidInput
    from evidence_store.recovery.paper import read_share
    from evidence_store.recovery.sheet import words_on

    if files:
        for path in files:
            try:
                yield read_share(words_on(path.read_text()))
            except (OSError, UnicodeDecodeError, InvalidInput) as error:
                _end(f"{path.name}: {error}. {otherwise}")
        return
    found: list[PaperShare] = []
    while not found or len(found) < found[0].threshold:
        typer.echo(f"List {len(found) + 1}{f' of {found[0].threshold}' if found else ''}, its 33 words in one line:")
        line = sys.stdin.readline()
        if not line:
            _end(f"Too few lists were typed. {otherwise}")
        if sys.stdin.isatty():
            # The words are on the screen: they go from there before anything else is said.
            typer.echo("\x1b[2J\x1b[3J\x1b[H", nl=False)
        try:
            share = read_share(line)
        except InvalidInput as error:
            if not sys.stdin.isatty():
                _end(f"{error}. {otherwise}")
            typer.echo(f"{error}. Type it again.")
            continue
        if any(each.number == share.number for each in found):
            typer.echo("That list was typed before.")
            continue
        found.append(share)
        yield share


def _one_at_a_time(lists: list[PaperShare], heading: Heading) -> None:
    from evidence_store.recovery.sheet import as_text

    for share in lists:
        typer.echo(as_text(share, heading))
        typer.echo(f"Print or copy sheet {share.number} of {len(lists)}, then press Enter: it goes from the screen.")
        sys.stdin.readline()
        if sys.stdout.isatty():
            typer.echo("\x1b[2J\x1b[3J\x1b[H", nl=False)


def _write(lists: list[PaperShare], heading: Heading, out: Path, html: bool) -> Iterator[Path]:
    from evidence_store.durable import write_durably
    from evidence_store.recovery.sheet import as_page, as_text

    out.mkdir(parents=True, exist_ok=True, mode=0o700)
    for share in lists:
        path = out / f"andel-{share.number}.{'html' if html else 'txt'}"
        write_durably(path, (as_page if html else as_text)(share, heading).encode())
        yield path


def _remove(key: Path, typed: PrivateKey) -> None:
    """Only what the typed lists give back is destroyed."""
    from evidence_store.durable import destroy

    try:
        if key.read_bytes() != typed.seed:
            _end(f"{key} is another key than the one on the lists: it stays.")
        destroy(key)
    except FileNotFoundError:
        typer.echo("OK   the key is not on this machine.")
        return
    typer.echo(f"OK   {key} is gone. {SSD}")


def _alone() -> None:
    """No core dump, no tracing: the key is in this memory."""
    from api.processes.serving import harden

    harden()


def _end(said: str) -> NoReturn:
    typer.echo(said, err=True)
    raise typer.Exit(2)
