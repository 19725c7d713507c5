"""When an interview may be erased, and by whom."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from evidence_store.errors import Conflict
from evidence_store.interview import InterviewState
from evidence_store.retention import DAY_NS, Standing, check_approval, check_hold, check_request

ENDED = 10 * DAY_NS
READY = Standing(InterviewState.SEALED, ENDED, 0, None)
LATER = ENDED + 30 * DAY_NS


def code(standing: Standing, now: int = LATER, days: int = 30, by: str | None = None) -> str | None:
    try:
        if by is None:
            check_request(standing, days, now)
        else:
            check_approval(standing, days, now, by)
    except Conflict as refused:
        return refused.code
    return None


@pytest.mark.parametrize(
    ("changes", "now", "expected"),
    [
        ({}, LATER, None),
        ({}, LATER - 1, "erasure-early"),
        ({"state": InterviewState.AVAILABLE}, LATER, None),
        ({"holds": 1}, LATER + 10_000 * DAY_NS, "erasure-held"),
        ({"copying": True}, LATER, "erasure-copying"),
        ({"requested_by": "a"}, LATER, "erasure-requested"),
        ({"ended_at": None}, LATER, "not-sealed"),
        ({"state": InterviewState.ERASED}, LATER, "erased"),
        *[({"state": state}, LATER, "not-sealed") for state in ("planned", "reserved", "recording", "ended")],
    ],
)
def test_who_may_ask_and_when(changes: dict[str, Any], now: int, expected: str | None) -> None:
    assert code(replace(READY, **changes), now) == expected


@pytest.mark.parametrize(
    ("changes", "by", "expected"),
    [
        ({"requested_by": "a"}, "b", None),
        ({"requested_by": "a"}, "a", "erasure-same-person"),
        ({}, "b", "erasure-not-requested"),
        ({"requested_by": "a", "holds": 1}, "b", "erasure-held"),
        ({"requested_by": "a", "copying": True}, "b", "erasure-copying"),
        ({"requested_by": "a", "state": InterviewState.ERASED}, "b", "erased"),
    ],
)
def test_who_may_approve(changes: dict[str, Any], by: str, expected: str | None) -> None:
    assert code(replace(READY, **changes), by=by) == expected


def test_what_was_erased_cannot_be_held() -> None:
    check_hold(READY)
    with pytest.raises(Conflict):
        check_hold(replace(READY, state=InterviewState.ERASED))
