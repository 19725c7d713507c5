"""Interview keys in the key store and in escrow. Format: docs/formats/manifest.md#interview-keys.

The escrow is a folder of its own, on other media in a real house; its private half, the recovery key, lies elsewhere
still. A seed is in escrow, durably, before its public half is released.
"""

from __future__ import annotations

import contextlib
import datetime
import os
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import select
from sqlalchemy.orm import Session

from evidence_store.authority import Authority
from evidence_store.database.schema import InterviewRow, KeyWrapRow, LedgerHeadRow
from evidence_store.durable import destroy, fsync_folder, write_durably
from evidence_store.errors import Conflict, NotFound, OutOfReach, Tampered
from evidence_store.sealing.keys import PrivateKey, PublicKey, escrow_info


@dataclass(frozen=True, slots=True)
class ReleasedKey:
    """An interview's public key as the recorder gets it, with the store's signature on it."""

    public_key: PublicKey
    signature: bytes


class Escrow:
    """Seeds under the recovery key's public half. Writes once; reading needs the recovery key, which is not here."""

    def __init__(self, folder: Path) -> None:
        """Raises FileNotFoundError where the recovery key's public half is missing."""
        self._folder = folder
        self._recovery = PublicKey((folder / "recovery.pub").read_bytes())

    @staticmethod
    def create(folder: Path, recovery: PublicKey) -> None:
        """Durable when it returns, under its name in one step: half a key would be taken for a whole one."""
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        write_durably(folder / "recovery.pub", recovery.encoded)

    def deposit(self, interview: str, private: PrivateKey) -> None:
        """Durable when it returns."""
        wrapped = self._recovery.wrap(private.seed, escrow_info(bytes.fromhex(interview)))
        path = self._folder / f"{interview}.seed"
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with open(descriptor, "wb") as file:
            file.write(wrapped)
            file.flush()
            os.fsync(file.fileno())
        fsync_folder(self._folder)

    def erase(self, interview: str) -> None:
        """Overwrites and removes the deposit, if there is one; `durable.destroy` says what that is worth.

        Raises OutOfReach `escrow-out-of-reach` where the escrow's medium is not there, or another one is: a deposit
        that cannot be looked for is not gone.
        """
        try:
            there = (self._folder / "recovery.pub").read_bytes()
        except OSError:
            there = b""
        if there != self._recovery.encoded:
            raise OutOfReach("the escrow is not here", code="escrow-out-of-reach")
        with contextlib.suppress(FileNotFoundError):
            destroy(self._folder / f"{interview}.seed")

    def recover(self, interview: str, recovery: PrivateKey) -> PrivateKey:
        """The seed, opened with the recovery key. Raises NotFound, CiphertextInvalid."""
        try:
            wrapped = (self._folder / f"{interview}.seed").read_bytes()
        except FileNotFoundError:
            raise NotFound("no seed of this interview in escrow", code="escrow") from None
        return PrivateKey(recovery.unwrap(wrapped, escrow_info(bytes.fromhex(interview))))


class KeyStore:
    """Mints, keeps and opens interview keys."""

    def __init__(self, authority: Authority, escrow: Escrow) -> None:
        self._authority = authority
        self._escrow = escrow

    def mint(self, session: Session, row: InterviewRow, now: datetime.datetime) -> ReleasedKey:
        """A key pair for an interview that has none. Raises Conflict where it has one.

        Escrow comes first: a crash before the commit leaves a deposit that no interview refers to, which opens
        nothing, since no recording was ever sealed to it.
        """
        if row.public_key is not None:
            raise Conflict("the interview has its key already", code="interview-key")
        hold_minting(session)
        private = PrivateKey.generate()
        self._escrow.deposit(row.id, private)
        public = private.public_key()
        signature = self._authority.sign_interview_key(bytes.fromhex(row.id), public.encoded)
        row.public_key, row.public_key_signature = public.encoded, signature
        kek_id, wrapped = self._authority.kek.lock(private)
        session.add(
            KeyWrapRow(
                interview_id=row.id,
                kek_id=kek_id,
                wrapped_seed=wrapped,
                created_at=int(now.timestamp()) * 10**9,
            )
        )
        session.flush()
        return ReleasedKey(public, signature)

    def released(self, row: InterviewRow) -> ReleasedKey:
        """The public half of a key that was minted before. Raises NotFound where there is none."""
        if row.public_key is None or row.public_key_signature is None:
            raise NotFound("the interview has no key yet", code="interview-key")
        return ReleasedKey(PublicKey(row.public_key), row.public_key_signature)

    def erase_escrow(self, interview: str) -> None:
        """The seed's deposit is gone, durably. Its wrap is the caller's to null, in the transaction that attests it."""
        self._escrow.erase(interview)

    def open(self, session: Session, interview: str) -> PrivateKey:
        """The private key, checked against its public half. Raises NotFound where it was erased, Tampered, and
        Unavailable where its key-encryption key went just now: the row names another one by then."""
        wrap = session.get(KeyWrapRow, interview)
        row = session.get(InterviewRow, interview)
        if wrap is not None and wrap.erased_at is not None:
            raise NotFound("the interview was erased", code="erased")
        if wrap is None or row is None or wrap.wrapped_seed is None or row.public_key is None:
            raise NotFound("the interview's key is not here", code="interview-key")
        try:
            return self._authority.kek.unlock(wrap.kek_id, wrap.wrapped_seed, PublicKey(row.public_key))
        except Tampered:
            raise Tampered("the interview's key does not agree with its public half", code="seed-mismatch") from None


def hold_minting(session: Session) -> None:
    """No key is minted, and no rotation of the key-encryption key ends, in another transaction until this one does.

    On SQLite writers are one at a time anyhow; elsewhere the ledger's head is the lock that all of them take.
    """
    session.scalars(select(LedgerHeadRow.id).with_for_update()).all()
