"""What a failure mode is: something that happens to a recorder, what its user has of it, and whether that is right."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.house import House


@dataclass(frozen=True, slots=True)
class Place:
    """Where it happens: a folder of its own, and a house in it with a store and a device."""

    folder: Path
    house: House


@dataclass(frozen=True, slots=True)
class Mode:
    """`happen` drives the recorder and says what came of it; `holds` asserts that it is what a user must have.

    They are apart so that a guard which is taken out shows in the outcome, not as a scenario that broke.
    """

    happen: Callable[[Place], Awaitable[Any]]
    holds: Callable[[Any], None]


@dataclass(frozen=True, slots=True)
class Guard:
    """A piece of the recorder without which a mode fails. `instead` is what other recorders do in its place.

    `broken`: what the scenario itself may then end with, where there is no outcome any more.
    """

    owner: Any
    name: str
    instead: Any
    broken: tuple[type[Exception], ...] = ()

    @property
    def written(self) -> str:
        """As docs/failures.md writes it."""
        module = getattr(self.owner, "__module__", None) or self.owner.__name__
        owner = [self.owner.__qualname__] if isinstance(self.owner, type) else []
        return ".".join([module.removeprefix("recorder."), *owner, self.name])
