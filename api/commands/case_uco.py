"""`vidne case-uco`: an evidence copy as CASE/UCO JSON-LD, beside it and never in it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def case_uco(
    package: Annotated[Path, typer.Argument(help="An unpacked evidence copy, or its tar file. Verify it first.")],
    out: Annotated[
        Path | None, typer.Option(help="File to write; it must not be there. Without: to the screen.")
    ] = None,
) -> None:
    """Tell an evidence copy in CASE/UCO (JSON-LD), for case systems. Proves nothing: vidne verify does."""
    from evidence_store.copies.bag import open_bag
    from evidence_store.copies.case_uco import case_uco as graph
    from evidence_store.errors import VidneError

    try:
        data = graph(open_bag(package))
        if out is None:
            typer.echo(data.decode(), nl=False)
        elif package.is_dir() and out.resolve().is_relative_to(package.resolve()):
            typer.echo("--out: not in the package, which would not verify any more.", err=True)
            raise typer.Exit(2)
        else:
            with out.open("xb") as file:
                file.write(data)
    except FileExistsError:
        typer.echo("--out: there is such a file already.", err=True)
        raise typer.Exit(2) from None
    except (VidneError, OSError) as error:
        typer.echo(f"Nothing was written: {error}.", err=True)
        raise typer.Exit(1) from None
