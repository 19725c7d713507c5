"""The sheet of paper that a keeper of the recovery key gets: in Danish, as text or as a page to print. Pure.

The words stand in numbered lines that `words_on` reads back, so that a sheet is checked as it was printed and not as
it was meant.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from html import escape
from typing import Final

from evidence_store.recovery.paper import WORDS, PaperShare

_COLUMNS: Final = 3
_LINE: Final = re.compile(r"^(?:\s*\d{1,2}\s+[a-z]{4,8})+\s*$", re.MULTILINE)
_WORD: Final = re.compile(r"(\d{1,2})\s+([a-z]{4,8})")


@dataclass(frozen=True, slots=True)
class Heading:
    """What all sheets of a splitting say. `fingerprint`: the root certificate's SHA-256, 64 hexadecimal digits."""

    house: str
    fingerprint: str
    shares: int
    threshold: int
    day: str


def as_text(share: PaperShare, heading: Heading) -> str:
    """The sheet for a terminal, or for a printer that prints text."""
    before, after = _around(share, heading)
    return "\n".join([*before, "", *_lines(share), "", *after, ""])


def as_page(share: PaperShare, heading: Heading) -> str:
    """The sheet as one HTML file that loads nothing."""
    before, after = _around(share, heading)
    words = escape("\n".join(_lines(share)))
    return (
        '<!doctype html><html lang="da"><meta charset="utf-8"><title>Vidne: andel</title>'
        "<style>body{font:12pt/1.5 sans-serif;max-width:42em;margin:2em auto}h1{font-size:16pt}"
        "pre{font:14pt/1.7 monospace;border:1px solid;padding:1em}</style>"
        f"<h1>{escape(before[0])}</h1>{_paragraphs(before[1:])}<pre>\n{words}\n</pre>{_paragraphs(after)}</html>\n"
    )


def words_on(text: str) -> str:
    """The words of a sheet in their order, or the text itself where it is no sheet: a list that somebody typed."""
    found = dict(pair for line in _LINE.findall(text) for pair in _WORD.findall(line))
    if set(found) != {str(number) for number in range(1, WORDS + 1)}:
        return text
    return " ".join(found[str(number)] for number in range(1, WORDS + 1))


def _lines(share: PaperShare) -> list[str]:
    """Three columns, read downwards, each word with its number."""
    rows = -(-WORDS // _COLUMNS)
    numbered = [f"{number:2} {word:<8}" for number, word in enumerate(share.words, start=1)]
    return ["   " + "   ".join(numbered[row::rows]).rstrip() for row in range(rows)]


def _around(share: PaperShare, heading: Heading) -> tuple[list[str], list[str]]:
    mark = " ".join(heading.fingerprint[at : at + 8] for at in range(0, len(heading.fingerprint), 8))
    before = [
        f"VIDNE: ANDEL {share.number} AF {heading.shares} AF GENDANNELSESNØGLEN",
        f"Hus: {heading.house}",
        f"Husets fingeraftryk (rodcertifikatets SHA-256): {mark}",
        f"Opdeling nr. {share.identifier}, den {heading.day}. Andele fra en anden opdeling passer ikke til denne.",
        f"{heading.threshold} af de {heading.shares} andele skal til. Færre fortæller intet.",
        "Opbevares af: ______________________________   Modtaget den: ______________   Underskrift: ______________",
        "Øvelse holdt den (hvert år): ______________   ______________   ______________   ______________",
    ]
    after = [
        "HVAD DU GØR",
        "1. Læg arket i en forseglet kuvert, låst inde, et sted for sig. Ikke sammen med en anden andel.",
        "2. Tag ingen kopi og intet billede af det. Skriv aldrig ordene på en maskine, undtagen til øvelsen og til en "
        "gendannelse, og da kun på en maskine uden net.",
        "3. Giv kun ordene fra dig, når det er besluttet skriftligt, at husets optagelser skal gendannes, og når "
        "arkets fingeraftryk er det, som anklagemyndigheden har på papir.",
        "4. Hvert år: mød op til øvelsen (vidne recovery check). Den viser, at andelene stadig passer til huset, og "
        "gemmer intet. Skriv datoen ovenfor.",
        "5. Er kuverten brudt, væk eller set af andre, så sig det straks: husets nøgle opdeles på ny, og er der så "
        "mange andele ude, som der skal til, laves der en ny.",
        "Ordene er SLIP-39, engelske, og skrives som de står; de første fire bogstaver er nok.",
    ]
    return before, after


def _paragraphs(lines: list[str]) -> str:
    return "".join(f"<p>{escape(line)}</p>" for line in lines)
