"""Settings for a command, and the option that all of them have."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from api.settings import Settings

Data = Annotated[Path | None, typer.Option("--data", help="Folder in which everything is kept.")]


def settled(**given: Any) -> Settings:
    """Settings, or exit 2 with what is wrong in them."""
    from pydantic import ValidationError

    from api.settings import Settings

    try:
        return Settings(**{name: value for name, value in given.items() if value is not None})
    except ValidationError as error:
        for each in error.errors():
            where = ".".join(str(part) for part in each["loc"]) or "settings"
            typer.echo(f"{where}: {each['msg'].removeprefix('Value error, ')}", err=True)
        raise typer.Exit(2) from None
