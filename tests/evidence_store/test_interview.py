from __future__ import annotations

import itertools

import pytest

from evidence_store.errors import Conflict
from evidence_store.interview import TRANSITIONS, InterviewEvent, InterviewState, advance, diagram


def test_the_one_way_through() -> None:
    state = InterviewState.PLANNED
    seen = [state]
    for event in (
        InterviewEvent.START,
        InterviewEvent.END,
        InterviewEvent.SEAL,
        InterviewEvent.RELEASE,
        InterviewEvent.ERASE,
    ):
        state = advance(state, event)
        seen.append(state)
    assert [*seen, InterviewState.RESERVED] == list(InterviewState)


@pytest.mark.parametrize(
    ("state", "event"),
    [pair for pair in itertools.product(InterviewState, InterviewEvent) if pair not in TRANSITIONS],
)
def test_everything_else_is_refused(state: InterviewState, event: InterviewEvent) -> None:
    with pytest.raises(Conflict) as refused:
        advance(state, event)
    assert refused.value.code == "interview-state"


def test_diagram_shows_every_transition() -> None:
    drawn = diagram()
    assert drawn.count("-->") == len(TRANSITIONS) + 2
    assert "    ended --> sealed: seal\n" in drawn
