"""The recovery key's seed as word lists, of which M of N are enough (SLIP-39, no passphrase). Pure.

SLIP-39 by its reference implementation, `shamir-mnemonic`: fewer than M lists tell nothing of the seed, each list
carries a checksum of its own, and M of them together one of the seed. Its errors hold words of the lists; none of
them leaves this module.
"""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import shamir_mnemonic
from shamir_mnemonic.wordlist import WORDLIST

from evidence_store.errors import InvalidInput
from evidence_store.sealing.keys import PrivateKey, PublicKey

WORDS: Final = 33
"""Words of a list for 32 bytes: 4 of header, 26 of value, 3 of checksum."""

LEAST_THRESHOLD: Final = 2
MOST_SHARES: Final = 16
"""SLIP-39's own bounds: with a threshold of one, each list is the key."""

_MOST_TRIALS: Final = 500
"""Choices of M that are tried before sheets are believed; from there on each list in one choice at least."""

_TELLING: Final = 4
"""Every word of SLIP-39 is told by its first four letters."""

_BY_BEGINNING: Final = {word[:_TELLING]: word for word in WORDLIST}
_NUMBER: Final = re.compile(r"\d{1,2}[.:)]?")


@dataclass(frozen=True, slots=True, repr=False)
class PaperShare:
    """One keeper's word list. `number` counts from 1 and is in the words themselves, as `threshold` is."""

    words: tuple[str, ...]
    number: int
    threshold: int
    identifier: int

    @property
    def mnemonic(self) -> str:
        return " ".join(self.words)


def split(private: PrivateKey, shares: int, threshold: int) -> list[PaperShare]:
    """So many shares of the seed, any `threshold` of which give it back: tried before this returns.

    Raises InvalidInput `recovery-shares` for numbers that make no sense.
    """
    if not LEAST_THRESHOLD <= threshold <= shares <= MOST_SHARES:
        raise InvalidInput(
            f"at least {LEAST_THRESHOLD} of at most {MOST_SHARES} shares, and no more needed than there are",
            code="recovery-shares",
        )
    (lists,) = shamir_mnemonic.generate_mnemonics(1, [(threshold, shares)], private.seed)
    made = [read_share(each) for each in lists]
    public = private.public_key()
    for chosen in _choices(made, threshold):
        if combine(chosen).public_key() != public:
            raise InvalidInput("the shares do not give the key back", code="recovery-shares")
    return made


def read_share(text: str) -> PaperShare:
    """A list as somebody typed it: numbers before words, capitals and line ends do not matter, four letters are enough.

    Raises InvalidInput `recovery-word` with the word's place, `recovery-share` for a list that is not whole.
    """
    typed = [each.lower() for each in text.split() if not _NUMBER.fullmatch(each)]
    words = tuple(_word(each, place) for place, each in enumerate(typed, start=1))
    if len(words) != WORDS:
        raise InvalidInput(f"a list has {WORDS} words, these are {len(words)}", code="recovery-share")
    try:
        share = shamir_mnemonic.Share.from_mnemonic(" ".join(words))
    except shamir_mnemonic.MnemonicError:
        # Its own words hold words of the list: said anew, without its cause.
        raise InvalidInput("a word of this list is wrong: its checksum does not hold", code="recovery-share") from None
    if (share.group_count, share.group_threshold) != (1, 1):
        raise InvalidInput("this list is not of Vidne's making", code="recovery-share")
    return PaperShare(words, share.index + 1, share.member_threshold, share.identifier)


def combine(shares: Sequence[PaperShare]) -> PrivateKey:
    """The key, from as many shares as are needed or more; every one of them is used.

    Raises InvalidInput: `recovery-too-few`, `recovery-mixed` (of different splittings, or the same list twice), or
    `recovery-share` where they do not belong together.
    """
    if not shares or len({(each.identifier, each.threshold) for each in shares}) != 1:
        raise InvalidInput("these lists come from different splittings", code="recovery-mixed")
    if len({each.number for each in shares}) != len(shares):
        raise InvalidInput("the same list is here twice", code="recovery-mixed")
    threshold = shares[0].threshold
    if len(shares) < threshold:
        raise InvalidInput(f"{threshold} lists are needed, these are {len(shares)}", code="recovery-too-few")
    found = {_recover(chosen) for chosen in _windows(shares, threshold)}
    if len(found) != 1:
        raise InvalidInput("these lists do not belong together", code="recovery-share")
    return PrivateKey(found.pop())


def belongs(private: PrivateKey, public: PublicKey) -> None:
    """Raises InvalidInput `recovery-other-escrow` unless this key opens that escrow."""
    if private.public_key() != public:
        raise InvalidInput("these lists are of another escrow", code="recovery-other-escrow")


def _recover(chosen: Sequence[PaperShare]) -> bytes:
    try:
        return bytes(shamir_mnemonic.combine_mnemonics([each.mnemonic for each in chosen]))
    except shamir_mnemonic.MnemonicError:
        raise InvalidInput("these lists do not belong together", code="recovery-share") from None


def _word(typed: str, place: int) -> str:
    word = _BY_BEGINNING.get(typed[:_TELLING], "") if len(typed) >= _TELLING else ""
    if not word.startswith(typed) or not typed:
        raise InvalidInput(f"word {place} is none of the list's words", code="recovery-word")
    return word


def _choices(shares: Sequence[PaperShare], threshold: int) -> Iterator[Sequence[PaperShare]]:
    if math.comb(len(shares), threshold) <= _MOST_TRIALS:
        yield from itertools.combinations(shares, threshold)
    else:
        yield from _windows(shares, threshold)


def _windows(shares: Sequence[PaperShare], threshold: int) -> Iterator[Sequence[PaperShare]]:
    """Choices of `threshold` that have every share in one of them."""
    for first in range(len(shares) - threshold + 1):
        yield shares[first : first + threshold]
