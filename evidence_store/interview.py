"""The life of an interview, in one table. Pure: decides what follows, writes nothing.

A restart after a crash is a new take of the same interview: the interview stays in `recording` throughout. Whether it
has a case number yet is another matter: one that a room began by itself gets it whenever a person gives it one.
"""

from __future__ import annotations

from enum import StrEnum
from types import MappingProxyType
from typing import Final

from evidence_store.errors import Conflict


class InterviewState(StrEnum):
    PLANNED = "planned"
    RECORDING = "recording"
    ENDED = "ended"
    SEALED = "sealed"
    AVAILABLE = "available"
    ERASED = "erased"
    """Two people decided it: its key is gone or going, its proofs stand."""
    RESERVED = "reserved"
    """A room holds its key for a start without the store; nobody has been interviewed in it yet."""


SEALED: Final = frozenset({InterviewState.SEALED, InterviewState.AVAILABLE, InterviewState.ERASED})
"""What was sealed once: nothing is added to it any more."""


class InterviewEvent(StrEnum):
    START = "start"
    """The first take is durable at the recorder."""
    END = "end"
    """Somebody pressed stop, or the last take was closed for them."""
    SEAL = "seal"
    """Every take is closed and delivered, and the manifest over them is signed and in the ledger."""
    RELEASE = "release"
    """The sealed takes were opened and checked once: it can be played and copied."""
    ERASE = "erase"
    """A second person approved what a first one asked for."""


TRANSITIONS: Final = MappingProxyType(
    {
        (InterviewState.PLANNED, InterviewEvent.START): InterviewState.RECORDING,
        (InterviewState.RESERVED, InterviewEvent.START): InterviewState.RECORDING,
        (InterviewState.RECORDING, InterviewEvent.END): InterviewState.ENDED,
        (InterviewState.ENDED, InterviewEvent.SEAL): InterviewState.SEALED,
        (InterviewState.SEALED, InterviewEvent.RELEASE): InterviewState.AVAILABLE,
        (InterviewState.SEALED, InterviewEvent.ERASE): InterviewState.ERASED,
        (InterviewState.AVAILABLE, InterviewEvent.ERASE): InterviewState.ERASED,
    }
)
"""Every transition there is; what is not here is refused."""


def advance(state: InterviewState, event: InterviewEvent) -> InterviewState:
    """The state after the event. Raises Conflict `interview-state`; the caller's state is unchanged then."""
    following = TRANSITIONS.get((state, event))
    if following is None:
        raise Conflict(f"an interview that is {state} cannot {event}", code="interview-state")
    return following


def diagram() -> str:
    """The table as a Mermaid state diagram, for docs/architecture.md."""
    lines = [f"    {before} --> {after}: {event}" for (before, event), after in TRANSITIONS.items()]
    beginnings = [f"    [*] --> {state}" for state in (InterviewState.PLANNED, InterviewState.RESERVED)]
    return "\n".join(["stateDiagram-v2", *beginnings, *lines, ""])
