"""The stamps of one interview as they lie in the vault: what goes into a copy of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from sqlalchemy import select
from sqlalchemy.orm import Session

from evidence_store.database.schema import StampRow, StampWantRow
from evidence_store.stamps.keeper import authority_name
from evidence_store.stamps.subjects import Kind
from evidence_store.vault.vault import Vault


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
class Collected:
    """`authorities`: certificates (PEM, anchor first) by the anchor's fingerprint."""

    chains: tuple[Chain, ...] = ()
    authorities: Mapping[str, bytes] = field(default_factory=dict)


def stamps_of(session: Session, vault: Vault, interview: str) -> Collected:
    """Every stamp about the interview's takes and manifests. Raises NotFound, ChainBroken where the vault lost one."""
    query = select(StampWantRow, StampRow).join(StampRow, StampRow.want_id == StampWantRow.id)
    query = query.where(StampWantRow.interview_id == interview, StampRow.obtained_at.is_not(None))
    chains: dict[tuple[int, str], list[tuple[StampWantRow, StampRow]]] = {}
    for wanted, row in session.execute(query.order_by(StampWantRow.id, StampRow.chain, StampRow.number)):
        chains.setdefault((wanted.id, row.chain), []).append((wanted, row))
    found: list[Chain] = []
    authorities: dict[str, bytes] = {}
    for (_, chain), rows in chains.items():
        wanted = rows[0][0]
        links = tuple((row.authority, vault.get(row.object_name or "", row.sha256)) for _, row in rows)
        authorities |= {each: vault.get(authority_name(each)) for each, _ in links if each not in authorities}
        found.append(Chain(Kind(wanted.kind), wanted.name, wanted.data, chain, links))
    return Collected(tuple(found), authorities)
