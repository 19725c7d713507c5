"""An audit that is killed goes on where it was, says the same as one in one go, and passes no change by unseen."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from sqlalchemy import text

from evidence_store.audit import Audit
from evidence_store.audit_memory import BELIEVED_FOR_NS, AuditMemory
from evidence_store.audit_report import AuditReport, Finding, Progress
from evidence_store.errors import Conflict
from tests.house import BEGAN, House, record

TAKES = 5
ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def full(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    """Takes of one interview, sealed."""
    house = House(tmp_path_factory.mktemp("full"))
    spool, order = house.spool(), house.interview()
    for _ in range(TAKES):
        house.deliver(record(house, spool, order, ticks=20))
    assert house.store.sealing.seal(order.interview.hex())
    yield house
    house.close()


def memory(house: House, *, afresh: bool = False, now: int | None = None) -> AuditMemory:
    clock = house.store.book.clock() if now is None else now
    return AuditMemory(house.folder / "audit", {"store": "this"}, clock, afresh=afresh)


class Killed(BaseException):
    """Ends an audit as a signal would: nothing below catches it."""


def audit(house: House, remembered: AuditMemory | None, stop_after: int | None = None) -> AuditReport:
    """`stop_after`: how many findings until it is killed."""
    told: list[Finding] = []

    def tell(finding: Finding) -> None:
        told.append(finding)
        if len(told) == stop_after:
            raise Killed

    made = Audit(
        house.store.book, house.store.authority, tell, house.store.witnessing,
        time_authorities=house.store.stamps.authorities, memory=remembered,
    )  # fmt: skip
    if remembered is None:
        return made.run()
    with remembered.held():
        return made.run()


def cut_short(house: House, stop_after: int) -> None:
    with pytest.raises(Killed):
        audit(house, memory(house), stop_after)


def said(report: AuditReport) -> list[Finding]:
    return [replace(finding, checked_at=None) for finding in report.findings]


def place_of(house: House, name: str) -> int:
    """How many findings there are up to and with that one."""
    return next(at for at, each in enumerate(audit(house, None).findings, start=1) if each.name.startswith(name))


@pytest.fixture(autouse=True)
def nothing_remembered(full: House) -> None:
    (full.folder / "audit" / "checked.jsonl").unlink(missing_ok=True)


def test_it_goes_on_where_it_was_and_says_the_same(full: House) -> None:
    whole = audit(full, None)
    for stop_after in range(1, len(whole.findings), 3):
        cut_short(full, stop_after)
        report = audit(full, memory(full))
        assert said(report) == said(whole)
        takes = [each for each in whole.findings[:stop_after] if each.name.startswith("take ")]
        # The one that was told of last is remembered too.
        assert sum(each.checked_at is not None for each in report.findings) == len(takes)
    # One that came to its end leaves nothing behind: the next one looks at everything.
    assert all(each.checked_at is None for each in audit(full, memory(full)).findings)


def test_progress_adds_up_and_says_what_was_taken_over(full: House) -> None:
    cut_short(full, place_of(full, "take ") + 1)
    seen: list[Progress] = []
    remembered = memory(full)
    with remembered.held():
        Audit(full.store.book, full.store.authority, memory=remembered, progress=seen.append).run()
    last = seen[-1]
    assert (last.recordings, last.of_recordings) == (TAKES, TAKES)
    assert last.octets == last.of_octets > last.taken_over > 0


def object_of(house: House, number: int, name: str = "segments/000001") -> Path:
    return house.vault / f"takes/{house.device().enrolment.hex()}/{number:06d}" / name


def flipped(path: Path) -> Callable[[], None]:
    """One bit, with size and times as they were before; gives back what undoes it."""
    before, times = path.read_bytes(), path.stat()
    data = bytearray(before)
    data[len(data) // 2] ^= 1
    path.chmod(0o600)
    path.write_bytes(data)
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
    path.chmod(times.st_mode)

    def undo() -> None:
        path.chmod(0o600)
        path.write_bytes(before)

    return undo


def edited(house: House, change: str, undo: str) -> Callable[[], None]:
    with house.store.book.database.writing() as session:
        session.execute(text(change))

    def back() -> None:
        with house.store.book.database.writing() as session:
            session.execute(text(undo))

    return back


def added(path: Path) -> Callable[[], None]:
    path.write_bytes(b"something that nobody closed over")
    return path.unlink


@pytest.mark.parametrize(
    "touch",
    [
        lambda house: flipped(object_of(house, 1)),
        lambda house: flipped(object_of(house, 1, "close.json")),
        lambda house: added(object_of(house, 1, "tail")),
        lambda house: edited(
            house, "UPDATE segment SET sha256 = zeroblob(32) WHERE n = 1 AND i = 1",
            "UPDATE segment SET sha256 = (SELECT sha256 FROM vault_object WHERE name = object_name)",
        ),
        lambda house: edited(
            house, "UPDATE take SET start_object = NULL WHERE n = 1",
            "UPDATE take SET start_object = replace(close_object, 'close', 'start') WHERE n = 1",
        ),
    ],
)  # fmt: skip
def test_what_was_touched_between_the_two_halves_is_found(
    full: House, touch: Callable[[House], Callable[[], None]]
) -> None:
    cut_short(full, place_of(full, "take ") + 1)
    undo = touch(full)
    try:
        report = audit(full, memory(full))
        wrong = [each.name for each in report.findings if not each.ok]
        assert f"take {full.device().enrolment.hex()[:8]}-1" in wrong, report.findings
        assert said(report) == said(audit(full, None))
    finally:
        undo()
    assert audit(full, None).ok


def test_a_ledger_turned_back_between_the_two_halves_is_found(full: House) -> None:
    """An earlier run met a head that this ledger does not have: vault and database were turned back together."""
    cut_short(full, place_of(full, "take ") + 1)
    book = full.store.book
    with book.reading() as session:
        note = book.ledger.latest_checkpoint(session)
    assert note is not None
    from evidence_store.ledger.checkpoint import Checkpoint

    signer = book.ledger._signer
    assert signer is not None
    later = Checkpoint(signer.verifier.name, book.ledger.size_of(note) + 7, bytes(32)).signed(signer).write()
    remembered = memory(full)
    with remembered.held():
        remembered.met(later)
    report = audit(full, memory(full))
    assert [(each.name, each.code) for each in report.findings if not each.ok] == [
        ("earlier audit", "ledger-rolled-back")
    ]
    assert all(each.checked_at is None for each in report.findings), "nothing of an earlier run is believed then"
    assert not audit(full, memory(full)).ok, "and it is told until somebody says to begin anew"
    assert audit(full, memory(full, afresh=True)).ok


def test_afresh_old_and_foreign_memories_are_not_believed(full: House) -> None:
    later = full.store.book.clock() + BELIEVED_FOR_NS + 10**12
    for other in (
        memory(full, afresh=True),
        memory(full, now=later),
        memory(full, now=BEGAN - 10**18),
        AuditMemory(full.folder / "audit", {"store": "another"}, full.store.book.clock()),
    ):
        cut_short(full, place_of(full, "take ") + 2)
        report = audit(full, other)
        assert report.ok
        assert all(each.checked_at is None for each in report.findings)


def test_a_torn_or_spoilt_file_is_believed_up_to_there(full: House) -> None:
    cut_short(full, place_of(full, "take ") + 2)
    path = full.folder / "audit" / "checked.jsonl"
    whole = path.read_bytes()
    for end in range(len(whole)):
        if end % 97 and end < len(whole) - 3:
            continue
        path.write_bytes(whole[:end])
        torn = memory(full)
        with torn.held():
            torn.remember("after", "it", "said")
        again = memory(full)
        with again.held():
            assert again.known("after", "it") is not None, "what is written after a torn line is not lost with it"


def test_two_audits_do_not_share_a_memory(full: House) -> None:
    with memory(full).held(), pytest.raises(Conflict) as caught, memory(full).held():
        pass
    assert caught.value.code == "audit-running"


_KILLED = """
import sys, pathlib
from tests.house import House
from tests.store.test_audit_resumed import audit, memory
from evidence_store.audit import Audit
house = House.again(pathlib.Path(sys.argv[1]))
print("ready", flush=True)
audit(house, memory(house))
"""


def test_killed_at_random_places_and_taken_up_again(full: House) -> None:
    whole, where = audit(full, None), random.Random(9)  # noqa: S311 - moments, not secrets
    killed = 0
    for _ in range(2):
        running = subprocess.Popen(
            [sys.executable, "-c", _KILLED, full.folder], cwd=ROOT, stdout=subprocess.PIPE, text=True
        )
        assert running.stdout is not None
        assert running.stdout.readline() == "ready\n"
        try:
            running.wait(where.uniform(0.0, 0.4))
        except subprocess.TimeoutExpired:
            running.send_signal(signal.SIGKILL)
            killed += 1
        running.wait()
        running.stdout.close()
    assert killed
    assert said(audit(full, memory(full))) == said(whole)
