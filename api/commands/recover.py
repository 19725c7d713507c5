"""`vidne recover`: an interview from a copy of the vault, the escrow and the paper, where there is nothing else."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from api.commands.recovery import Files, read_shares


def recover(
    vault: Annotated[Path, typer.Option(help="A copy of the vault, or of its objects.")],
    escrow: Annotated[Path, typer.Option(help="The escrow's folder.")],
    interview: Annotated[str, typer.Option(help="The interview's id, 32 hexadecimal digits.")],
    fingerprint: Annotated[str, typer.Option(help="SHA-256 of the house's root certificate, known from elsewhere.")],
    out: Annotated[Path, typer.Option(help="An empty folder. Media in the clear is written here, and nowhere else.")],
    checkpoint: Annotated[
        Path | None, typer.Option(help="The last checkpoint of the ledger that somebody else kept.")
    ] = None,
    share: Files = None,
) -> None:
    """Rebuild an interview from bytes alone: no database, no network. Writes media IN THE CLEAR into --out."""
    from api.processes.serving import harden
    from evidence_store.durable import write_durably
    from evidence_store.errors import InvalidInput
    from evidence_store.identifiers import parse_interview_id
    from evidence_store.recovery.paper import belongs, combine
    from evidence_store.recovery.rebuild import Found, Rebuild, empty_folder, report_lines
    from evidence_store.sealing.keys import PublicKey

    harden()
    lines: list[str] = []

    def say(line: str) -> None:
        lines.append(line)
        typer.echo(line)

    def tell(found: Found) -> None:
        say(f"{'OK  ' if found.ok else 'FAIL'} {found.name}: {found.detail}")

    try:
        note = None if checkpoint is None else checkpoint.read_bytes()
        public = PublicKey((escrow / "recovery.pub").read_bytes())
        parse_interview_id(interview)
        typer.echo(f"Media in the clear will be written into {out}. Destroy it when it has served: shred -u.")
        recovery = combine(read_shares(share))
        belongs(recovery, public)
        empty_folder(out)
        work = Rebuild(vault, escrow, interview, fingerprint, recovery, out, tell)
    except (InvalidInput, OSError) as error:
        typer.echo(f"{error}. Nothing was written.", err=True)
        raise typer.Exit(2) from None
    report = work.run(note)
    for line in report_lines(report):
        say(line)
    write_durably(out / "report.txt", ("\n".join(lines) + "\n").encode())
    raise typer.Exit(0 if report.ok else 1)
