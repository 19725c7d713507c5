from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path

import pytest

from recorder import delivery, node, sealing_thread
from tests.attacks.place import Made, Place, make
from tests.seaweed import Server, seaweed
from tests.time_authority import TimeAuthority

Others = tuple[Callable[[], Server], Callable[[], TimeAuthority]]


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    """The house that each attack has a copy of."""
    return make(tmp_path_factory.mktemp("attacked") / "house")


@pytest.fixture(scope="session")
def others(
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[tuple[Callable[[], Server], Callable[[], TimeAuthority]]]:
    """A real object server and a real time stamp authority, each started when it is first asked for."""
    with contextlib.ExitStack() as stack:

        @cache
        def server() -> Server:
            return stack.enter_context(seaweed(tmp_path_factory.mktemp("attacked") / "s3"))

        @cache
        def authority() -> TimeAuthority:
            return stack.enter_context(TimeAuthority(tmp_path_factory.mktemp("attacked") / "authority"))

        yield server, authority


@pytest.fixture
def place(
    tmp_path: Path,
    made: Made,
    others: Others,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[Place]:
    # The pace of the recorder's own work, not what it decides.
    monkeypatch.setattr(node, "TEND_SECONDS", 0.05)
    monkeypatch.setattr(node, "TICK_SECONDS", 0.05)
    monkeypatch.setattr(sealing_thread, "RETRY_SECONDS", 0.02)
    monkeypatch.setattr(sealing_thread, "MAX_WAITING", 12)
    monkeypatch.setattr(delivery, "FIRST_PAUSE", 0.02)
    monkeypatch.setattr(delivery, "LONGEST_PAUSE", 0.05)
    found = Place(tmp_path, made, *others)
    yield found
    found.close()
