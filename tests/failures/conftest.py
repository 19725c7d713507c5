from __future__ import annotations

from pathlib import Path

import pytest

from recorder import delivery, node, sealing_thread
from tests.failures.mode import Place
from tests.house import House


@pytest.fixture
def place(tmp_path: Path, house: House) -> Place:
    return Place(tmp_path, house)


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """The pace of the recorder's own work, not what it decides."""
    monkeypatch.setattr(node, "TEND_SECONDS", 0.05)
    monkeypatch.setattr(node, "TICK_SECONDS", 0.05)
    monkeypatch.setattr(sealing_thread, "RETRY_SECONDS", 0.02)
    monkeypatch.setattr(delivery, "FIRST_PAUSE", 0.02)
    monkeypatch.setattr(delivery, "LONGEST_PAUSE", 0.05)
    monkeypatch.setattr(delivery, "HEARTBEAT_SECONDS", 0.2)
