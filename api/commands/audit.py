"""`vidne audit`: how far it is on a terminal, what it found in words, and how it ends."""

from __future__ import annotations

import json
import sys
import time
from typing import TYPE_CHECKING, Annotated, Final, Literal

import typer
from sqlalchemy.exc import SQLAlchemyError

from api.commands.settled import Data, settled

if TYPE_CHECKING:
    from evidence_store.audit_report import AuditReport, Finding, Progress

RIGHT, WRONG, NOT_DONE, NOT_SEEN, INTERRUPTED = 0, 1, 2, 3, 130
"""How it ends: docs/operations.md#audit."""
_SAID: Final = {
    "da": {
        "OK": "OK  ", "NOTE": "BEMÆRK", "FAIL": "FEJL", "means": "Betyder", "safe": "Sikkert", "do": "Gør",
        "earlier": "efterset {when} af en revision, der blev afbrudt",
        "right": "Alt er, som det blev gemt.",
        "wrong": "{count} af {all} punkter holder ikke. Intet er ændret af revisionen.",
        "unseen": "{count} af {all} punkter kunne ikke ses efter; intet af det, der blev set, er forkert.",
        "stopped": "Afbrudt. Intet er ændret. Hvad der er efterset, huskes: kør den igen, så går den videre.",
        "progress": "optagelse {recordings} af {of_recordings} · {done:.1f} af {of:.1f} GB · {entries} linjer{left}",
        "left": " · {minutes} min. tilbage",
    },
    "en": {
        "OK": "OK  ", "NOTE": "NOTE", "FAIL": "FAIL", "means": "Means", "safe": "Safe", "do": "Do",
        "earlier": "looked at {when} by an audit that was interrupted",
        "right": "Everything is as it was stored.",
        "wrong": "{count} of {all} things do not hold. The audit has changed nothing.",
        "unseen": "{count} of {all} things could not be looked at; nothing of what was is wrong.",
        "stopped": "Interrupted. Nothing has changed. What was looked at is remembered: run it again, and it goes on.",
        "progress": "recording {recordings} of {of_recordings} · {done:.1f} of {of:.1f} GB · {entries} entries{left}",
        "left": " · {minutes} min left",
    },
}  # fmt: skip


def audit(
    data: Data = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
    language: Annotated[str, typer.Option(help="Of the report: da or en.")] = "en",
    afresh: Annotated[
        bool, typer.Option("--afresh", help="Look at everything, also at what an interrupted audit had looked at.")
    ] = False,
) -> None:
    """Rebuild and check everything from bytes: vaults, ledger, custody, witnesses, takes, manifests, time stamps."""
    from api.processes.house import require_witness_policy
    from api.stamping import rules
    from api.wiring import open_store
    from evidence_store.audit import Audit
    from evidence_store.audit_memory import AuditMemory
    from evidence_store.errors import Conflict, VidneError
    from evidence_store.sealing import certificates as certs

    if language not in _SAID:
        typer.echo("--language: da or en.", err=True)
        raise typer.Exit(NOT_DONE)
    settings = settled(data=data)
    require_witness_policy(settings)
    told = _Terminal("da" if language == "da" else "en", quiet=as_json)
    try:
        store = open_store(settings)
    except (VidneError, OSError, SQLAlchemyError) as error:
        typer.echo(f"The store cannot be opened, so nothing was checked: {_said(error)}.", err=True)
        raise typer.Exit(NOT_DONE) from None
    about = {
        "ledger": str(store.book.ledger.verifier), "root": certs.fingerprint(store.authority.root),
        "vaults": store.book.vault.identities,
    }  # fmt: skip
    memory = AuditMemory(settings.data / "audit", about, store.book.clock(), afresh=afresh)
    work = Audit(
        store.book, store.authority, told.finding, store.witnessing, time_authorities=store.stamps.authorities,
        tolerance_ns=rules(settings).tolerance, memory=memory, progress=told.progress,
    )  # fmt: skip
    try:
        with memory.held():
            report = work.run()
    except Conflict as error:
        typer.echo(f"Nothing was checked: {error}.", err=True)
        raise typer.Exit(NOT_DONE) from None
    except (VidneError, OSError, SQLAlchemyError) as error:
        typer.echo(f"The audit could not go on; what was found before stands above: {_said(error)}.", err=True)
        raise typer.Exit(NOT_SEEN) from None
    except KeyboardInterrupt:
        told.stopped()
        raise typer.Exit(INTERRUPTED) from None
    code = RIGHT if report.ok else NOT_SEEN if report.unseen else WRONG
    told.ended(report, code)
    raise typer.Exit(code)


def _said(error: Exception) -> str:
    """What SQLAlchemy says of itself holds the statement and its values: not for a terminal that is copied on."""
    return type(error).__name__ if isinstance(error, SQLAlchemyError) else str(error)


class _Terminal:
    """What is told on the way, and at the end. Progress goes to standard error, and only where somebody sits there."""

    def __init__(self, language: Literal["da", "en"], *, quiet: bool) -> None:
        from evidence_store.verifying.screen import Screen

        self._language, self._words, self._quiet = language, _SAID[language], quiet
        self._screen = Screen(sys.stdout, sys.stderr, shown=sys.stderr.isatty())
        self._began = time.monotonic()

    def progress(self, now: Progress) -> None:
        self._screen.state(lambda: self._far(now, time.monotonic() - self._began))

    def _far(self, now: Progress, since: float) -> str:
        read, still = now.octets - now.taken_over, now.of_octets - now.octets
        left = ""
        if read > 0 and since > 5:
            left = self._words["left"].format(minutes=round(since * still / read / 60))
        return self._words["progress"].format(
            recordings=now.recordings, of_recordings=now.of_recordings, done=now.octets / 1e9, of=now.of_octets / 1e9,
            entries=now.entries, left=left,
        )  # fmt: skip

    def finding(self, found: Finding) -> None:
        from evidence_store.audit_words import name_of, words_for

        if self._quiet:
            return
        mark = self._words[("NOTE" if found.weak else "OK") if found.ok else "FAIL"]
        earlier = "" if found.checked_at is None else f" ({self._earlier(found.checked_at)})"
        self._screen.line(f"{mark} {name_of(found.name, self._language)}: {found.detail}{earlier}")
        if not found.ok:
            words = words_for(found.code, self._language)
            for what, sentence in (("means", words.means), ("safe", words.safe), ("do", words.do)):
                self._screen.line(f"     {self._words[what]}: {sentence}")

    def ended(self, report: AuditReport, code: int) -> None:
        if self._quiet:
            self._screen.line(json.dumps(self._record(report, code), ensure_ascii=False))
            return
        wrong = sum(not each.ok for each in report.findings)
        said = {RIGHT: "right", WRONG: "wrong", NOT_SEEN: "unseen"}[code]
        self._screen.line(self._words[said].format(count=wrong, all=len(report.findings)))

    def stopped(self) -> None:
        self._screen.warn(self._words["stopped"])

    def _record(self, report: AuditReport, code: int) -> dict[str, object]:
        from evidence_store.audit_words import words_for
        from evidence_store.identifiers import utc_text

        found = []
        for each in report.findings:
            words = None if each.ok else words_for(each.code, self._language)
            found.append(
                {
                    "checked_at": None if each.checked_at is None else utc_text(each.checked_at),
                    "code": each.code or None, "detail": each.detail, "name": each.name, "ok": each.ok,
                    "weak": each.weak,
                    "words": None if words is None else {"do": words.do, "means": words.means, "safe": words.safe},
                }
            )  # fmt: skip
        return {"exit": code, "findings": found, "ok": report.ok}

    def _earlier(self, at: int) -> str:
        from evidence_store.identifiers import utc_text

        return self._words["earlier"].format(when=f"{utc_text(at)[:19]}Z")
