"""The tables. Every change here needs a migration beside it; a test finds the difference.

Moments are nanoseconds UTC (`BigInteger`), hashes are 32 raw bytes, ids are 32 hexadecimal digits. JSON is kept as
canonical text, so that a body can be made again byte for byte. States are words whose law is elsewhere
(`evidence_store.interview` for interviews).
"""

from __future__ import annotations

from sqlalchemy import BigInteger, ForeignKey, ForeignKeyConstraint, Index, LargeBinary, MetaData, String, Text
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

HASH = LargeBinary(32)
ID = String(32)


class Base(DeclarativeBase):
    # Named constraints: Alembic can only drop what has a name.
    metadata = MetaData(
        naming_convention={
            "ix": "ix_%(table_name)s_%(column_0_N_name)s",
            "uq": "uq_%(table_name)s_%(column_0_N_name)s",
            "fk": "fk_%(table_name)s_%(column_0_N_name)s_%(referred_table_name)s",
            "pk": "pk_%(table_name)s",
        }
    )


class AccountRow(Base):
    __tablename__ = "account"

    id: Mapped[str] = mapped_column(ID, primary_key=True)
    username: Mapped[str] = mapped_column(String(64), unique=True)
    display_name: Mapped[str] = mapped_column(String(200))
    role: Mapped[str] = mapped_column(String(32))
    password_hash: Mapped[str | None] = mapped_column(String(255))
    active: Mapped[bool]
    created_at: Mapped[int] = mapped_column(BigInteger)


class WebSessionRow(Base):
    """A signed-in browser. Only the token's hash is here: a stolen database signs nobody in."""

    __tablename__ = "web_session"

    token_hash: Mapped[bytes] = mapped_column(HASH, primary_key=True)
    account_id: Mapped[str] = mapped_column(ForeignKey("account.id"), index=True)
    created_at: Mapped[int] = mapped_column(BigInteger)
    expires_at: Mapped[int] = mapped_column(BigInteger)
    revoked_at: Mapped[int | None] = mapped_column(BigInteger)


class InterviewRow(Base):
    __tablename__ = "interview"

    id: Mapped[str] = mapped_column(ID, primary_key=True)
    # Several children may share a case number: an attribute, never a key. Null where a room began by itself, until a
    # person says whose interview it is.
    case_number: Mapped[str | None] = mapped_column(String(20), index=True)
    child_ordinal: Mapped[int | None]
    room: Mapped[str] = mapped_column(String(64))
    state: Mapped[str] = mapped_column(String(16))
    label: Mapped[str | None] = mapped_column(String(200))
    # Null where nobody planned it: its key lies in the pool of that enrolment.
    created_by: Mapped[str | None] = mapped_column(ForeignKey("account.id"))
    enrolment: Mapped[str | None] = mapped_column(ForeignKey("device.enrolment"), index=True)
    created_at: Mapped[int] = mapped_column(BigInteger)
    public_key: Mapped[bytes | None] = mapped_column(LargeBinary)
    # The public key as the store signed it for the recorder's start record.
    public_key_signature: Mapped[bytes | None] = mapped_column(LargeBinary)
    manifest_object: Mapped[str | None] = mapped_column(String(200))
    manifest_sha256: Mapped[bytes | None] = mapped_column(HASH)


class KeyWrapRow(Base):
    """The key store: an interview's 32-byte seed, wrapped. `wrapped_seed` is null once it has been erased."""

    __tablename__ = "key_wrap"

    interview_id: Mapped[str] = mapped_column(ForeignKey("interview.id"), primary_key=True)
    kek_id: Mapped[str] = mapped_column(String(64))
    wrapped_seed: Mapped[bytes | None] = mapped_column(LargeBinary)
    created_at: Mapped[int] = mapped_column(BigInteger)
    erased_at: Mapped[int | None] = mapped_column(BigInteger)


class HoldRow(Base):
    """Somebody says that an interview must not be erased, until somebody says that it may."""

    __tablename__ = "hold"

    id: Mapped[str] = mapped_column(ID, primary_key=True)
    interview_id: Mapped[str] = mapped_column(ForeignKey("interview.id"), index=True)
    placed_at: Mapped[int] = mapped_column(BigInteger)
    placed_by: Mapped[str] = mapped_column(ForeignKey("account.id"))
    reason: Mapped[str] = mapped_column(Text)
    released_at: Mapped[int | None] = mapped_column(BigInteger)
    released_by: Mapped[str | None] = mapped_column(ForeignKey("account.id"))


class ErasureRow(Base):
    """One person's request to erase an interview. Withdrawn, or approved by another; then done, or to be done."""

    __tablename__ = "erasure"

    id: Mapped[str] = mapped_column(ID, primary_key=True)
    interview_id: Mapped[str] = mapped_column(ForeignKey("interview.id"), index=True)
    requested_at: Mapped[int] = mapped_column(BigInteger)
    requested_by: Mapped[str] = mapped_column(ForeignKey("account.id"))
    reason: Mapped[str] = mapped_column(Text)
    withdrawn_at: Mapped[int | None] = mapped_column(BigInteger)
    withdrawn_by: Mapped[str | None] = mapped_column(ForeignKey("account.id"))
    approved_at: Mapped[int | None] = mapped_column(BigInteger)
    approved_by: Mapped[str | None] = mapped_column(ForeignKey("account.id"))
    # Null between the decision and its end: the next start carries it out.
    done_at: Mapped[int | None] = mapped_column(BigInteger)
    # When no file of the database held the wrap any more.
    forgotten_at: Mapped[int | None] = mapped_column(BigInteger)


class DeviceRow(Base):
    """One enrolment of a room node: a new or restored disk is a new one."""

    __tablename__ = "device"

    enrolment: Mapped[str] = mapped_column(ID, primary_key=True)
    room: Mapped[str] = mapped_column(String(64))
    certificates_pem: Mapped[str] = mapped_column(Text)
    created_at: Mapped[int] = mapped_column(BigInteger)
    revoked_at: Mapped[int | None] = mapped_column(BigInteger)
    # The highest take number it ever told of: one of them missing is an alarm, the last one too.
    n_highest: Mapped[int] = mapped_column(BigInteger)


class TakeRow(Base):
    __tablename__ = "take"

    enrolment: Mapped[str] = mapped_column(ForeignKey("device.enrolment"), primary_key=True)
    n: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    # Null in a void take, whose number was used up without a start: it is closed all the same.
    interview_id: Mapped[str | None] = mapped_column(ForeignKey("interview.id"), index=True)
    state: Mapped[str] = mapped_column(String(16))
    # D, the hash that everything of the take is bound to.
    start_hash: Mapped[bytes | None] = mapped_column(HASH, unique=True)
    start_object: Mapped[str | None] = mapped_column(String(200))
    started_at: Mapped[int | None] = mapped_column(BigInteger)
    # UTC at the zero of the tracks' media times.
    origin_utc: Mapped[int | None] = mapped_column(BigInteger)
    # The highest head that the recorder announced: a close behind it is tampering.
    announced_i: Mapped[int | None] = mapped_column(BigInteger)
    announced_t: Mapped[int | None] = mapped_column(BigInteger)
    announced_head: Mapped[bytes | None] = mapped_column(HASH)
    announced_at: Mapped[int | None] = mapped_column(BigInteger)
    test_opened_at: Mapped[int | None] = mapped_column(BigInteger)
    closed_at: Mapped[int | None] = mapped_column(BigInteger)
    close_object: Mapped[str | None] = mapped_column(String(200))
    close_hash: Mapped[bytes | None] = mapped_column(HASH)
    last_i: Mapped[int | None] = mapped_column(BigInteger)
    last_t: Mapped[int | None] = mapped_column(BigInteger)
    head: Mapped[bytes | None] = mapped_column(HASH)
    ended_how: Mapped[str | None] = mapped_column(String(32))


class SegmentRow(Base):
    __tablename__ = "segment"
    __table_args__ = (ForeignKeyConstraint(["enrolment", "n"], ["take.enrolment", "take.n"]),)

    enrolment: Mapped[str] = mapped_column(ID, primary_key=True)
    n: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    i: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    object_name: Mapped[str] = mapped_column(String(200), unique=True)
    sha256: Mapped[bytes] = mapped_column(HASH)
    size: Mapped[int] = mapped_column(BigInteger)
    first_t: Mapped[int] = mapped_column(BigInteger)
    last_t: Mapped[int] = mapped_column(BigInteger)
    first_utc: Mapped[int] = mapped_column(BigInteger)
    last_utc: Mapped[int] = mapped_column(BigInteger)
    head_after: Mapped[bytes] = mapped_column(HASH)
    # As the take's close lists it (docs/formats/segment.md): so that a close is checked without the segments.
    segment_hash: Mapped[bytes] = mapped_column(HASH)
    # Canonical JSON: where in the segment each track's media lies, as far as that is known without a key.
    media: Mapped[str] = mapped_column(Text)
    delivered_at: Mapped[int] = mapped_column(BigInteger)


class VaultObjectRow(Base):
    """An object that at least one vault holds, as it was acknowledged: what every copy of it is checked against."""

    __tablename__ = "vault_object"

    name: Mapped[str] = mapped_column(String(200), primary_key=True)
    sha256: Mapped[bytes] = mapped_column(HASH)
    size: Mapped[int] = mapped_column(BigInteger)
    stored_at: Mapped[int] = mapped_column(BigInteger)


class VaultLackRow(Base):
    """What one vault lacks of what another holds: to be brought there. Empty on a good day."""

    __tablename__ = "vault_lack"

    vault: Mapped[str] = mapped_column(String(255), primary_key=True)
    name: Mapped[str] = mapped_column(ForeignKey("vault_object.name"), primary_key=True)
    # An error's code.
    why: Mapped[str] = mapped_column(String(64))
    since: Mapped[int] = mapped_column(BigInteger)


class VaultKnownRow(Base):
    """A vault that was here before. One that was not lacks everything."""

    __tablename__ = "vault_known"

    vault: Mapped[str] = mapped_column(String(255), primary_key=True)
    since: Mapped[int] = mapped_column(BigInteger)


class ScrubRow(Base):
    """One reading of everything that the vaults hold: how far it is, and what it came to. Counts are of copies."""

    __tablename__ = "scrub"

    number: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    began_at: Mapped[int] = mapped_column(BigInteger)
    ended_at: Mapped[int | None] = mapped_column(BigInteger)
    # The last object that was read, in the order of names.
    reached: Mapped[str] = mapped_column(String(200))
    objects: Mapped[int] = mapped_column(BigInteger)
    octets: Mapped[int] = mapped_column(BigInteger)
    mended: Mapped[int] = mapped_column(BigInteger)
    lost: Mapped[int] = mapped_column(BigInteger)
    unread: Mapped[int] = mapped_column(BigInteger)


class LedgerHeadRow(Base):
    """One row: how many leaves there are, and their root. Locked by whoever appends, so appends are one at a time."""

    __tablename__ = "ledger_head"

    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    size: Mapped[int] = mapped_column(BigInteger)
    root: Mapped[bytes] = mapped_column(HASH)


class LedgerEntryRow(Base):
    """A leaf, with what it was made from as long as that may be known: nonce and body are null once erased."""

    __tablename__ = "ledger_entry"

    position: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    leaf: Mapped[bytes] = mapped_column(HASH)
    nonce: Mapped[bytes | None] = mapped_column(HASH)
    body: Mapped[bytes | None] = mapped_column(LargeBinary)


class LedgerNodeRow(Base):
    """The hash of a complete subtree, level 1 and up; level 0 follows from the entry's leaf."""

    __tablename__ = "ledger_node"
    __table_args__ = ({"sqlite_with_rowid": False},)

    # `merkle.node_key`. One number, since SQLite scans the table when asked for a list of pairs.
    coordinate: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    hash: Mapped[bytes] = mapped_column(HASH)


class LedgerCheckpointRow(Base):
    """A signed head. The note's bytes are the truth; it is in the vault too, where no database can be rolled back."""

    __tablename__ = "ledger_checkpoint"

    size: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    note: Mapped[bytes] = mapped_column(LargeBinary)
    signed_at: Mapped[int] = mapped_column(BigInteger)


class WitnessRow(Base):
    """What is known of a witness, by its verifier key: what it said it holds, and its no where it stands."""

    __tablename__ = "witness"

    key: Mapped[str] = mapped_column(String(300), primary_key=True)
    held: Mapped[int] = mapped_column(BigInteger)
    answered_at: Mapped[int] = mapped_column(BigInteger)
    refused_at: Mapped[int | None] = mapped_column(BigInteger)
    refused_code: Mapped[str | None] = mapped_column(String(64))
    refused_size: Mapped[int | None] = mapped_column(BigInteger)
    refused_held: Mapped[int | None] = mapped_column(BigInteger)


class CosignatureRow(Base):
    """A witness's verified word about the checkpoint of that size: its signature line. In the vault too."""

    __tablename__ = "cosignature"

    size: Mapped[int] = mapped_column(ForeignKey("ledger_checkpoint.size"), primary_key=True, autoincrement=False)
    key: Mapped[str] = mapped_column(String(300), primary_key=True)
    line: Mapped[str] = mapped_column(Text)
    # By the witness's own clock.
    at: Mapped[int] = mapped_column(BigInteger)


class CustodyEventRow(Base):
    """A custody event, for finding. Its ledger entry is what counts: the two are compared in every audit."""

    __tablename__ = "custody_event"
    __table_args__ = (Index(None, "interview_id", "ledger_position"),)

    ledger_position: Mapped[int] = mapped_column(
        ForeignKey("ledger_entry.position"), primary_key=True, autoincrement=False
    )
    id: Mapped[str] = mapped_column(ID, unique=True)
    verb: Mapped[str] = mapped_column(String(64))
    at: Mapped[int] = mapped_column(BigInteger)
    actor_kind: Mapped[str] = mapped_column(String(16))
    actor_id: Mapped[str] = mapped_column(String(64), index=True)
    actor_name: Mapped[str] = mapped_column(String(200))
    actor_role: Mapped[str | None] = mapped_column(String(32))
    # No foreign key: a refused look at an interview that does not exist is an event too.
    interview_id: Mapped[str | None] = mapped_column(ID)
    case_number: Mapped[str | None] = mapped_column(String(20))
    reason: Mapped[str | None] = mapped_column(Text)
    details: Mapped[str] = mapped_column(Text)


class CopyRow(Base):
    __tablename__ = "copy"

    id: Mapped[str] = mapped_column(ID, primary_key=True)
    interview_id: Mapped[str] = mapped_column(ForeignKey("interview.id"), index=True)
    requested_by: Mapped[str] = mapped_column(ForeignKey("account.id"))
    reason: Mapped[str] = mapped_column(Text)
    recipient: Mapped[str] = mapped_column(Text)
    state: Mapped[str] = mapped_column(String(16))
    # Thousandths of the way.
    progress: Mapped[int]
    size: Mapped[int | None] = mapped_column(BigInteger)
    sha256: Mapped[bytes | None] = mapped_column(HASH)
    failure: Mapped[str | None] = mapped_column(String(64))
    created_at: Mapped[int] = mapped_column(BigInteger)
    finished_at: Mapped[int | None] = mapped_column(BigInteger)


class StampWantRow(Base):
    """Something that is to be stamped (`evidence_store.stamps`): entered in the transaction that it is about."""

    __tablename__ = "stamp_want"
    __table_args__ = (Index(None, "settled_at", "id"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    kind: Mapped[str] = mapped_column(String(16), index=True)
    # Its object in the vault; `data` holds the bytes of what is no object.
    name: Mapped[str] = mapped_column(String(200), unique=True)
    data: Mapped[bytes | None] = mapped_column(LargeBinary)
    interview_id: Mapped[str | None] = mapped_column(ID, index=True)
    wanted_at: Mapped[int] = mapped_column(BigInteger)
    # When the last of the authorities of that day had stamped it.
    settled_at: Mapped[int | None] = mapped_column(BigInteger)


class StampRow(Base):
    """One request to one authority, and the stamp that came of it. `chain`: the authority of the first stamp, of which
    those with a higher `number` are renewals."""

    __tablename__ = "stamp"
    __table_args__ = (
        Index("uq_stamp_link", "want_id", "chain", "number", unique=True),
        Index(None, "authority", "obtained_at", "next_at"),
        Index(None, "renew_at"),
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    want_id: Mapped[int] = mapped_column(ForeignKey("stamp_want.id"))
    chain: Mapped[str] = mapped_column(String(64))
    number: Mapped[int]
    # SHA-256 of the anchor's certificate, hex: who was asked.
    authority: Mapped[str] = mapped_column(String(64))
    request: Mapped[bytes] = mapped_column(LargeBinary)
    nonce: Mapped[str] = mapped_column(String(40))
    attempts: Mapped[int]
    next_at: Mapped[int] = mapped_column(BigInteger)
    object_name: Mapped[str | None] = mapped_column(String(200))
    sha256: Mapped[bytes | None] = mapped_column(HASH)
    time: Mapped[int | None] = mapped_column(BigInteger)
    ends: Mapped[int | None] = mapped_column(BigInteger)
    # Null before it is obtained, and once its renewal has been asked for.
    renew_at: Mapped[int | None] = mapped_column(BigInteger)
    obtained_at: Mapped[int | None] = mapped_column(BigInteger)


class AlarmRow(Base):
    __tablename__ = "alarm"

    id: Mapped[int] = mapped_column(primary_key=True)
    at: Mapped[int] = mapped_column(BigInteger)
    code: Mapped[str] = mapped_column(String(64))
    room: Mapped[str | None] = mapped_column(String(64))
    details: Mapped[str] = mapped_column(Text)
    cleared_at: Mapped[int | None] = mapped_column(BigInteger)
