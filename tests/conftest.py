"""A store and a room of their own for each test that asks for them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from recorder.spool import Spool
from recorder.take import Order
from tests.house import House


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    made = House(tmp_path)
    yield made
    made.close()


@pytest.fixture
def order(house: House) -> Order:
    return house.interview()


@pytest.fixture
def spool(house: House) -> Spool:
    return house.spool()
