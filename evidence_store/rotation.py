"""Rotation of the key-encryption key: every seed wrapped anew, verified, and only then the old key destroyed.

Each step is durable by itself, and what a kill leaves behind says by itself how far it came: a key lower than the
present one is still there. Whoever runs it again goes on, by the same road. Media, takes and escrow are not touched.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from sqlalchemy import Select, select
from sqlalchemy.orm import Session

from evidence_store.authority import Authority
from evidence_store.canonical import parse
from evidence_store.custody import Actor, CustodyEvent, Verb
from evidence_store.database.schema import CustodyEventRow, InterviewRow, KeyWrapRow
from evidence_store.errors import Conflict, Tampered, Unavailable
from evidence_store.hsm.token import Token
from evidence_store.keystore import Escrow, hold_minting
from evidence_store.ledger.book import Book
from evidence_store.sealing.keys import PrivateKey, PublicKey


class Rotation:
    """`tell` is called after each durable step, with words for whoever watches. Raises from it are not caught."""

    def __init__(
        self,
        book: Book,
        authority: Authority,
        folder: Path,
        tell: Callable[[str], None] = lambda said: None,
        to: Token | None = None,
    ) -> None:
        """`to`: the token that a new key is made in; None for a file."""
        self._book = book
        self._kek = authority.kek
        self._folder = folder
        self._tell = tell
        self._to = to

    def run(self) -> int:
        """Begins a rotation, or ends one that was broken off. How many seeds the present key holds now.

        Raises Conflict `rotation-running`; Tampered where a seed does not open: the old key stays then, and nothing
        is lost by it. Unavailable as the book does.
        """
        with self._alone():
            if len(self._kek.ids()) == 1:
                self._begin()
            return self._end(Actor.console())

    def finish(self) -> None:
        """Ends a rotation that was broken off, for the house itself: where none is under way it begins none, also when
        somebody else has just ended it. Raises as `run`."""
        with self._alone():
            if len(self._kek.ids()) > 1:
                self._end(Actor.store())

    def _end(self, by: Actor) -> int:
        current = self._kek.current
        for interview in self._under_others(current):
            self._rewrap(interview)
            self._tell(f"interview {interview[:8]} is under {current}")
        count = self._verify(current)
        self._attest(current, count, by)
        for old in self._kek.ids()[:-1]:
            self._kek.destroy(old)
            self._tell(f"{old} is destroyed")
        return count

    def restore(self, escrow: Escrow, recovery: PrivateKey) -> int:
        """For keys that are lost, with their token or with their file: opens from escrow what they wrapped, and wraps
        it anew. How many seeds the present key holds then. Goes on after a kill, by being run again.

        Raises Conflict `keys-not-lost` where every key answers: then `run` is the road, which needs no recovery key.
        NotFound `escrow` where a deposit is missing; CiphertextInvalid, Tampered; Unavailable `rotation-again`; else
        as `run`.
        """
        with self._alone():
            if self._book.read_only:
                raise Unavailable("the ledger is not the one that the vault remembers", code="ledger-read-only")
            absent = self._absent()
            lost = self._kek.lost() + absent
            if not lost:
                raise Conflict("every key-encryption key answers: rotate instead", code="keys-not-lost")
            if self._kek.current in lost:
                self._tell(f"{self._kek.add(self._to, lost)} is there, and wraps what is new")
            for interview in self._under(lost):
                self._rewrap(interview, lambda: escrow.recover(interview, recovery))  # noqa: B023 - called at once
                self._tell(f"interview {interview[:8]} is under {self._kek.current}")
            count = self._verify(self._kek.current)
            with self._book.writing() as entry:
                hold_minting(entry.session)
                if entry.session.scalars(_wrapped_under(lost).limit(1)).first() is not None:
                    raise Unavailable(
                        "a key was minted meanwhile under a lost one: run it again", code="rotation-again"
                    )
                details = {"destroyed": [], "lost": lost, "present": self._kek.current, "seeds": count}
                entry.record(CustodyEvent(Verb.KEYS_ROTATED, self._book.clock(), Actor.console(), details=details))
            # A crash here: said, and the files that name lost keys are there still. Run again, it says so again.
            for each in lost:
                if each not in absent:
                    self._kek.forget(each)
        return count

    def _absent(self) -> list[str]:
        """Keys that wraps name and no file here does."""
        with self._book.reading() as session:
            named = session.scalars(select(KeyWrapRow.kek_id).where(KeyWrapRow.wrapped_seed.is_not(None)).distinct())
            return sorted(set(named) - set(self._kek.ids()))

    def _under(self, keks: Sequence[str]) -> list[str]:
        with self._book.reading() as session:
            return list(session.scalars(_wrapped_under(keks).order_by(KeyWrapRow.interview_id)))

    @contextmanager
    def _alone(self) -> Iterator[None]:
        descriptor = os.open(self._folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            yield
        except BlockingIOError:
            raise Conflict("a rotation is under way", code="rotation-running") from None
        finally:
            os.close(descriptor)

    def _begin(self) -> None:
        if self._book.read_only:
            raise Unavailable("the ledger is not the one that the vault remembers", code="ledger-read-only")
        # Nothing is begun that could not be verified: a seed that does not open is known before there are two keys.
        self._verify(self._kek.current)
        self._tell(f"{self._kek.add(self._to)} is there, and wraps what is new")

    def _under_others(self, current: str) -> list[str]:
        with self._book.reading() as session:
            query = select(KeyWrapRow.interview_id).where(
                KeyWrapRow.kek_id != current, KeyWrapRow.wrapped_seed.is_not(None)
            )
            return list(session.scalars(query.order_by(KeyWrapRow.interview_id)))

    def _rewrap(self, interview: str, opened: Callable[[], PrivateKey] | None = None) -> None:
        """One row. The old wrap stands until the new one was opened again and gave the same seed. `opened`: the key by
        another way than its wrap."""
        with self._book.database.writing() as session:
            wrap = session.get_one(KeyWrapRow, interview)
            if wrap.wrapped_seed is None:
                return  # erased meanwhile
            public = _public(session, interview)
            private = self._kek.unlock(wrap.kek_id, wrap.wrapped_seed, public) if opened is None else opened()
            kek_id, wrapped = self._kek.lock(private)
            if self._kek.unlock(kek_id, wrapped, public) != private:
                raise Tampered("the new wrap does not give the seed back", code="seed-mismatch")
            wrap.kek_id, wrap.wrapped_seed = kek_id, wrapped

    def _verify(self, current: str) -> int:
        """Opens every seed that is under the present key, as it lies in the database. How many there are."""
        with self._book.reading() as session:
            query = select(KeyWrapRow).where(KeyWrapRow.wrapped_seed.is_not(None), KeyWrapRow.kek_id == current)
            wraps = list(session.scalars(query))
            for wrap in wraps:
                try:
                    self._kek.unlock(wrap.kek_id, wrap.wrapped_seed or b"", _public(session, wrap.interview_id))
                except Tampered as error:
                    raise Tampered(
                        f"the seed of interview {wrap.interview_id[:8]} does not open; every old key stays",
                        code=error.code,
                    ) from error
        return len(wraps)

    def _attest(self, current: str, count: int, by: Actor) -> None:
        """In one transaction with the last look for a wrap of an old key.

        Minting reads which key is the present one inside its own transaction, after taking the same lock: what it
        committed before is seen here, and what comes later is under the present key.
        """
        with self._book.writing() as entry:
            hold_minting(entry.session)
            left = select(KeyWrapRow.interview_id).where(
                KeyWrapRow.kek_id != current, KeyWrapRow.wrapped_seed.is_not(None)
            )
            if entry.session.scalars(left.limit(1)).first() is not None:
                raise Unavailable("a key was minted meanwhile under the old one: run it again", code="rotation-again")
            old = self._kek.ids()[:-1]
            if not self._attested(entry.session, current, old):
                details = {"destroyed": old, "present": current, "seeds": count}
                entry.record(CustodyEvent(Verb.KEYS_ROTATED, self._book.clock(), by, details=details))
        self._tell(f"{count} seeds verified under {current}")

    def _attested(self, session: Session, current: str, old: Sequence[str]) -> bool:
        """Whether a run that was killed between here and the old keys' end has said so already: of this present key,
        and of each that is still to be destroyed. Only the last word counts: an id may come again after a restore."""
        query = select(CustodyEventRow.details).where(CustodyEventRow.verb == Verb.KEYS_ROTATED.value)
        last = session.scalars(query.order_by(CustodyEventRow.ledger_position.desc()).limit(1)).first()
        said = {} if last is None else parse(last.encode())
        return last is not None and said["present"] == current and set(old) <= set(said["destroyed"])


def _wrapped_under(keks: Sequence[str]) -> Select[str]:
    return select(KeyWrapRow.interview_id).where(KeyWrapRow.kek_id.in_(keks), KeyWrapRow.wrapped_seed.is_not(None))


def _public(session: Session, interview: str) -> PublicKey:
    return PublicKey(session.get_one(InterviewRow, interview).public_key or b"")
