"""Time stamps in a package, by a real authority: what both checkers say of them, and of what was done to them."""

from __future__ import annotations

import dataclasses
import datetime
import hashlib
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from evidence_store.canonical import canonical
from evidence_store.copies.package import prepare
from evidence_store.copies.source import CopySource
from evidence_store.copies.verify import Anchors, Report, verify
from evidence_store.custody import Actor, CustodyEvent, Verb
from evidence_store.identifiers import CaseNumber, utc_text
from evidence_store.sealing.check import check_start
from evidence_store.stamps.asking import request
from evidence_store.stamps.carried import Chain, Collected
from evidence_store.stamps.stamp import authority_from_pem, renewal
from evidence_store.stamps.subjects import Kind
from evidence_store.verifying.grade import Grade, facts_of, grade
from tests.copies.conftest import (
    BEGAN,
    CASE,
    INTERVIEW_ID,
    SOUND,
    Script,
    Store,
    custody,
    events,
    sealing_of,
    source_of,
)
from tests.copies.films import audio
from tests.copies.test_verify import failed, flip, resign
from tests.time_authority import DAY, Leaf, TimeAuthority

Bytes = Callable[[bytes], bytes]


@dataclass
class Stamped:
    """A package with stamps. Its authority's certificate has run out, but for that of the renewals."""

    store: Store
    authority: TimeAuthority
    folder: Path
    bag: Path

    @property
    def clock(self) -> str:
        return authority_from_pem(self.authority.pem.read_bytes()).fingerprint


def head_of(source: CopySource, bag_walk: tuple[int, bytes, int]) -> tuple[str, bytes]:
    tick, head, utc = bag_walk
    take = source.takes[0]
    record = {
        "enrolment": take.enrolment.hex(), "head": head.hex(), "i": tick // 8, "t": tick, "take": take.number,
        "type": "vidne/head/1", "utc": str(utc),
    }  # fmt: skip
    return f"takes/{take.enrolment.hex()}/{take.number:06d}/head-{tick:09d}", canonical(record)


def unpacked(source: CopySource, folder: Path) -> Path:
    with prepare(source, scratch=folder) as prepared:
        for file in prepared.files:
            path = folder / "bag" / file.path
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(b"".join(file.read()))
    return folder / "bag"


def walked(source: CopySource) -> tuple[int, bytes, int]:
    """Tick 7 of the first take: its head and UTC, from the segment itself."""
    from evidence_store.sealing.check import Chain as Journal

    take = source.takes[0]
    assert take.start is not None
    journal = Journal(check_start(take.start, source.certificates.root))
    _, ticks = journal.check_segment(take.read_segment(0))
    return ticks[-1].record["t"], journal.head, int(ticks[-1].record["utc"])


def stamped(
    store: Store,
    recipient: str,
    authority: TimeAuthority,
    folder: Path,
    *,
    after: float = 30.0,
    renewed: bool = True,
    headed: Bytes = bytes,
) -> Path:
    """A package whose every part was stamped `after` seconds, and the manifest's stamp renewed half a day later.
    `headed` changes the head before it is stamped."""
    source = source_of(store, [Script(1, {2: audio(3)}, [SOUND])], recipient)
    take = source.takes[0]
    place = f"takes/{take.enrolment.hex()}/{take.number:06d}"
    head_name, head = head_of(source, walked(source))
    assert take.start is not None
    things: list[tuple[Kind, str, bytes, bool]] = [
        (Kind.START, f"{place}/start.json", take.start, False),
        (Kind.HEAD, head_name, headed(head), True),
        (Kind.CLOSE, f"{place}/close.json", take.close, False),
        (Kind.MANIFEST, f"interviews/{INTERVIEW_ID}/manifest-001.json", source.manifest.data, False),
    ]
    known = authority_from_pem(authority.pem.read_bytes())
    now = datetime.datetime.now(datetime.UTC)
    then = datetime.datetime.fromtimestamp(BEGAN / 1e9 + after, datetime.UTC)
    authority.renew(Leaf(begins=then - now - DAY, ends=then - now + DAY))
    authority.behind = now - then
    first = {name: authority.reply(request(data).der) for _, name, data, _ in things}
    links: dict[str, tuple[tuple[str, bytes], ...]] = {
        name: ((known.fingerprint, response),) for name, response in first.items()
    }
    if renewed:
        authority.renew(Leaf(begins=then - now, ends=300 * DAY))
        authority.behind = now - then - DAY / 2
        name, data = things[-1][1], things[-1][2]
        again = authority.reply(request(renewal(data, first[name])).der)
        links[name] = (*links[name], (known.fingerprint, again))
    chains = [
        Chain(kind, name, data if keep else None, known.fingerprint, links[name]) for kind, name, data, keep in things
    ]
    bodies = [
        *events(),
        sealing_of(source.manifest.data),
        *(entered(chain.name, response) for chain in chains for _, response in chain.links),
    ]
    entries, note = custody(store, bodies)
    whole = dataclasses.replace(
        source,
        stamps=Collected(tuple(chains), {known.fingerprint: known.pem}), custody=entries, checkpoint=note,
    )  # fmt: skip
    return unpacked(whole, folder)


def entered(name: str, response: bytes) -> bytes:
    details: dict[str, Any] = {"about": name, "stamp": hashlib.sha256(response).hexdigest()}
    return CustodyEvent(
        Verb.STAMP_OBTAINED, BEGAN, Actor.store(), INTERVIEW_ID, CaseNumber(CASE), details=details
    ).body()


@pytest.fixture(scope="module")
def whole(store: Store, recipient: tuple[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Stamped:
    folder = tmp_path_factory.mktemp("stamped")
    authority = TimeAuthority(folder / "authority", "Invented authority")
    return Stamped(store, authority, folder, stamped(store, recipient[0], authority, folder))


@pytest.fixture
def made(whole: Stamped, tmp_path: Path) -> Stamped:
    """One to spoil."""
    subprocess.run(["cp", "-r", whole.bag, tmp_path / "bag"], check=True)
    return dataclasses.replace(whole, bag=tmp_path / "bag")


def ours(made: Stamped, *clocks: str) -> Report:
    return verify(made.bag, Anchors(made.store.fingerprint, time_authorities=clocks))


def shell(made: Stamped, clocks: str | None = None) -> tuple[int, str]:
    environment = {"PATH": "/usr/bin:/bin", **({} if clocks is None else {"AUTHORITIES": clocks})}
    done = subprocess.run(
        ["sh", made.bag / "verify.sh", made.store.fingerprint],
        capture_output=True, text=True, timeout=60, env=environment,
    )  # fmt: skip
    assert not done.stderr, done.stderr
    return done.returncode, done.stdout


def test_21_both_hold_long_after_the_authoritys_certificate_ran_out(whole: Stamped) -> None:
    report = ours(whole, whole.clock)
    assert report.ok, failed(report)
    assert report.clocks == []
    assert report.dated_by == [whole.clock]
    assert utc_text(report.sealed_at or 0).startswith("2026-11-18T11:07:")
    assert grade(facts_of(report, given=True)) is Grade.DATED
    said = next(each.detail for each in report.checks if each.name == "time")
    assert "5 stamps" in said
    assert "manifest.json existed at 2026-11-18T11:07:" in said
    code, words = shell(whole, whole.clock.upper())
    assert code == 0, words
    assert words.count("fandtes 2026-11-18T11:07:") == 3
    assert "fandtes 2026-11-18T23:07:" in words, "the renewal"
    assert "tidsstemplingstjenesten er den opgivne: CN=Invented authority root" in words
    assert "OK    1 tidsstempler på minutter" in words


def test_without_the_authoritys_fingerprint_it_is_said_that_its_clock_is_anybodys(whole: Stamped) -> None:
    report = ours(whole)
    assert report.ok
    assert report.clocks == [whole.clock]
    assert report.dated_by == []
    assert grade(facts_of(report, given=True)) is Grade.SIGNED
    assert "NOT GIVEN FROM OUTSIDE" in next(each.detail for each in report.checks if each.name == "time")
    code, words = shell(whole)
    assert code == 0
    assert "IKKE  tidsstemplingstjenesten er ikke opgivet udefra" in words


def test_another_authoritys_fingerprint(whole: Stamped) -> None:
    assert "no stamp is of an authority that was given" in failed(ours(whole, "0" * 64))["time"]
    code, words = shell(whole, "0" * 64)
    assert code == 1
    assert "ingen tidsstempler fra de opgivne" in words


def test_a_package_without_stamps_says_so(store: Store, recipient: tuple[str, Path], tmp_path: Path) -> None:
    bag = unpacked(source_of(store, [Script(1, {2: audio(2)}, [SOUND])], recipient[0]), tmp_path)
    report = verify(bag, Anchors(store.fingerprint))
    assert report.ok
    assert next(each.detail for each in report.checks if each.name == "time").startswith("no outside time")
    assert "time" in failed(verify(bag, Anchors(store.fingerprint, time_authorities=("0" * 64,))))


# With the store's own keys everything is signed anew: what stays is what the store cannot make.


def stamp(bag: Path, kind: str, number: int = 0) -> Path:
    (found,) = (bag / "evidence/stamps").glob(f"{kind}*.{number}.tsr")
    return found


def drop(bag: Path) -> None:
    path = stamp(bag, "start")
    path.unlink()
    listed = bag / "evidence/stamps/stamps.txt"
    rows = [row for row in listed.read_text().splitlines(keepends=True) if path.name not in row]
    listed.write_text("".join(rows))


def swap(bag: Path) -> None:
    one, two = stamp(bag, "start"), stamp(bag, "close")
    first, second = one.read_bytes(), two.read_bytes()
    one.write_bytes(second)
    two.write_bytes(first)


def move_head(bag: Path) -> None:
    (head,) = (bag / "evidence/stamps").glob("head-*.json")
    head.write_bytes(head.read_bytes().replace(b'"t":7', b'"t":6'))


def drop_first_link(bag: Path) -> None:
    listed = bag / "evidence/stamps/stamps.txt"
    rows = listed.read_text().splitlines(keepends=True)
    stamp(bag, "manifest").unlink()
    listed.write_text("".join(row for row in rows if not row.startswith(f"evidence/stamps/{stamp_name(bag)}.0")))


def stamp_name(bag: Path) -> str:
    return stamp(bag, "manifest", 1).name.removesuffix(".1.tsr")


@pytest.mark.parametrize(
    ("defect", "script_too"),
    [
        (lambda bag: flip(stamp(bag, "start"), stamp(bag, "start").stat().st_size - 5), True),
        (lambda bag: flip(stamp(bag, "manifest", 1), stamp(bag, "manifest", 1).stat().st_size - 5), True),
        (swap, True),
        (move_head, True),
        (drop_first_link, True),
        (drop, False),
        (lambda bag: (bag / "evidence/stamps/extra.tsr").write_bytes(b"x"), False),
    ],
    ids=["flipped", "renewal_flipped", "swapped", "head_moved", "renewal_of_nothing", "left_out", "too_many"],
)
def test_spoilt_stamps_in_a_package_that_the_store_signed_anew(
    made: Stamped, defect: Callable[[Path], object], script_too: bool
) -> None:
    defect(made.bag)
    resign(made.bag, made.store.store_key, [made.store.store, made.store.root])
    assert "time" in failed(ours(made, made.clock))
    code, words = shell(made, made.clock)
    assert code == (1 if script_too else 0), words


def test_18_what_claims_to_be_from_a_day_after_its_stamp_contradicts_it(
    store: Store, recipient: tuple[str, Path], tmp_path: Path
) -> None:
    """Claimed times against outside time, in the package alone."""
    authority = TimeAuthority(tmp_path / "authority")
    bag = stamped(store, recipient[0], authority, tmp_path, after=-24 * 3600.0, renewed=False)
    found = failed(verify(bag, Anchors(store.fingerprint)))
    assert set(found) == {"time"}
    assert "start.json claims a time 864" in found["time"]


@pytest.mark.parametrize("change", [(b'"utc":"17', b'"utc":"16'), (b'"head":"', b'"head":"00'), (b"head/1", b"head/2")])
def test_a_head_that_the_store_had_stamped_and_no_recorder_signed(
    store: Store, recipient: tuple[str, Path], tmp_path: Path, change: tuple[bytes, bytes]
) -> None:
    """The stamp holds, and over these very bytes: they are not the journal's."""
    authority = TimeAuthority(tmp_path / "authority")
    bag = stamped(store, recipient[0], authority, tmp_path, renewed=False, headed=lambda data: data.replace(*change, 1))
    found = failed(verify(bag, Anchors(store.fingerprint)))
    assert set(found) == {"time"}
    assert "is not the journal's" in found["time"]
