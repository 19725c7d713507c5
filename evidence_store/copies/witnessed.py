"""What witnesses say of a package's custody entries: which of them stands for how much, and when it was asked.

A cosignature counts where its own note is: two heads of one log in one package say nothing about each other without a
consistency proof. An entry is covered by a witness that cosigned the checkpoint that the entry is proven in.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Final

from evidence_store.errors import ChainBroken
from evidence_store.identifiers import utc_text
from evidence_store.ledger.checkpoint import Checkpoint, Note
from evidence_store.ledger.cosignature import SIZE, CosignatureVerifier
from evidence_store.sealing.check import Start

_NAMED = 5
CLOCKS_DIFFER: Final = 300
"""Seconds by which a recorder's clock may be behind a witness's before its claim is called a contradiction."""


def check_one_history(notes: Sequence[bytes]) -> None:
    """Raises ChainBroken `ledger-rewritten` where two heads of one size have two roots."""
    roots: dict[int, bytes] = {}
    for note in set(notes):
        checkpoint = Checkpoint.parse(Note.parse(note).text)
        if roots.setdefault(checkpoint.size, checkpoint.root) != checkpoint.root:
            raise ChainBroken("the package holds two histories of one ledger", code="ledger-rewritten")


def check_witnesses(proven_in: Mapping[int, bytes], keys: Sequence[CosignatureVerifier], quorum: int = 1) -> str:
    """`proven_in`: each custody entry's index, and the signed note that it is proven in (verified before).

    Every entry has to be covered by `quorum` of `keys` at least. Says of each witness what it covers. Raises
    ChainBroken `cosignatures-missing`, SignatureInvalid for a line under a witness's name that is none of its.
    """
    times: dict[tuple[bytes, str], int | None] = {}
    for note in set(proven_in.values()):
        parsed = Note.parse(note)
        for key in keys:
            times[note, str(key)] = key.time_of(parsed)
    said, covered = [], Counter[int]()
    for key in keys:
        own = {index: at for index, note in proven_in.items() if (at := times[note, str(key)]) is not None}
        covered.update(own.keys())
        said.append(_said(key, own, proven_in))
    words = "; ".join(said)
    missing = sorted(index for index in proven_in if covered[index] < quorum)
    if missing:
        named = ", ".join(map(str, missing[:_NAMED])) + (" …" if len(missing) > _NAMED else "")
        raise ChainBroken(
            f"cosignatures are missing on {len(missing)} of {len(proven_in)} custody entries ({named}): {words}. "
            "Either none answered when the copy was made, or this is not the ledger that they have seen: ask them",
            code="cosignatures-missing",
        )
    return words


def standing_for_all(proven_in: Mapping[int, bytes], keys: Sequence[CosignatureVerifier]) -> int:
    """How many of `keys` stand for the entry that the fewest stand for; checked before."""
    notes = [Note.parse(note) for note in set(proven_in.values())]
    return min((sum(key.time_of(note) is not None for key in keys) for note in notes), default=0)


def check_began(starts: Mapping[str, Start], keys: Sequence[CosignatureVerifier]) -> str:
    """After which cosignature each take began, by the checkpoint in its signed start record: nobody could hold that
    before a witness made it. `starts` by the take's name. Raises ChainBroken `start-backdated` for a take that claims
    to have begun before; InvalidInput, SignatureInvalid for a checkpoint that is none.
    """
    said = []
    for label, start in starts.items():
        text = start.record["checkpoint"]
        note = None if text is None else Note.parse(text.encode("utf-8"))
        times = [] if note is None else [at for key in keys if (at := key.time_of(note)) is not None]
        if not times:
            continue
        cosigned, claimed = utc_text(max(times) * 10**9), utc_text(start.utc_ns)
        if start.utc_ns < (max(times) - CLOCKS_DIFFER) * 10**9:
            words = f"{label} claims to have begun at {claimed}, and holds a checkpoint that was cosigned at {cosigned}"
            raise ChainBroken(words, code="start-backdated")
        said.append(f"{label} began after {cosigned}")
    return "; ".join(said)


def cosignatures_of_strangers(notes: Sequence[bytes], keys: Sequence[CosignatureVerifier]) -> int:
    """How many cosignatures there are whose keys were not given: nothing is known of them."""
    given = {(key.name, key.key_id) for key in keys}
    return sum(
        len(each.signature) == SIZE and (each.name, each.key_id) not in given
        for note in set(notes)
        for each in Note.parse(note).signatures
    )


def _said(key: CosignatureVerifier, own: Mapping[int, int], proven_in: Mapping[int, bytes]) -> str:
    if not own:
        return f"{key.name} covers nothing"
    size = max(Checkpoint.parse(Note.parse(proven_in[index]).text).size for index in own)
    times = sorted({utc_text(at * 10**9) for at in own.values()})
    when = times[0] if len(times) == 1 else f"{times[0]} to {times[-1]}"
    return f"{key.name} covers {len(own)} of {len(proven_in)} entries, up to size {size}, cosigned {when}"
