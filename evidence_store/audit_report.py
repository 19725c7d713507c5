"""What an audit says, and how far it is."""

from __future__ import annotations

from dataclasses import dataclass, field

UNSEEN = frozenset({"vault-out-of-reach", "vault-slow", "vault-absent", "database-out-of-reach", "database-full"})
"""What keeps an audit from looking, and says nothing of what is there."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at. `detail` names no case and no person."""

    name: str
    ok: bool
    detail: str
    weak: bool = False
    """Nothing is wrong, and yet less is shown than could be: `detail` says what."""
    code: str = ""
    """Of the error that was found, where something is wrong (`evidence_store.audit_words`)."""
    checked_at: int | None = None
    """When an earlier run looked at it, or at the oldest part of it, nanoseconds UTC; None: this run did."""


@dataclass(slots=True)
class AuditReport:
    findings: list[Finding] = field(default_factory=list)

    @property
    def ok(self) -> bool:
        return all(finding.ok for finding in self.findings)

    @property
    def unseen(self) -> bool:
        """Whether all that is wrong is that something could not be looked at."""
        wrong = [finding.code for finding in self.findings if not finding.ok]
        return bool(wrong) and all(code in UNSEEN for code in wrong)


@dataclass(frozen=True, slots=True)
class Progress:
    """How far an audit is. `octets` of media and other objects, as often as each is to be read; `taken_over`: those of
    them that an earlier run had read."""

    recordings: int = 0
    of_recordings: int = 0
    octets: int = 0
    of_octets: int = 0
    taken_over: int = 0
    entries: int = 0
