"""A store and a room of their own for each test that asks for them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from recorder.spool import Spool
from recorder.take import Order
from tests.house import House
from tests.postgres import Cluster, postgres
from tests.time_authority import TimeAuthority

BOTH_DATABASES = pytest.mark.parametrize("house", ["sqlite", "postgresql"], indirect=True)
"""For tests whose house is to stand on either."""


@pytest.fixture(scope="session")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """One PostgreSQL for all tests of a process."""
    with postgres(tmp_path_factory.mktemp("postgres") / "cluster") as running:
        yield running


@pytest.fixture
def house(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[House]:
    """On SQLite; on PostgreSQL where a test asks for it by `BOTH_DATABASES`."""
    kind = getattr(request, "param", "sqlite")
    made = House(tmp_path, database=request.getfixturevalue("cluster").make_database() if kind != "sqlite" else None)
    yield made
    made.close()


@pytest.fixture
def order(house: House) -> Order:
    return house.interview()


@pytest.fixture
def spool(house: House) -> Spool:
    return house.spool()


@pytest.fixture
def authority(tmp_path: Path) -> Iterator[TimeAuthority]:
    """A real time stamp authority on loopback."""
    with TimeAuthority(tmp_path / "authority") as made:
        yield made
