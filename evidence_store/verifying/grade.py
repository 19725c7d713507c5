"""How strongly a copy is proven: a table from facts to a grade (docs/formats/package.md#assurance). Pure."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from evidence_store.copies.report import Report

DOUBTFUL: Final = "take-doubtful"


class Grade(StrEnum):
    """From nothing to the most that is known how to show."""

    REFUSED = "refused"
    UNKNOWN = "unknown"
    DOUBTFUL = "doubtful"
    SIGNED = "signed"
    DATED = "dated"
    WITNESSED = "witnessed"
    STRONG = "strong"
    STRONGEST = "strongest"

    @property
    def level(self) -> int:
        """0 to 5; 0 is no evidence without more."""
        return max(0, list(Grade).index(self) - 2)


@dataclass(frozen=True, slots=True)
class Facts:
    """`whole`: everything but anchor and devices holds. `anchored`: the root is the one that was given from outside;
    `another`: it is not. `doubtful`: a device was revoked before a take ended. `witnesses`: how many of those given
    stand for every custody entry; `quorum`: how many were asked for. `clocks`: how many of the time authorities given
    stamped the manifest. `gaps`: declared ones, which change no grade: what is missing is said, and not there."""

    whole: bool
    anchored: bool
    another: bool
    doubtful: bool
    witnesses: int
    quorum: int
    clocks: int
    gaps: int


@dataclass(frozen=True, slots=True)
class Row:
    """Asks for all that it names; None: does not matter."""

    grade: Grade
    refused: bool | None = None
    anchored: bool | None = None
    doubtful: bool | None = None
    witnessed: bool | None = None
    clocks: int = 0


TABLE: Final = (
    Row(Grade.REFUSED, refused=True),
    Row(Grade.UNKNOWN, anchored=False),
    Row(Grade.DOUBTFUL, doubtful=True),
    Row(Grade.STRONGEST, witnessed=True, clocks=2),
    Row(Grade.STRONG, witnessed=True, clocks=1),
    Row(Grade.WITNESSED, witnessed=True),
    Row(Grade.DATED, clocks=1),
    Row(Grade.SIGNED),
)
"""The first row that fits."""


def grade(facts: Facts) -> Grade:
    """The copy's grade."""
    found = {
        "refused": facts.another or not facts.whole,
        "anchored": facts.anchored,
        "doubtful": facts.doubtful,
        "witnessed": facts.witnesses >= max(1, facts.quorum),
    }
    for row in TABLE:
        if facts.clocks >= row.clocks and all(getattr(row, name) in (None, value) for name, value in found.items()):
            return row.grade
    raise AssertionError("the table's last row fits everything")


def facts_of(report: Report, *, given: bool, quorum: int = 1) -> Facts:
    """What of a report the grade goes by. `given`: a fingerprint came from outside."""
    doubtful = any(check.code == DOUBTFUL for check in report.failures)
    others = [check for check in report.failures if check.name != "anchor" and check.code != DOUBTFUL]
    return Facts(
        whole=bool(report.checks) and not others,
        anchored=report.anchored,
        another=given and not report.anchored,
        doubtful=doubtful,
        witnesses=report.witnesses,
        quorum=quorum,
        clocks=len(report.dated_by),
        gaps=report.gaps,
    )
