"""The bench's own run, shorter: `scripts/bench kills` has two hundred kills."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from tests.kills.phases import Phase
from tests.kills.run import kills

COUNT, SEED = 5, 20


@pytest.mark.timeout(600)
def test_killed_in_every_phase_the_store_has_everything_once(tmp_path: Path) -> None:
    account = kills(tmp_path, COUNT, SEED)
    assert account.faults == [], f"seed {account.seed}"
    assert Counter(kill.phase for kill in account.kills) == dict.fromkeys(Phase, COUNT // len(Phase))
    assert sum(kill.within for kill in account.kills) >= COUNT // 3
    assert account.proofs > 0
    assert len(account.acknowledged.objects) > 3 * COUNT
    assert account.acknowledged.erased
