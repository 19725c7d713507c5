"""A room node is stolen and its device revoked (attacks 16 and 17): it is heard, and not believed."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pyrage
import pytest

from api.desk.copies import CopyDesk
from api.services import Account
from evidence_store.audit import Audit
from evidence_store.canonical import parse
from evidence_store.copies.revocations import check_none_doubtful
from evidence_store.copies.verify import Anchors, Report, verify
from evidence_store.custody import Verb
from evidence_store.database.schema import DeviceRow, SegmentRow
from evidence_store.errors import VidneError
from evidence_store.people import Role
from evidence_store.revoking import Revoking
from evidence_store.sealing.revocation import Revocation
from recorder.spool import TakeFolder
from recorder.take import Order
from tests.house import BEGAN, House, record
from tests.store.taken_in import alarms

ROOT = Path(__file__).parents[2]


@pytest.fixture
def house(tmp_path: Path) -> House:
    return House(tmp_path / "house")


def refusal(work: Callable[[], object]) -> str:
    with pytest.raises(VidneError) as refused:
        work()
    return refused.value.code


@dataclass
class Stolen:
    """A house whose device made one take in its own hands and one in a thief's, of two interviews."""

    house: House
    orders: list[Order]
    takes: list[TakeFolder]

    @property
    def enrolment(self) -> str:
        return self.takes[0].enrolment.hex()

    def revoke(self, last_take: int | None = None, head: bytes | None = None, why: str = "Stjålet") -> Revocation:
        return Revoking(self.house.store.book, self.house.store.authority).revoke(self.enrolment, why, last_take, head)

    def audited(self) -> dict[str, str]:
        report = Audit(self.house.store.book, self.house.store.authority).run()
        assert report.ok, [each for each in report.findings if not each.ok]
        return {each.name: each.detail for each in report.findings}

    def manifest_of(self, order: Order) -> list[dict[str, object]]:
        assert self.house.store.sealing.seal(order.interview.hex())
        data = self.house.store.book.vault.get(f"interviews/{order.interview.hex()}/manifest-001.json")
        listed: list[dict[str, object]] = parse(data)["takes"]
        return listed

    def package_of(self, order: Order, folder: Path) -> Report:
        """A copy as a court would get it, checked with the fingerprint."""
        store = self.house.store
        desk = CopyDesk(store.book, store.authority, store.keys, folder / "copies", "Børnehus", lambda: False)
        identity = pyrage.x25519.Identity.generate()
        by = Account(self.house.account, "op", "Ida Optager", Role.OPERATOR)
        copy = desk.request(order.interview.hex(), by, "Fremlæggelse", str(identity.to_public()))
        desk._make(copy)
        tar = folder / f"{copy}.tar"
        tar.write_bytes(pyrage.decrypt((folder / "copies" / f"{copy}.tar.age").read_bytes(), [identity]))
        return verify(tar, Anchors(store.authority.fingerprint))


@pytest.fixture
def stolen(house: House) -> Iterator[Stolen]:
    spool, orders = house.spool(), [house.interview(), house.interview()]
    takes = [record(house, spool, order, ticks=17, began=BEGAN + at * 60 * 10**9) for at, order in enumerate(orders)]
    house.deliver(takes[0])
    yield Stolen(house, orders, takes)
    house.close()


def test_16_after_its_revocation_a_device_is_heard_and_not_believed(stolen: Stolen, tmp_path: Path) -> None:
    """Everything that it delivers is taken in, and doubtful in manifest, audit and package; what was before is not."""
    house = stolen.house
    made = stolen.revoke()
    assert (made.take, made.number) == (1, 1)
    assert house.deliver(stolen.takes[1])[0] == "start", "a revocation stops no recording"
    assert alarms(house) == ["take-after-revocation"]
    assert [each["doubtful"] for order in stolen.orders for each in stolen.manifest_of(order)] == [None, 1]
    told = stolen.audited()
    assert told["revocations"] == "1 devices revoked"
    name = f"take {stolen.enrolment[:8]}"
    assert "DOUBTFUL" not in told[f"{name}-1"]
    assert "DOUBTFUL" in told[f"{name}-2"]
    trusted, doubted = (stolen.package_of(order, tmp_path) for order in stolen.orders)
    assert trusted.ok, trusted.failures
    assert [each.name for each in doubted.failures] == ["devices"]
    assert "take-001 is DOUBTFUL" in doubted.failures[0].detail
    (event,) = house.custody(Verb.DEVICE_REVOKED)
    assert event.event.reason == "Stjålet"
    assert event.event.details["take"] == 1


def test_16_a_clock_set_back_makes_no_take_trusted(stolen: Stolen) -> None:
    house = stolen.house
    stolen.revoke()
    early = record(house, house.spool(), stolen.orders[0], ticks=9, began=BEGAN - 3600 * 10**9)
    house.deliver(stolen.takes[1])
    house.deliver(early)
    listed = {each["take"]: each["doubtful"] for each in stolen.manifest_of(stolen.orders[0])}
    assert listed == {1: None, 3: 1}


def test_16_trust_can_end_within_a_take(stolen: Stolen) -> None:
    house = stolen.house
    with house.store.book.reading() as session:
        heads = [row.head_after for row in session.query(SegmentRow).order_by(SegmentRow.i)]
    assert refusal(lambda: stolen.revoke(1, bytes(32))) == "revocation-head"
    stolen.revoke(1, heads[0])
    assert [each["doubtful"] for each in stolen.manifest_of(stolen.orders[0])] == [1]
    assert "DOUBTFUL" in stolen.audited()[f"take {stolen.enrolment[:8]}-1"]


def test_16_a_later_revocation_trusts_less_and_never_more(stolen: Stolen) -> None:
    house = stolen.house
    house.deliver(stolen.takes[1])
    stolen.revoke()
    assert stolen.revoke().number == 1, "said again it is the same one"
    second = stolen.revoke(1)
    assert (second.number, second.take) == (2, 1)
    assert refusal(lambda: stolen.revoke(2)) == "revocation-later"
    nothing = stolen.revoke(0)
    assert (nothing.number, nothing.take, nothing.head) == (3, 0, None)
    assert refusal(lambda: stolen.revoke(1, why="barn 010203-1234")) == "cpr-number"
    assert refusal(lambda: stolen.revoke(9)) == "take"
    assert len(house.custody(Verb.DEVICE_REVOKED)) == 3
    told = stolen.audited()
    assert all("DOUBTFUL" in told[f"take {stolen.enrolment[:8]}-{number}"] for number in (1, 2))


def test_16_a_crash_between_vault_and_custody_is_made_good(stolen: Stolen) -> None:
    book = stolen.house.store.book

    class Killed(BaseException):
        pass

    def killed() -> None:
        raise Killed

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(type(book), "writing", lambda self: killed())
        with pytest.raises(Killed):
            stolen.revoke()
    assert "disagree on whether" in stolen.house.findings()["revocations"]
    assert stolen.revoke().number == 1
    assert len(stolen.house.custody(Verb.DEVICE_REVOKED)) == 1
    stolen.audited()


@pytest.mark.parametrize("touch", ["database", "record", "signature", "gone"])
def test_16_a_revocation_cannot_be_taken_back_unseen(stolen: Stolen, touch: str) -> None:
    """Whoever would have a thief's take believed."""
    house = stolen.house
    name = house.vault / stolen.revoke().name
    if touch == "database":
        with house.store.book.database.writing() as session:
            session.get_one(DeviceRow, stolen.enrolment).revoked_at = None
    elif touch == "gone":
        name.unlink()
    else:
        path = name if touch == "record" else name.with_name(f"{name.name}.mldsa65")
        path.chmod(0o644)
        data = path.read_bytes()
        path.write_bytes(data.replace(b'"take":1', b'"take":9') if touch == "record" else data[:-1] + b"x")
    assert list(house.findings()) == ["revocations"]


def test_16_what_a_revocation_says_is_read_strictly(stolen: Stolen) -> None:
    takes = [("take-001", bytes(16), 2, bytes(32))]
    revoked = Revocation(bytes(16), 1, 1, bytes(32), 1, None)
    assert check_none_doubtful([], takes) == "none is revoked"
    assert refusal(lambda: check_none_doubtful([revoked], takes)) == "take-doubtful"
    assert Revocation.decode(revoked.encode()) == revoked
    for broken in (b"{}", revoked.encode().replace(b'"number":1', b'"number":0'), revoked.encode() + b" "):
        with pytest.raises(VidneError):
            Revocation.decode(broken)


def test_16_the_commands(stolen: Stolen) -> None:
    stolen.house.close()

    def vidne(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "api.cli", "device", *arguments, "--data", str(stolen.house.folder)],
            cwd=ROOT, capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip

    listed = vidne("list")
    assert listed.stdout.startswith(f"{stolen.enrolment}  room demo, since ")
    done = vidne("revoke", "--enrolment", stolen.enrolment, "--reason", "Stjålet")
    assert done.returncode == 0, done.stderr
    assert "revocation no. 1" in done.stdout
    assert ", revoked " in vidne("list").stdout
    assert vidne("revoke", "--enrolment", "0" * 32, "--reason", "Stjålet").returncode == 1
    stolen.house.open()
    stolen.audited()
