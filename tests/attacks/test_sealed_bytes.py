"""Attacks on what a sealed message says and hides (attacks 3, 6, 37) and on who sent it (33)."""

from __future__ import annotations

import hashlib
import time

import pytest

from evidence_store.errors import CiphertextInvalid
from evidence_store.sealing.ratchet import Ratchet, SegmentKeys
from evidence_store.sealing.tick import Kind, Message, Place, SealedMessage, open_message, seal_message
from recorder.peer import Connection
from recorder.spool import Spool
from recorder.take import Order
from tests.house import House
from tests.recorder.room import running
from tests.recorder.test_sealer import walk

START = bytes(range(32))
CLEAR = b"what the child said" * 20


def keys(seed: int = 1, start: bytes = START) -> SegmentKeys:
    return Ratchet(start, bytearray([seed]) * 32).next_segment()


def sealed(place: Place, seed: int = 1, data: bytes = CLEAR) -> SealedMessage:
    return seal_message(keys(seed, place.start_hash), place, Message(place.kind, place.track, 0, data, 1, {}))


PLACE = Place(START, 0, 3, Kind.MEDIA, 0, 0)


@pytest.mark.parametrize(
    "other",
    [
        Place(bytes(32), 0, 3, Kind.MEDIA, 0, 0), Place(START, 1, 3, Kind.MEDIA, 0, 0),
        Place(START, 0, 4, Kind.MEDIA, 0, 0), Place(START, 0, 3, Kind.WORDS, 0, 0),
        Place(START, 0, 3, Kind.MEDIA, 1, 0), Place(START, 0, 3, Kind.MEDIA, 0, 1),
    ],
    ids=["take", "segment", "tick", "kind", "track", "epoch"],
)  # fmt: skip
def test_a_message_opens_in_its_own_place_only(other: Place) -> None:
    made = sealed(PLACE)
    assert open_message(keys(), PLACE, made.entry, made.ciphertext) == CLEAR
    with pytest.raises(CiphertextInvalid):
        open_message(keys(), other, made.entry, made.ciphertext)


def test_a_ciphertext_is_committed_to_its_one_key() -> None:
    """The 32 bytes of commitment in its head, of either key, never make it open under another."""
    mine, other = sealed(PLACE, 1), sealed(PLACE, 2)
    for key in (1, 2):
        for head, body in ((mine, other), (other, mine)):
            for cut in (24, 56):
                mixed = bytes(head.ciphertext[:cut]) + bytes(body.ciphertext[cut:])
                with pytest.raises(CiphertextInvalid):
                    open_message(keys(key), PLACE, mine.entry, mixed)
    with pytest.raises(CiphertextInvalid):
        open_message(keys(2), PLACE, mine.entry, mine.ciphertext)


def test_whoever_holds_the_key_can_still_not_put_other_words_in() -> None:
    made, other = sealed(PLACE), sealed(PLACE, data=b"what the child never said" * 16)
    with pytest.raises(CiphertextInvalid) as caught:
        open_message(keys(), PLACE, made.entry, other.ciphertext)
    assert caught.value.code == "commitment-mismatch"


def test_a_leaked_clip_is_not_confirmed_by_what_is_stored(house: House, spool: Spool, order: Order) -> None:
    made = sealed(PLACE)
    public = str(made.entry)
    for guess in (CLEAR, len(CLEAR).to_bytes(4, "big") + CLEAR):
        for domain in (b"", b"vidne/v1/commitment\0", b"vidne/v1/ciphertext\0"):
            assert hashlib.sha256(domain + guess).hexdigest() not in public
    again = [sealed(place, seed).entry for seed in (1, 2) for place in (PLACE, Place(START, 0, 4, Kind.MEDIA, 0, 0))]
    for name in ("commitment", "hash"):
        assert len({each[name] for each in again}) == 4, "the same clip twice must not look the same"


async def test_another_senders_fingerprint_and_address_are_in_the_evidence(
    house: House, spool: Spool, order: Order
) -> None:
    """A stolen token injects another picture: whose it was cannot be hidden."""
    async with running(house, spool) as room:
        await room.node.begin(order)
        stranger = Connection("c2", "wide", "sha-256 66:66", "10.6.6.6:666", {})
        room.node.cameras.connected(stranger)
        room.node.cameras.meters["wide"].heard_ns = time.monotonic_ns()
        await room.node.end()
    (take,) = spool.takes()
    events = [event for each in walk(house, take, order).ticks for event in each["events"]]
    seen = [(each["fingerprint"], each["address"]) for each in events if each["type"] == "connection"]
    assert seen == [("sha-256 AB", "127.0.0.1:5000"), ("sha-256 66:66", "10.6.6.6:666")]
