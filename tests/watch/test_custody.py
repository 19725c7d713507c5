"""Observations that come in with a take's journal: into custody, in a form that every reader may rely on."""

from __future__ import annotations

from typing import Any

import pytest

from evidence_store.custody import Verb
from recorder.spool import Spool
from recorder.take import Order
from tests.house import BEGAN, TICK_NS, House, record

BLACK = {
    "act": "ended", "camera": "wide", "from": str(BEGAN + TICK_NS), "kind": "black", "measure": 3,
    "to": str(BEGAN + 4 * TICK_NS), "track": 0, "type": "observation",
}  # fmt: skip


@pytest.mark.parametrize(
    ("changed", "kept"),
    [
        ({}, {}),
        ({"to": None}, {"to": None}),
        ({"measure": "much", "track": "0"}, {"measure": None, "track": None}),
        ({"kind": "x" * 5000}, {"kind": "x" * 64}),
        ({"from": "soon"}, {"from": str(BEGAN + 6 * TICK_NS)}),
        ({"more": "than an observation has"}, {}),
    ],
    ids=["whole", "open", "odd_types", "endless_word", "no_time", "more_members"],
)
def test_an_observation_goes_into_custody(
    changed: dict[str, Any], kept: dict[str, Any], house: House, spool: Spool, order: Order
) -> None:
    take = record(house, spool, order, events={5: [BLACK | changed]})
    house.deliver(take)
    (logged,) = house.custody(Verb.OBSERVED)
    assert logged.event.actor.id.startswith("recorder:")
    about = {name: value for name, value in BLACK.items() if name != "type"}
    assert logged.event.details == about | kept | {"enrolment": take.enrolment.hex(), "t": 5, "take": 1}
    assert house.findings() == {}
