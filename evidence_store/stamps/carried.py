"""Stamps on their way into a copy and out of it again. Values only: no database, no vault."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from evidence_store.stamps.subjects import Kind


@dataclass(frozen=True, slots=True)
class Chain:
    """A stamp and its renewals. `name`: of what they are about, as in the vault; `data`: the bytes of a head, which lie
    nowhere else. `links`: the authority's fingerprint and the response, first to last."""

    kind: Kind
    name: str
    data: bytes | None
    chain: str
    links: tuple[tuple[str, bytes], ...]


@dataclass(frozen=True, slots=True)
class Before:
    """A stamp that was there before a take began: over a checkpoint `note` of the ledger, and entered into the ledger
    (`body`) that the checkpoint in the take's start covers (`proof`, a tlog-proof whose extra data is the nonce)."""

    enrolment: str
    take: int
    authority: str
    response: bytes
    note: bytes
    body: bytes
    proof: bytes


@dataclass(frozen=True, slots=True)
class Collected:
    """`authorities`: certificates (PEM, anchor first) by the anchor's fingerprint. `before`: at most one a take."""

    chains: tuple[Chain, ...] = ()
    authorities: Mapping[str, bytes] = field(default_factory=dict)
    before: tuple[Before, ...] = ()
