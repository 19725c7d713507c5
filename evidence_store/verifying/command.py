"""`vidne verify PACKAGE`, and `python verify.pyz PACKAGE`, which is the same without the rest of Vidne.

Exit codes: 0 everything holds under the fingerprint that was given; 1 something does not hold, or is doubtful;
2 nothing was checked; 3 everything holds, and no fingerprint was given; 130 interrupted.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TextIO

from evidence_store.copies.report import Anchors, Check, Report
from evidence_store.copies.verify import verify
from evidence_store.errors import InvalidInput
from evidence_store.ledger.cosignature import CosignatureVerifier, parse_verifier_keys
from evidence_store.verifying.grade import Facts, Grade, facts_of, grade
from evidence_store.verifying.screen import Screen, environment_language
from evidence_store.verifying.verdict import step, verdict
from evidence_store.verifying.words import LANGUAGES, Words

HOLDS: Final = 0
HOLDS_NOT: Final = 1
NOT_CHECKED: Final = 2
UNKNOWN: Final = 3
INTERRUPTED: Final = 130
_AGE: Final = b"age-encryption.org/"


@dataclass(frozen=True, slots=True)
class Asked:
    """What somebody typed. `language` None: as the system speaks. `progress` None: where a terminal is looking."""

    package: Path
    fingerprint: str | None = None
    witness_keys: Path | None = None
    quorum: int = 1
    time_authorities: tuple[str, ...] = ()
    player: str | None = None
    language: str | None = None
    as_json: bool = False
    progress: bool | None = None


class _Wrong(Exception):  # noqa: N818 - says what it is, and never leaves this file
    """`which` sentence of `Words.wrong_use`."""

    def __init__(self, which: str, **about: object) -> None:
        super().__init__(which)
        self.which, self.about = which, about


def run(asked: Asked, out: TextIO, err: TextIO) -> int:
    """The exit code; everything else is written."""
    words = LANGUAGES[asked.language or environment_language()]
    shown = asked.progress if asked.progress is not None else bool(getattr(err, "isatty", lambda: False)())
    screen = Screen(out, err, shown=shown, word=words.progress)
    try:
        return _check(asked, _anchors(asked), screen, words)
    except _Wrong as wrong:
        screen.warn(words.wrong_use[wrong.which].format(**wrong.about))
        return NOT_CHECKED
    except KeyboardInterrupt:
        screen.warn(words.interrupted)
        return INTERRUPTED


def _check(asked: Asked, anchors: Anchors, screen: Screen, words: Words) -> int:
    count = 0

    def told(check: Check) -> None:
        nonlocal count
        count += 1
        if not asked.as_json:
            screen.line(step(count, check, words))

    try:
        report = verify(asked.package, anchors, player=asked.player, told=told, progress=screen.progress)
    except InvalidInput:
        raise _Wrong("age" if _locked(asked.package) else "package", path=asked.package) from None
    facts = facts_of(report, given=asked.fingerprint is not None, quorum=asked.quorum)
    code = {Grade.REFUSED: HOLDS_NOT, Grade.UNKNOWN: UNKNOWN}.get(grade(facts), HOLDS)
    if facts.doubtful:
        code = HOLDS_NOT  # also where nobody gave a fingerprint
    if asked.as_json:
        screen.line(json.dumps(record(report, facts, code)))
    else:
        screen.line()
        for line in verdict(report, anchors, facts, words):
            screen.line(line)
    return code


def record(report: Report, facts: Facts, code: int) -> dict[str, Any]:
    """What `--json` prints (docs/formats/package.md#for-machines)."""
    found = grade(facts)
    return {
        "anchored": report.anchored,
        "checks": [
            {"code": each.code, "detail": each.detail, "name": each.name, "ok": each.ok} for each in report.checks
        ],
        "dated_by": report.dated_by,
        "exit": code,
        "gaps": report.gaps,
        "grade": found.value,
        "level": found.level,
        "ok": report.ok,
        "unknown_clocks": report.clocks,
        "witnesses": report.witnesses,
    }


def _anchors(asked: Asked) -> Anchors:
    for which, texts in (("fingerprint", [asked.fingerprint]), ("time-authority", [*asked.time_authorities])):
        if any(text is not None and not re.fullmatch(r"[0-9a-f]{64}", _digits(text)) for text in texts):
            raise _Wrong(which)
    keys: tuple[CosignatureVerifier, ...] = ()
    if asked.witness_keys is not None:
        try:
            keys = parse_verifier_keys(asked.witness_keys.read_text("utf-8-sig"))
        except (InvalidInput, OSError, ValueError) as error:
            raise _Wrong("witness-keys", why=error) from None
    if asked.quorum < 1 or (asked.quorum > 1 and asked.quorum > len({key.public_key for key in keys})):
        raise _Wrong("quorum")
    return Anchors(asked.fingerprint, None, keys, asked.time_authorities, asked.quorum)


def _digits(text: str) -> str:
    """A fingerprint as people and openssl write it: with colons or spaces, in capitals."""
    return re.sub(r"[\s:]", "", text.lower())


def _locked(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            return file.read(len(_AGE)) == _AGE
    except OSError:
        return False


def main(arguments: Sequence[str] | None = None) -> int:
    """The single file's own command line."""
    parser = argparse.ArgumentParser(
        prog="verify.pyz", description="Checks an evidence copy of Vidne: no database, no network, no login."
    )
    parser.add_argument("package", type=Path, help="an unpacked evidence copy, or its tar file")
    parser.add_argument("--fingerprint", help="SHA-256 of the root certificate, known from elsewhere than the package")
    parser.add_argument("--witness-keys", type=Path, help="file of witnesses' keys, known from elsewhere")
    parser.add_argument("--quorum", type=int, default=1, help="how many witnesses have to stand for each act")
    parser.add_argument("--time-authority", action="append", default=[], help="SHA-256 of one's certificate; repeated")
    parser.add_argument("--player", help="an ffmpeg that reads every film through")
    parser.add_argument("--language", choices=sorted(LANGUAGES), help="default: the system's, or Danish")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--progress", action="store_true", default=None, help="also where no terminal is looking")
    given = parser.parse_args(arguments)
    asked = Asked(
        given.package, given.fingerprint, given.witness_keys, given.quorum, tuple(given.time_authority), given.player,
        given.language, given.json, given.progress,
    )  # fmt: skip
    return run(asked, sys.stdout, sys.stderr)
