from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from hardware.simulated_room import Recipe, make_clip
from tests.monitor_room.room import Room, open_room


@pytest.fixture
async def room(tmp_path: Path) -> AsyncIterator[Room]:
    async with open_room(tmp_path) as opened:
        yield opened


@pytest.fixture(scope="session")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The simulated room's picture, with its clock, small."""
    recipe = Recipe(width=640, height=360, seconds=3, bitrate=500_000)
    return make_clip(recipe, tmp_path_factory.mktemp("clips"))
