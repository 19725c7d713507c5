"""What the vaults have acknowledged, by name and hash, and what one of them lacks of what another holds.

The database says which copies there ought to be; only reading them says that they are there (`evidence_store.scrub`).
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from sqlalchemy import ColumnElement, bindparam, delete, exists, func, insert, literal, or_, select
from sqlalchemy.orm import Session

from evidence_store.database.schema import VaultKnownRow, VaultLackRow, VaultObjectRow
from evidence_store.database.session import Database
from evidence_store.errors import Conflict
from evidence_store.vault.vault import StoredObject

NEW_VAULT: Final = "vault-new"
GONE, ALTERED = "object", "object-altered"
DAMAGE: Final = (GONE, ALTERED)
"""Codes of what happened to a copy that had been there; every other says why it never came to be."""

# Asked of every object that comes in, and of every event, whose checkpoint is one: laid out once, and of the table.
_OBJECTS = VaultObjectRow.__table__.c
_OBJECT = select(_OBJECTS.name, _OBJECTS.size, _OBJECTS.sha256).where(_OBJECTS.name == bindparam("name"))
_NOTE = insert(VaultObjectRow)


@dataclass(frozen=True, slots=True)
class Lack:
    """One object that one vault does not hold, and since when it ought to (nanoseconds UTC)."""

    vault: str
    stored: StoredObject
    why: str
    since: int


class Holdings:
    """Each method is a transaction of its own. Raises OutOfReach and NoSpace of the database."""

    def __init__(self, database: Database, clock: Callable[[], int]) -> None:
        self._database = database
        self._clock = clock

    def meet(self, vaults: Collection[str]) -> None:
        """At start: a vault that was never here, or was away from the settings, lacks everything that there is: what
        it has after all is found out by looking."""
        now = self._clock()
        with self._database.writing() as session:
            for table in (VaultLackRow, VaultKnownRow):
                session.execute(delete(table).where(table.vault.not_in(vaults)))
            for vault in vaults:
                if session.get(VaultKnownRow, vault) is None:
                    session.add(VaultKnownRow(vault=vault, since=now))
                    session.flush()
                    columns = ["vault", "name", "why", "since"]
                    everything = select(literal(vault), VaultObjectRow.name, literal(NEW_VAULT), literal(now))
                    session.execute(insert(VaultLackRow).from_select(columns, everything))

    def known(self) -> set[str]:
        """The vaults that this house works with, by its last start."""
        with self._database.reading() as session:
            return set(session.scalars(select(VaultKnownRow.vault)))

    def of(self, name: str) -> StoredObject | None:
        with self._database.reading() as session:
            return _of(session, name)

    def note(self, stored: StoredObject, lacking: Mapping[str, str], held: Collection[str]) -> None:
        """An object that the vaults `held` have acknowledged, and by vault, why the others have not.

        Raises Conflict `object-exists` where other bytes were noted meanwhile: the first are the object.
        """
        now = self._clock()
        with self._database.writing() as session:
            known = _of(session, stored.name)
            if known is not None and known.sha256 != stored.sha256:
                raise Conflict("another object has this name", code="object-exists")
            if known is None:
                noted = {"name": stored.name, "sha256": stored.sha256, "size": stored.size, "stored_at": now}
                session.connection().execute(_NOTE, [noted])
            else:
                # What nobody knew lacks nowhere. What was damaged is looked at again before it is called whole.
                _held(session, stored.name, held, but=DAMAGE)
            for vault, why in lacking.items():
                _lack(session, vault, stored.name, why, now)

    def lack(self, vault: str, name: str, why: str, *, damaged: bool = False) -> None:
        """What was found not to be there, or not to be what it was. `damaged`: that is why, whatever was before."""
        with self._database.writing() as session:
            if session.get(VaultObjectRow, name) is not None:
                _lack(session, vault, name, why, self._clock(), damaged=damaged)

    def held(self, vault: str, name: str) -> None:
        """What was brought there, or found there."""
        with self._database.writing() as session:
            _held(session, name, [vault])

    def lacks(self, limit: int, after: tuple[str, str] = ("", "")) -> list[Lack]:
        """What is lacking, by name and vault, after the place that was given."""
        with self._database.reading() as session:
            query = (
                select(VaultLackRow, VaultObjectRow)
                .join(VaultObjectRow, VaultObjectRow.name == VaultLackRow.name)
                .where(
                    or_(
                        VaultLackRow.name > after[0],
                        (VaultLackRow.name == after[0]) & (VaultLackRow.vault > after[1]),
                    )
                )
                .order_by(VaultLackRow.name, VaultLackRow.vault)
            )
            found = session.execute(query.limit(limit)).all()
            return [Lack(lack.vault, _stored(row), lack.why, lack.since) for lack, row in found]

    def lacked_by(self, name: str) -> dict[str, str]:
        """By vault that lacks it, why."""
        with self._database.reading() as session:
            return {row.vault: row.why for row in session.scalars(select(VaultLackRow).filter_by(name=name))}

    def lacking(self, vaults: Collection[str]) -> dict[str, tuple[int, int]]:
        """For each of these vaults that lacks something: how many objects, and since when (nanoseconds UTC)."""
        with self._database.reading() as session:
            query = select(VaultLackRow.vault, func.count(), func.min(VaultLackRow.since)).group_by(VaultLackRow.vault)
            return {vault: (count, since) for vault, count, since in session.execute(query) if vault in vaults}

    def complete(self, prefixes: Sequence[str], vaults: Collection[str]) -> bool:
        """Whether each of these vaults holds everything whose name begins with one of these."""
        with self._database.reading() as session:
            begins = or_(*(_begins(prefix) for prefix in prefixes))
            query = select(exists().where(begins, VaultLackRow.vault.in_(vaults)))
            return not session.scalar(query)

    def after(self, name: str, limit: int) -> list[StoredObject]:
        """The objects that follow, by name."""
        with self._database.reading() as session:
            query = select(VaultObjectRow).where(VaultObjectRow.name > name).order_by(VaultObjectRow.name)
            return [_stored(row) for row in session.scalars(query.limit(limit))]

    def total(self) -> tuple[int, int]:
        """How many objects there are, and their octets."""
        with self._database.reading() as session:
            count, octets = session.execute(select(func.count(), func.sum(VaultObjectRow.size))).one()
            return count, int(octets or 0)


def _of(session: Session, name: str) -> StoredObject | None:
    row = session.connection().execute(_OBJECT, {"name": name}).one_or_none()
    return None if row is None else StoredObject(row.name, row.size, row.sha256)


def _begins(prefix: str) -> ColumnElement[bool]:
    # Not a range of names: what lies between two texts is for each database's language to say. The table is small.
    return func.substr(VaultLackRow.name, 1, len(prefix)) == prefix


def _lack(session: Session, vault: str, name: str, why: str, now: int, *, damaged: bool = False) -> None:
    row = session.get(VaultLackRow, (vault, name))
    if row is None:
        session.add(VaultLackRow(vault=vault, name=name, why=why, since=now))
    elif damaged:
        row.why = why


def _held(session: Session, name: str, vaults: Collection[str], but: Collection[str] = ()) -> None:
    lacking = VaultLackRow.name == name, VaultLackRow.vault.in_(vaults), VaultLackRow.why.not_in(but)
    session.execute(delete(VaultLackRow).where(*lacking))


def _stored(row: VaultObjectRow) -> StoredObject:
    return StoredObject(row.name, row.size, row.sha256)
