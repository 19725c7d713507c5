"""A bad line and a killed recorder in one short interview: what is missing is declared, and all else is there."""

from __future__ import annotations

import asyncio
from pathlib import Path
from random import Random

from hardware.simulated_room import make_clip
from tests.bench.crash import CAMERAS, kill_once
from tests.bench.interview import interview
from tests.bench.lossy_link import Climate, Line

SECONDS = 3.0


async def test_after_loss_and_a_kill_every_hole_is_declared_and_the_rest_is_what_was_sent(tmp_path: Path) -> None:
    clips = {name: make_clip(recipe) for name, recipe in CAMERAS.items()}
    line = Line("", {"wide": Climate(loss=0.05)})
    async with interview(tmp_path, clips, line) as going:
        await going.start()
        await asyncio.sleep(SECONDS)
        kill = await kill_once(going, Random(1))  # noqa: S311 - no secret
        await asyncio.sleep(SECONDS)
        await going.stop()
        account = await asyncio.to_thread(going.account)
    assert set(kill.packets) == {"wide", "close"}
    assert sum(traffic.lost for traffic in line.sessions["wide"]) > 10
    assert [hole for hole in account.holes if hole.track == "wide-audio"], "sound is not sent again"
    assert account.undeclared == []
    assert {gap.reason for gap in account.gaps} >= {"crashed", "loss"}
    # Over the line that loses nothing, nothing is missing but what the kill cost.
    for track, rate in (("close-video", 30), ("close-audio", 50)):
        (hole,) = (hole for hole in account.holes if hole.track == track)
        assert any(gap.reason == "crashed" and gap.end > hole.begin for gap in account.gaps)
        assert account.whole[track] > 2 * SECONDS * rate
        assert account.damaged[track] == 0
