"""What a check of a package is asked and what it answers. Values only."""

from __future__ import annotations

from dataclasses import dataclass, field

from evidence_store.ledger.cosignature import CosignatureVerifier


@dataclass(frozen=True, slots=True)
class Anchors:
    """What is known from outside. `root_fingerprint`: SHA-256 of the root certificate (hex, colons and case do not
    matter); `ledger_key`: Ed25519, 32 bytes, where the reader pins it apart from the root; `witnesses`: keys of
    witnesses, of which `quorum` have to stand for each custody entry; `time_authorities`: SHA-256 of the certificates
    of those whose clocks are believed."""

    root_fingerprint: str | None = None
    ledger_key: bytes | None = None
    witnesses: tuple[CosignatureVerifier, ...] = ()
    time_authorities: tuple[str, ...] = ()
    quorum: int = 1


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that was looked at. `detail`: what was found, or where it fails (track and second for media). `code`:
    of the error where it failed."""

    name: str
    ok: bool
    detail: str
    code: str = ""


@dataclass(slots=True)
class Report:
    """Every check in order. `anchored`: whether it is known who signed; without that nothing is ever ok. `clocks`:
    authorities (fingerprints) that stamped and that nobody named from outside.

    For people and for the grade: `witnesses`, how many of those that were given stand for every custody entry;
    `dated_by`, those of the given authorities that stamped the manifest; `sealed_at`, when it existed by one of them
    (nanoseconds UTC); `began`, when each take claims to have begun; `gaps`, how many were declared; `files` and `size`
    (bytes) of the originals; `entries` of custody; `recorders`, their enrolments.
    """

    checks: list[Check] = field(default_factory=list)
    anchored: bool = False
    clocks: list[str] = field(default_factory=list)
    witnesses: int = 0
    dated_by: list[str] = field(default_factory=list)
    sealed_at: int | None = None
    began: list[int] = field(default_factory=list)
    gaps: int = 0
    files: int = 0
    size: int = 0
    entries: int = 0
    recorders: list[str] = field(default_factory=list)

    @property
    def ok(self) -> bool:
        return self.anchored and bool(self.checks) and all(check.ok for check in self.checks)

    @property
    def failures(self) -> list[Check]:
        return [check for check in self.checks if not check.ok]
