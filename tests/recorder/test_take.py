"""The states of a take: which event leads where, and that no other does."""

from __future__ import annotations

from evidence_store.errors import Conflict
from recorder.take import Event, State, following


def test_every_transition_that_is_not_in_the_table_is_refused() -> None:
    allowed = {(state, event) for state in State for event in Event if possible(state, event)}
    assert allowed == {
        ("idle", "start"), ("starting", "started"), ("starting", "failed"), ("recording", "stop"),
        ("stopping", "closed"),
    }  # fmt: skip


def possible(state: State, event: Event) -> bool:
    try:
        following(state, event)
    except Conflict as error:
        return error.code != f"room-{state}"
    return True
