"""When an interview may be erased, and by whom: pure. Doing it is `evidence_store.erasure`'s work.

Nothing is erased by time alone. Time only says from when on two people may; a hold says no whatever the time.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from evidence_store.errors import Conflict
from evidence_store.interview import InterviewState

DAY_NS: Final = 86_400 * 10**9
ERASABLE: Final = frozenset({InterviewState.SEALED, InterviewState.AVAILABLE})
"""Before the seal nobody knows what there is; a take may still be on its way."""


@dataclass(frozen=True, slots=True)
class Standing:
    """How an interview stands. `ended_at`: UTC ns of its last close. `requested_by`: whose request waits."""

    state: InterviewState
    ended_at: int | None
    holds: int
    requested_by: str | None
    copying: bool = False


def keep_until(ended_at: int, days: int) -> int:
    """UTC ns from which on erasure may be asked for."""
    return ended_at + days * DAY_NS


def check_erasable(standing: Standing, days: int, now: int) -> None:
    """Raises Conflict: `erased`, `not-sealed`, `erasure-held`, `erasure-early`, `erasure-copying`."""
    if standing.state is InterviewState.ERASED:
        raise Conflict("the interview was erased", code="erased")
    if standing.state not in ERASABLE or standing.ended_at is None:
        raise Conflict("the interview is not sealed", code="not-sealed")
    if standing.holds:
        raise Conflict("the interview is held", code="erasure-held")
    if now < keep_until(standing.ended_at, days):
        raise Conflict("the interview has to be kept longer", code="erasure-early")
    if standing.copying:
        raise Conflict("a copy of it is being made", code="erasure-copying")


def check_request(standing: Standing, days: int, now: int) -> None:
    """Whether somebody may ask. Raises Conflict as `check_erasable`, and `erasure-requested` where somebody has."""
    check_erasable(standing, days, now)
    if standing.requested_by is not None:
        raise Conflict("its erasure was asked for already", code="erasure-requested")


def check_approval(standing: Standing, days: int, now: int, by: str) -> None:
    """Whether `by` (an account's id) may approve what somebody else asked for. Everything is asked anew: a hold that
    came in between wins. Raises Conflict as above, `erasure-not-requested`, `erasure-same-person`."""
    check_erasable(standing, days, now)
    if standing.requested_by is None:
        raise Conflict("nobody asked for its erasure", code="erasure-not-requested")
    if standing.requested_by == by:
        raise Conflict("whoever asked cannot approve", code="erasure-same-person")


def check_hold(standing: Standing) -> None:
    """Whether it can still be held. Raises Conflict `erased`: what was approved cannot be called back."""
    if standing.state is InterviewState.ERASED:
        raise Conflict("the interview was erased", code="erased")
