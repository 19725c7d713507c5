"""What the attacks on the store's keys have in common: the key-encryption key, what it wraps, and a refusal's code."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from evidence_store.database.schema import KeyWrapRow
from evidence_store.errors import VidneError
from evidence_store.rotation import Rotation
from evidence_store.sealing.keys import PrivateKey
from recorder.take import Order
from tests.house import House

ROOT = Path(__file__).parents[2]
WHY = "Sagen er endeligt afsluttet"


def keys_folder(house: House) -> Path:
    return house.folder / "store" / "keys"


def rotation(house: House) -> Rotation:
    authority = house.store.authority
    return Rotation(house.store.book, authority, keys_folder(house), to=authority.kek.tokens.first)


def seeds(house: House, orders: list[Order]) -> list[PrivateKey]:
    return [house.private_key(order) for order in orders]


def wrapped_under(house: House) -> set[str]:
    with house.store.book.reading() as session:
        return {row.kek_id for row in session.query(KeyWrapRow)}


def keks(house: House) -> list[str]:
    return house.store.authority.kek.ids()


def refusal(work: Callable[[], object]) -> str:
    with pytest.raises(VidneError) as refused:
        work()
    return refused.value.code
