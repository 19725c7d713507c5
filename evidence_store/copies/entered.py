"""What the ledger says of a package's takes and manifest, against what was found in it. Pure.

A device that is stolen can close a take anew at an earlier tick, and a store can sign another manifest over it; both
have said otherwise before, and those entries are proven.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from evidence_store.canonical import Record
from evidence_store.custody import Verb
from evidence_store.errors import ChainBroken

_OF_TAKES: Final = {Verb.TAKE_STARTED.value, Verb.MINUTE.value, Verb.TAKE_CLOSED.value}


@dataclass(frozen=True, slots=True)
class Walked:
    """A take as it was walked: what custody may say of it, in hexadecimal, and J(t) of each tick."""

    start: str | None
    close: str
    head: str | None
    heads: list[str]


def check_entered(
    bodies: dict[int, Record], manifest_sha256: str, takes: dict[tuple[str, int], Walked]
) -> None:  # fmt: skip
    """`bodies` by index in the ledger; `takes` by enrolment and number. Raises ChainBroken `ledger-mismatch`.

    What came into the ledger after the manifest may be of a take that came too late for it.
    """
    sealed = [
        index for index, body in bodies.items()
        if body["verb"] == Verb.INTERVIEW_SEALED and body["details"]["manifest_sha256"] == manifest_sha256
    ]  # fmt: skip
    if not sealed:
        raise ChainBroken("the ledger does not have this manifest", code="ledger-mismatch")
    for index, body in sorted(bodies.items()):
        if index > max(sealed) or body["verb"] not in _OF_TAKES:
            continue
        said, enrolment = body["details"], body["actor"]["id"].removeprefix("recorder:")
        walked = takes.get((enrolment, said["take"]))
        if walked is None:
            raise ChainBroken(f"the ledger has a take {said['take']} that is not here", code="ledger-mismatch")
        found = {"start": walked.start, "close": walked.close, "head": walked.head}
        if body["verb"] == Verb.MINUTE:
            found = {"head": walked.heads[said["t"]] if said["t"] < len(walked.heads) else None}
        if any(said[name] != value for name, value in found.items() if name in said):
            raise ChainBroken(
                f"custody entry {index} has another start, head or close of take {said['take']}", code="ledger-mismatch"
            )
