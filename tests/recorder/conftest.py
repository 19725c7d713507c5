"""What the recorder's tests share."""

from __future__ import annotations

import pytest

from recorder import node as noded
from recorder import sealing_thread


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """For whoever waits for ticks and retries."""
    monkeypatch.setattr(noded, "TEND_SECONDS", 0.05)
    monkeypatch.setattr(noded, "TICK_SECONDS", 0.05)
    monkeypatch.setattr(sealing_thread, "RETRY_SECONDS", 0.02)
