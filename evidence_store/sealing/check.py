"""What can be checked of a take without a decryption key, in numbered steps (docs/formats/journal.md#checking).

Intake, audit, recovery and the checker of evidence copies all ask here. `root` is the anchor of trust and always comes
from outside of what is checked.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from cryptography import x509

from evidence_store import domains
from evidence_store.canonical import Record
from evidence_store.errors import ChainBroken, InvalidInput, SignatureInvalid, Tampered
from evidence_store.sealing import certificates as certs
from evidence_store.sealing import journal, segment
from evidence_store.sealing.tick import check_record


@dataclass(frozen=True, slots=True)
class Start:
    """A start record whose signatures hold."""

    record: Record
    start_hash: bytes
    enrolment: bytes
    take: int
    interview: bytes
    take_certificate: x509.Certificate
    device_certificate: x509.Certificate
    device_ml_dsa_certificate: x509.Certificate

    @property
    def wrap(self) -> bytes:
        return journal.unb64(self.record["wrap"])

    @property
    def utc_ns(self) -> int:
        return int(self.record["clock"]["utc"])

    @property
    def tracks(self) -> list[journal.TrackEntry]:
        return [journal.TrackEntry(**track) for track in self.record["tracks"]]


_START_MEMBERS = {
    "checkpoint", "clock", "device_certificate", "device_ml_dsa_65_certificate", "enrolment", "interview",
    "previous", "room", "take", "take_certificate", "tracks", "type", "wrap",
}  # fmt: skip
_CLOSE_MEMBERS = {
    "closed", "enrolment", "head", "how", "last", "last_alive", "segments", "start", "take", "torn", "type",
}  # fmt: skip


def check_start(data: bytes, root: x509.Certificate) -> Start:
    """1. form  2. certificates up to the root  3. the store's word for the interview key  4. three signatures on D.

    Raises InvalidInput for another form, SignatureInvalid for anything that does not hold.
    """
    record, signatures = journal.decode_envelope(data)
    if set(record) != _START_MEMBERS or record["type"] != journal.START_TYPE:
        raise InvalidInput("not a start record", code="start-form")
    try:
        enrolment, number = bytes.fromhex(record["enrolment"]), int(record["take"])
        interview = bytes.fromhex(record["interview"]["id"])
        device = certs.from_der(journal.unb64(record["device_certificate"]))
        device_ml_dsa = certs.from_der(journal.unb64(record["device_ml_dsa_65_certificate"]))
        take = certs.from_der(journal.unb64(record["take_certificate"]))
        store = certs.from_der(journal.unb64(record["interview"]["store_certificate"]))
        public_key = journal.unb64(record["interview"]["public_key"])
        key_signature = journal.unb64(record["interview"]["signature"])
    except (KeyError, TypeError, ValueError) as error:
        raise InvalidInput("not a start record", code="start-form") from error
    certs.check_issued(device, root, certs.device_name(enrolment))
    certs.check_issued(device_ml_dsa, root, certs.device_ml_dsa_name(enrolment))
    certs.check_issued(take, device, certs.take_name(enrolment, number))
    certs.check_issued(store, root, certs.STORE)
    certs.check_signature(store, domains.INTERVIEW_KEY_SIGNATURE, interview + public_key, key_signature)
    digest = journal.start_hash(record)
    for who, certificate in (("take", take), ("device", device), ("device_ml_dsa_65", device_ml_dsa)):
        if who not in signatures:
            raise SignatureInvalid(f"start is not signed by {who}", code="signature-missing")
        certs.check_signature(certificate, domains.START_SIGNATURE, digest, journal.unb64(signatures[who]))
    return Start(record, digest, enrolment, number, interview, take, device, device_ml_dsa)


@dataclass(slots=True)
class Chain:
    """Walks a take's segments in order and holds where it is. An error leaves it where it was."""

    start: Start
    head: bytes = b""
    index: int = -1
    tick: int = -1
    segment_hashes: list[bytes] = field(default_factory=list)

    def __post_init__(self) -> None:
        if not self.head:
            self.head = self.start.start_hash

    def check_segment(self, data: bytes | memoryview) -> tuple[segment.Header, list[segment.Tick]]:
        """The next segment: place, every record, ciphertext hash, chain and signature. Raises ChainBroken and
        SignatureInvalid; `self` moves only when all of it holds."""
        header, at = segment.read_header(data)
        if header.start_hash != self.start.start_hash:
            raise ChainBroken("segment belongs to another take", code="segment-swapped")
        if header.index != self.index + 1:
            raise ChainBroken(f"expected segment {self.index + 1}, found {header.index}", code="segment-missing")
        if header.first_tick != self.tick + 1 or header.head != self.head:
            raise ChainBroken(f"segment {header.index} does not follow the one before", code="segment-order")
        head, tick, found = self.head, self.tick, []
        for each in segment.ticks(data, at):
            head = check_tick(each, header.index, tick + 1, head, self.start.take_certificate)
            tick += 1
            found.append(each)
        if not found:
            raise ChainBroken(f"segment {header.index} is empty", code="segment-empty")
        self.head, self.tick, self.index = head, tick, header.index
        self.segment_hashes.append(segment.segment_hash(header, head))
        return header, found

    def durable_prefix(self, data: bytes | memoryview) -> int:
        """How many bytes of the next segment are whole, after a crash cut its file; 0 when not even one tick is."""
        try:
            header, at = segment.read_header(data)
        except ChainBroken:
            return 0
        if (header.start_hash, header.index, header.first_tick, header.head) != (
            self.start.start_hash, self.index + 1, self.tick + 1, self.head,
        ):  # fmt: skip
            return 0
        view, head, tick, whole = memoryview(data), self.head, self.tick, 0
        while at < len(view):
            try:
                each = segment.read_tick(view, at)
                head = check_tick(each, header.index, tick + 1, head, self.start.take_certificate)
            except Tampered:
                break
            tick, at = tick + 1, at + each.size
            whole = at
        return whole

    def continues_with(self, data: bytes) -> bool:
        """Whether `data`, as the rest of the segment that was walked last, begins with a whole tick of this take."""
        try:
            check_tick(
                segment.read_tick(memoryview(data), 0),
                self.index, self.tick + 1, self.head, self.start.take_certificate,
            )  # fmt: skip
        except Tampered:
            return False
        return True


def check_tick(
    tick: segment.Tick, segment_index: int, number: int, head: bytes, take_certificate: x509.Certificate
) -> bytes:
    """1. form  2. place  3. every ciphertext's hash  4. the take key's signature on J(t), which is returned."""
    check_record(tick.record)
    if (tick.record["i"], tick.record["t"]) != (segment_index, number):
        raise ChainBroken(f"expected tick {number}, found {tick.record['t']}", code="tick-order")
    for entry, ciphertext in tick.parts():
        if domains.sha256(domains.CIPHERTEXT, ciphertext).hex() != entry["hash"]:
            raise ChainBroken(f"message of tick {number} was altered", code="ciphertext-altered")
    following = journal.next_head(head, tick.record_bytes)
    journal.check_tick_signature(take_certificate, following, tick.signature)
    return following


@dataclass(frozen=True, slots=True)
class Close:
    """A close record whose signatures hold."""

    record: Record
    close_hash: bytes
    how: journal.Ending


def check_close(data: bytes, device: x509.Certificate, device_ml_dsa: x509.Certificate, chain: Chain | None) -> Close:
    """1. form  2. signatures  3. agreement with the chain that was walked; `chain` is None for a void take.

    Raises InvalidInput, SignatureInvalid, or ChainBroken for a close that is behind, ahead of, or beside the chain.
    """
    record, signatures = journal.decode_envelope(data)
    if set(record) != _CLOSE_MEMBERS or record["type"] != journal.CLOSE_TYPE:
        raise InvalidInput("not a close record", code="close-form")
    try:
        how = journal.Ending(record["how"])
    except ValueError as error:
        raise InvalidInput("not a close record", code="close-form") from error
    torn = record["torn"]
    if torn is not None and not (
        isinstance(torn, dict)
        and set(torn) == {"hash", "length"}
        and isinstance(torn["hash"], str)
        and type(torn["length"]) is int
    ):
        raise InvalidInput("not a close record", code="close-form")
    digest = journal.close_hash(record)
    signers = [("device", device), ("device_ml_dsa_65", device_ml_dsa)]
    if how is journal.Ending.STOPPED and chain is not None:
        signers.append(("take", chain.start.take_certificate))
    for who, certificate in signers:
        if who not in signatures:
            raise SignatureInvalid(f"close is not signed by {who}", code="signature-missing")
        certs.check_signature(certificate, domains.CLOSE_SIGNATURE, digest, journal.unb64(signatures[who]))
    if chain is None:
        if how is not journal.Ending.VOID or record["start"] is not None:
            raise ChainBroken("close without a take", code="close-mismatch")
        return Close(record, digest, how)
    if how is journal.Ending.VOID:
        raise ChainBroken("a take that has begun is not void", code="close-mismatch")
    expected = {
        "enrolment": chain.start.enrolment.hex(),
        "head": chain.head.hex(),
        "last": {"i": chain.index, "t": chain.tick} if chain.tick >= 0 else None,
        "segments": [digest.hex() for digest in chain.segment_hashes],
        "start": chain.start.start_hash.hex(),
        "take": chain.start.take,
    }
    for name, value in expected.items():
        if record[name] != value:
            raise ChainBroken(f"close and chain disagree on {name}", code="close-mismatch")
    return Close(record, digest, how)


def check_torn(record: Record, tail: bytes | None, chain: Chain | None) -> None:
    """The tail kept aside is the one that the close names, and holds no whole tick that should have been kept.

    Raises ChainBroken. `tail`: None where there is none. `chain` stands where the close says that the take ended.
    """
    torn = record["torn"]
    if torn is None or tail is None or chain is None:
        if torn is not None or tail is not None:
            raise ChainBroken("the close and the torn tail do not belong together", code="tail-mismatch")
        return
    if (domains.sha256(domains.TAIL, tail).hex(), len(tail)) != (torn["hash"], torn["length"]):
        raise ChainBroken("the torn tail is not the one that the close names", code="tail-mismatch")
    if chain.durable_prefix(tail) or chain.continues_with(tail):
        raise ChainBroken("a whole tick was called a torn tail", code="tail-whole")
