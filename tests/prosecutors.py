"""Two prosecutors, since erasing takes two."""

from __future__ import annotations

from typing import Final

from evidence_store.database.schema import AccountRow
from evidence_store.people import Person, Role
from tests.house import House

ANNA: Final = Person("1" * 32, "anna", "Anna Anklager", Role.PROSECUTOR)
BO: Final = Person("2" * 32, "bo", "Bo Anklager", Role.PROSECUTOR)


def enter_prosecutors(house: House) -> None:
    """Makes them known to the house."""
    with house.store.book.database.writing() as session:
        for each in (ANNA, BO):
            session.add(
                AccountRow(
                    id=each.id, username=each.username, display_name=each.display_name, role=each.role.value,
                    active=True, created_at=0,
                )
            )  # fmt: skip
