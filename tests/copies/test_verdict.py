"""How strongly a copy is proven, as a table; and the sentences for people, held equal in both languages."""

from __future__ import annotations

import dataclasses
import io
import re
import string
from pathlib import Path

import pytest

from evidence_store.copies.report import Anchors, Check, Report
from evidence_store.verifying.grade import DOUBTFUL, Facts, Grade, facts_of, grade
from evidence_store.verifying.screen import Screen, fitting, language_of
from evidence_store.verifying.verdict import verdict
from evidence_store.verifying.words import DANISH, ENGLISH, LANGUAGES

DOCS = Path(__file__).parents[2] / "docs"
BEST = Facts(
    whole=True, anchored=True, another=False, doubtful=False, witnesses=2, quorum=2, clocks=2, gaps=0,
)  # fmt: skip


@pytest.mark.parametrize(
    ("changed", "expected", "level"),
    [
        ({}, Grade.STRONGEST, 5),
        ({"clocks": 1}, Grade.STRONG, 4),
        ({"clocks": 0}, Grade.WITNESSED, 3),
        ({"witnesses": 1}, Grade.DATED, 2),
        ({"witnesses": 1, "quorum": 1}, Grade.STRONGEST, 5),
        ({"witnesses": 0, "quorum": 1}, Grade.DATED, 2),
        ({"witnesses": 0, "quorum": 0}, Grade.DATED, 2),
        ({"witnesses": 0, "clocks": 0}, Grade.SIGNED, 1),
        ({"gaps": 9}, Grade.STRONGEST, 5),
        ({"doubtful": True}, Grade.DOUBTFUL, 0),
        ({"anchored": False}, Grade.UNKNOWN, 0),
        ({"anchored": False, "doubtful": True}, Grade.UNKNOWN, 0),
        ({"anchored": False, "another": True}, Grade.REFUSED, 0),
        ({"whole": False}, Grade.REFUSED, 0),
        ({"whole": False, "anchored": False}, Grade.REFUSED, 0),
        ({"whole": False, "doubtful": True}, Grade.REFUSED, 0),
    ],
)
def test_the_grade_is_a_table(changed: dict[str, int], expected: Grade, level: int) -> None:
    found = grade(dataclasses.replace(BEST, **changed))  # type: ignore[arg-type]
    assert (found, found.level) == (expected, level)


def test_every_grade_is_in_the_document_with_its_level() -> None:
    page = (DOCS / "formats/package.md").read_text()
    rows = dict(re.findall(r"^\| `([a-z]+)` \| (\d) \|", page, re.MULTILINE))
    assert rows == {each.value: str(each.level) for each in Grade}


def report(*failed: Check, **about: object) -> Report:
    checks = [Check("anchor", True, ""), Check("files", True, ""), *failed]
    return Report(checks, anchored=True, **about)  # type: ignore[arg-type]


def test_facts_come_from_the_report() -> None:
    facts = facts_of(report(witnesses=2, dated_by=["a", "b"], gaps=3), given=True, quorum=2)
    assert facts == dataclasses.replace(BEST, gaps=3)
    doubted = Check("devices", False, "", DOUBTFUL)
    assert facts_of(report(doubted), given=True).doubtful
    assert facts_of(report(doubted), given=True).whole
    assert not facts_of(report(Check("devices", False, "", "revocation-missing")), given=True).whole
    assert not facts_of(Report(), given=False).whole
    unknown = Report([Check("anchor", False, "", "signature-invalid"), Check("files", True, "")])
    assert grade(facts_of(unknown, given=False)) is Grade.UNKNOWN
    assert grade(facts_of(unknown, given=True)) is Grade.REFUSED


def slots(text: str) -> set[str]:
    return {name for _, name, _, _ in string.Formatter().parse(text) if name}


def test_both_languages_say_the_same_things() -> None:
    for field in dataclasses.fields(DANISH):
        danish, english = getattr(DANISH, field.name), getattr(ENGLISH, field.name)
        if isinstance(danish, dict):
            assert list(danish) == list(english), field.name
            if field.name in ("proven_lines", "wrong_use"):
                assert [slots(each) for each in danish.values()] == [slots(each) for each in english.values()]
        elif isinstance(danish, tuple):
            assert len(danish) == len(english)
        else:
            assert slots(danish) == slots(english)
    assert set(DANISH.grades) == set(Grade)


def test_what_is_not_proven_is_said_in_the_threat_models_words() -> None:
    said = re.sub(r"\*\*|\s+(?=\n)", "", (DOCS / "threat-model.md").read_text())
    for sentence in ENGLISH.never:
        assert sentence in said, sentence
    for part in ("it is the word of recorder and store", "that lies, or whose key was stolen, is believed"):
        assert part in said
        assert any(part in each for each in (ENGLISH.time_alone, ENGLISH.time_outside))


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_verdict_names_who_when_how_strongly_and_what_not(language: str) -> None:
    words = LANGUAGES[language]
    full = report(
        witnesses=2, dated_by=["a", "b"], sealed_at=1_795_000_000 * 10**9, began=[1_794_990_000 * 10**9], gaps=1,
        files=3, size=99, entries=7, recorders=["0a" * 16],
    )  # fmt: skip
    facts = facts_of(full, given=True, quorum=2)
    text = "\n".join(verdict(full, Anchors("ab" * 32), facts, words))
    for part in ("5", "ab" * 32, "0a" * 16, "2026-11-18 11:06:40 UTC", "2026-11-18 08:20:00 UTC", *words.never):
        assert part in text
    assert words.time_alone not in text
    assert words.no_witness not in text
    alone = report(clocks=["c"])
    text = "\n".join(verdict(alone, Anchors("ab" * 32), facts_of(alone, given=True), words))
    for part in (words.time_alone, words.no_witness, words.strangers):
        assert part in text


def test_any_console_takes_any_text() -> None:
    text = "æøå – ≥ → 日本 \u202e \x1b[31m \ud800"
    for encoding in ("cp850", "cp1252", "ascii", "utf-8", "no-such-encoding", None):
        shown = fitting(text, encoding)
        assert "\x1b" not in shown
        assert "\u202e" not in shown
        if encoding != "no-such-encoding":
            shown.encode(encoding or "utf-8")
    assert fitting("blåbær – godt", "cp850") == "blåbær - godt"


@pytest.mark.parametrize(
    ("environment", "system", "expected"),
    [
        ({"LANG": "da_DK.UTF-8"}, None, "da"),
        ({"LANG": "en_GB.UTF-8"}, "da_DK", "en"),
        ({"LC_ALL": "en_US.UTF-8", "LANG": "da_DK.UTF-8"}, None, "en"),
        ({"LANG": "C.UTF-8"}, None, "da"),
        ({}, "English_United Kingdom", "en"),
        ({}, "Danish_Denmark", "da"),
        ({"LANG": "de_DE.UTF-8"}, None, "da"),
        ({}, None, "da"),
    ],
)
def test_the_language_is_the_systems_or_danish(environment: dict[str, str], system: str | None, expected: str) -> None:
    assert language_of(environment, system) == expected


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_progress_is_one_line_on_a_terminal_and_ten_in_a_file() -> None:
    moments = iter(range(1000))
    for err, shown, count in ((Terminal(), True, 101), (io.StringIO(), True, 11), (Terminal(), False, 0)):
        out = io.StringIO()
        screen = Screen(out, err, shown=shown, word="read", clock=lambda: next(moments))
        for done in range(101):
            screen.progress(done << 20, 100 << 20)
        screen.line("OK")
        assert err.getvalue().count("%") == count
        assert out.getvalue() == "OK\n"
    often = Terminal()
    screen = Screen(io.StringIO(), often, shown=True, word="read", clock=lambda: 5.0)
    for done in range(101):
        screen.progress(done, 100)
    assert often.getvalue().count("%") == 1, "not more often than a person reads"


class Gone(Terminal):
    """Somebody who has stopped reading."""

    def write(self, _text: str) -> int:
        raise BrokenPipeError


def test_whoever_stops_reading_changes_nothing() -> None:
    screen = Screen(Gone(), Gone(), shown=True, word="read")
    screen.progress(1, 2)
    screen.line("OK")
    screen.warn("no")
