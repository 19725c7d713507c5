"""The last page of `vidne verify`: what is proven, by whom, when, how strongly, and what is not. Pure."""

from __future__ import annotations

from collections.abc import Iterator

from evidence_store.copies.report import Anchors, Check, Report
from evidence_store.identifiers import utc_text
from evidence_store.verifying.grade import Facts, Grade, grade
from evidence_store.verifying.words import Words


def step(number: int, check: Check, words: Words) -> str:
    """Two lines for one check: in plain words, and what was found."""
    asked, failed = words.steps[check.name]
    mark, said = (words.ok, asked) if check.ok else (words.fail, failed)
    # One line, whatever a package's names hold: none of them begins a line that looks like ours.
    detail = "".join(sign if sign.isprintable() else "?" for sign in check.detail)
    return f"{mark} {number:2}. {check.name}: {said}\n         {detail}"


def verdict(report: Report, anchors: Anchors, facts: Facts, words: Words) -> Iterator[str]:
    """Line by line."""
    found = grade(facts)
    name, meaning = words.grades[found]
    results = {Grade.REFUSED: words.holds_not, Grade.UNKNOWN: words.unknown, Grade.DOUBTFUL: words.doubtful}
    yield results.get(found, words.holds)
    yield words.grade.format(level=found.level, name=name, meaning=meaning)
    if found is Grade.REFUSED:
        yield words.next_refused
        return
    if found is Grade.UNKNOWN:
        yield words.next_unknown
    else:
        yield ""
        yield words.proven
        yield from (f"  - {line}" for line in _proven(report, anchors, facts, words))
    yield ""
    yield words.not_proven
    yield from (f"  - {line}" for line in _not_proven(report, facts, words))


def _proven(report: Report, anchors: Anchors, facts: Facts, words: Words) -> Iterator[str]:
    lines, began = words.proven_lines, min(report.began, default=None)
    yield lines["whole"].format(files=report.files, size=report.size)
    yield lines["who"].format(root=anchors.root_fingerprint, recorders=", ".join(report.recorders))
    if began is not None:
        yield lines["when"].format(began=_minute(began))
    if facts.clocks and report.sealed_at is not None:
        yield lines["sealed"].format(clocks=facts.clocks, sealed=_minute(report.sealed_at))
    yield lines["custody"].format(entries=report.entries)
    if facts.witnesses:
        yield lines["witnesses"].format(witnesses=facts.witnesses)
    yield lines["gaps"].format(gaps=facts.gaps)


def _not_proven(report: Report, facts: Facts, words: Words) -> Iterator[str]:
    yield from words.never
    yield words.time_outside if facts.clocks else words.time_alone
    if report.clocks:
        yield words.strangers
    if not facts.witnesses:
        yield words.no_witness


def _minute(moment: int) -> str:
    """2026-11-22 08:41:00 UTC."""
    text = utc_text(moment)
    return f"{text[:10]} {text[11:19]} UTC"
