from __future__ import annotations

from pathlib import Path

import pytest

from hardware.simulated_room import Recipe, make_clip

SMALL = Recipe(width=640, height=360, seconds=3, bitrate=500_000, sei="VIDNE-TEST-PATTERN")


@pytest.fixture(scope="session")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("clips")


@pytest.fixture(scope="session")
def small_clip(cache: Path) -> Path:
    return make_clip(SMALL, cache)
