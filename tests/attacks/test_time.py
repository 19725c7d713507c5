"""Time: attacks 18 to 21 of docs/attacks.md, against a real authority (`openssl ts`) on loopback."""

from __future__ import annotations

import datetime
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID

from evidence_store.audit import Audit
from evidence_store.custody import Verb
from evidence_store.database.schema import StampRow, StampWantRow
from evidence_store.stamps.asking import request
from evidence_store.stamps.stamp import authority_from_pem, check
from tests.house import House
from tests.stamping import DAY_NS, HOUR, ask, obtained, quiet, recorded, shift, stamped_house, standing
from tests.time_authority import DAY, Leaf, TimeAuthority, certificate


@pytest.fixture
def house(tmp_path: Path, authority: TimeAuthority) -> Iterator[House]:
    made = stamped_house(tmp_path / "house", authority)
    yield made
    made.close()


def about(house: House) -> list[object]:
    return [each["what"] for each in obtained(house)]


# 18: a clock a day off


async def test_18_clocks_that_are_right_contradict_nothing(house: House, authority: TimeAuthority) -> None:
    recorded(house, house.interview())
    await ask(house, authority)
    assert sorted(map(str, about(house))) == ["checkpoint", "close", "head", "manifest", "start"]
    assert [each["contradicts"] for each in obtained(house)] == [[]] * 5
    assert house.findings() == {}
    assert standing(house) == []


@pytest.mark.parametrize("days", [-1, 1])
async def test_18_a_stores_clock_a_day_off_is_flagged(house: House, authority: TimeAuthority, days: int) -> None:
    shift(house, days * DAY_NS)
    recorded(house, house.interview())
    await ask(house, authority)
    for each in obtained(house):
        assert "store-clock" in each["contradicts"]  # type: ignore[operator]
        assert abs(int(str(each["offset_ms"])) * 10**6 - days * DAY_NS) < 60 * 10**9
    assert standing(house) == ["clock-contradicted"] * len({str(each["contradicts"]) for each in obtained(house)})
    assert "(time-contradiction)" in house.findings()["outside time"]
    # The clock is set right: the alarm about it ends, what it was about stays a finding.
    shift(house, 0)
    recorded(house, house.interview())
    await ask(house, authority)
    assert len(standing(house)) == (0 if days < 0 else 1), "manifests of tomorrow go on claiming it"
    assert "(time-contradiction)" in house.findings()["outside time"]


async def test_18_a_recorder_that_claims_tomorrow_is_contradicted(house: House, authority: TimeAuthority) -> None:
    take = recorded(house, house.interview(), began=quiet(time.time_ns() + DAY_NS))
    await ask(house, authority)
    claims = {each["what"]: each["contradicts"] for each in obtained(house)}
    assert claims["start"] == claims["head"] == claims["close"] == ["claim"]
    assert claims["manifest"] == claims["checkpoint"] == []
    found = house.findings()[f"time {take.enrolment.hex()[:8]}-1"]
    assert "after it was stamped (time-contradiction)" in found


async def test_18_a_recorder_that_claims_yesterday_contradicts_a_stamp_that_it_follows(
    house: House, authority: TimeAuthority
) -> None:
    """Also 32: its start bears a checkpoint of today, which covers a stamp of today."""
    recorded(house, house.interview())
    await ask(house, authority)
    assert house.findings() == {}
    take = recorded(house, house.interview(), began=quiet(time.time_ns() - DAY_NS))
    await ask(house, authority)
    found = house.findings()
    assert list(found) == [f"time {take.enrolment.hex()[:8]}-2"]
    assert "before a stamp that it follows (time-contradiction)" in found[f"time {take.enrolment.hex()[:8]}-2"]


# 19: stamps that are none


def flipped(authority: TimeAuthority, asked: bytes) -> bytes:
    response = bytearray(authority.reply(asked))
    response[-5] ^= 1
    return bytes(response)


def of_another_request(authority: TimeAuthority, asked: bytes) -> bytes:
    imprint = asked[asked.index(b"\x04\x20") + 2 :][:32]
    other = request(b"x").der
    at = other.index(b"\x04\x20") + 2
    return authority.reply(other[:at] + imprint + other[at + 32 :])


def over_other_bytes(authority: TimeAuthority, asked: bytes) -> bytes:
    at = asked.index(b"\x04\x20") + 2
    return authority.reply(asked[:at] + bytes(32) + asked[at + 32 :])


def by_leaf(leaf: Leaf, *, own: bool = True) -> Callable[[TimeAuthority, bytes], bytes]:
    def answer(authority: TimeAuthority, asked: bytes) -> bytes:
        key = ec.generate_private_key(ec.SECP256R1())
        root_key = authority.root_key if own else ec.generate_private_key(ec.SECP256R1())
        forged = certificate(f"{authority.name} signer", key.public_key(), authority.root, root_key, leaf)
        authority.keep("forged", forged, key)
        return authority.signed(authority.info(authority.reply(asked)), "forged")

    return answer


def issued_by_a_leaf(authority: TimeAuthority, asked: bytes) -> bytes:
    """The authority's own signer issues another one, and its certificate comes along as if it were an authority."""
    key = ec.generate_private_key(ec.SECP256R1())
    forged = certificate("Another signer", key.public_key(), authority.signer, authority.signer_key, Leaf())
    authority.keep("forged", forged, key)
    return authority.signed(authority.info(authority.reply(asked)), "forged", beside="signer")


TIME = ExtendedKeyUsageOID.TIME_STAMPING
FORGERIES: dict[str, tuple[Callable[[TimeAuthority, bytes], bytes], str]] = {
    "flipped_signature": (flipped, "stamp-signature"),
    "answer_to_another_request": (of_another_request, "stamp-nonce"),
    "over_other_bytes": (over_other_bytes, "stamp-imprint"),
    "ca_leaf": (by_leaf(Leaf(ca=True)), "stamp-signer"),
    "leaf_without_purpose": (by_leaf(Leaf(purposes=[])), "stamp-signer"),
    "leaf_purpose_not_critical": (by_leaf(Leaf(critical=False)), "stamp-signer"),
    "leaf_with_two_purposes": (by_leaf(Leaf(purposes=[TIME, ExtendedKeyUsageOID.CODE_SIGNING])), "stamp-signer"),
    "leaf_of_unknown_authority": (by_leaf(Leaf(), own=False), "stamp-authority"),
    "leaf_issued_by_a_leaf": (issued_by_a_leaf, "stamp-signature"),
    "leaf_not_yet_valid": (by_leaf(Leaf(begins=DAY)), "stamp-signature"),
    "leaf_ended_before": (by_leaf(Leaf(begins=-9 * DAY, ends=-DAY)), "stamp-signature"),
    "bytes_behind_it": (lambda authority, asked: authority.reply(asked) + b"\x00", "stamp-form"),
    "cut_short": (lambda authority, asked: authority.reply(asked)[:-9], "stamp-form"),
    "no_der": (lambda authority, asked: b"stamped, honestly", "stamp-form"),
    "too_large": (lambda authority, asked: bytes(70_000), "stamp-form"),
    "refusal": (lambda authority, asked: bytes.fromhex("30053003020102"), "stamp-refused"),
}


@pytest.mark.parametrize("defect", FORGERIES)
async def test_19_a_forged_stamp_is_refused_and_entered_as_refused(
    house: House, authority: TimeAuthority, defect: str
) -> None:
    answer, code = FORGERIES[defect]
    authority.answer = lambda asked: answer(authority, asked)
    recorded(house, house.interview())
    assert await ask(house, authority) == 0
    assert obtained(house) == []
    assert list(house.store.book.vault.list("stamps/")) == []
    refused = [each.event.details for each in house.custody(Verb.STAMP_REFUSED)]
    assert [each["code"] for each in refused] == [code], "once, however often it comes"
    assert standing(house) == ["stamp-refused"]
    # Nothing is lost by it: the same requests are asked again, and the next good answer ends the alarm.
    authority.answer = authority.reply
    shift(house, 20 * 10**9)
    assert await ask(house, authority) == 5
    assert "stamp-refused" not in standing(house)


async def test_19_openssl_refuses_the_same(authority: TimeAuthority, tmp_path: Path) -> None:
    (tmp_path / "data").write_bytes(b"data")
    own = {"answer_to_another_request", "refusal", "too_large", "no_der", "bytes_behind_it", "cut_short"}
    asked = request(b"data").der
    for defect in sorted(set(FORGERIES) - own):
        assert not openssl_agrees(authority, FORGERIES[defect][0](authority, asked), tmp_path), defect
    assert openssl_agrees(authority, authority.reply(asked), tmp_path)


def openssl_agrees(authority: TimeAuthority, response: bytes, folder: Path, at: int | None = None) -> bool:
    (folder / "response").write_bytes(response)
    command = ["openssl", "ts", "-verify", "-data", "data", "-in", "response", "-CAfile", str(authority.pem)]
    command += [] if at is None else ["-attime", str(at // 10**9)]
    return subprocess.run(command, cwd=folder, capture_output=True, check=False).returncode == 0


# 20: no authority for two hours


async def test_20_an_authority_that_is_gone_for_two_hours_holds_up_nothing_and_its_lag_is_declared(
    house: House, authority: TimeAuthority
) -> None:
    authority.down = True
    recorded(house, house.interview())
    assert await ask(house, authority) == 0
    assert standing(house) == [], "a moment is nothing yet"
    for minutes in range(10, 121, 10):
        shift(house, minutes * HOUR // 60 + HOUR // 120)
        assert await ask(house, authority) == 0
    second = house.interview()
    recorded(house, second)
    assert house.state(second) == "sealed"
    assert standing(house) == ["stamps-late"]
    (late,) = [each.event.details for each in house.custody(Verb.STAMPS_LATE)]
    assert late["authority"] == authority_from_pem(authority.pem.read_bytes()).fingerprint
    assert late["waiting"] >= 5
    assert "without any: 2 close, 2 head, 2 manifest, 2 start" in overview(house)
    # Back again: everything is stamped, oldest first, and the lag is over.
    authority.down = False
    authority.behind = -datetime.timedelta(hours=2)
    assert await ask(house, authority) >= 9
    assert standing(house) == []
    assert len(house.custody(Verb.STAMPS_CAUGHT_UP)) == 1
    assert "nothing is without one" in overview(house)
    assert house.findings() == {}


async def test_20_of_two_authorities_one_that_is_gone_does_not_hold_up_the_other(
    tmp_path: Path, authority: TimeAuthority
) -> None:
    with TimeAuthority(tmp_path / "second", "Second") as second:
        house = stamped_house(tmp_path / "house", authority, second)
        authority.down = True
        recorded(house, house.interview())
        assert await ask(house, authority, second) == 5
        with house.store.book.reading() as session:
            assert session.query(StampWantRow).filter(StampWantRow.settled_at.is_(None)).count() == 5
        authority.down = False
        assert await ask(house, authority, second) >= 5
        with house.store.book.reading() as session:
            assert session.query(StampWantRow).filter(StampWantRow.settled_at.is_(None)).count() == 0
        assert house.findings() == {}
        house.close()


def overview(house: House) -> str:
    return details(house)["outside time"]


# 21: its certificate has run out


def test_21_a_stamp_holds_at_its_time_after_the_certificate_ran_out(tmp_path: Path) -> None:
    authority = TimeAuthority(tmp_path, leaf=Leaf(begins=-400 * DAY, ends=-30 * DAY))
    authority.behind = 100 * DAY
    known, asked = authority_from_pem(authority.pem.read_bytes()), request(b"data")
    response = authority.reply(asked.der)
    stamp = check(response, b"data", known, asked.nonce)
    assert abs(time.time_ns() - 100 * DAY_NS - stamp.time) < 60 * 10**9
    assert stamp.ends < time.time_ns()
    (tmp_path / "data").write_bytes(b"data")
    assert not openssl_agrees(authority, response, tmp_path), "without its time openssl says that it has expired"
    assert openssl_agrees(authority, response, tmp_path, stamp.time)


async def test_21_a_certificate_that_ends_is_flagged_and_renewed_before(house: House, authority: TimeAuthority) -> None:
    authority.renew(Leaf(begins=-300 * DAY, ends=10 * DAY))
    take = recorded(house, house.interview())
    await ask(house, authority)
    name = f"time {take.enrolment.hex()[:8]}-1"
    # Years later, had nobody renewed: they hold at their time, and the audit says that they were not renewed.
    shift(house, 400 * DAY_NS)
    assert house.findings() == {}
    assert "run out since: valid at its time, and was not renewed" in details(house)[name]
    # Nine days later its certificate nears its end. No renewal is asked for while nothing that lasts longer is known.
    shift(house, 9 * DAY_NS)
    authority.behind = -9 * DAY
    house.interview()
    assert await ask(house, authority) == 0
    authority.renew(Leaf())
    recorded(house, house.interview())
    await ask(house, authority)
    await ask(house, authority)
    renewed = sorted(str(each["what"]) for each in obtained(house) if each["number"] == 1)
    assert renewed == ["close", "head", "manifest", "start"]
    assert house.findings() == {}
    shift(house, 20 * DAY_NS)
    assert "run out" not in details(house)[name]
    with house.store.book.reading() as session:
        assert session.query(StampRow).filter(StampRow.obtained_at.is_(None)).count() == 0


def details(house: House) -> dict[str, str]:
    report = Audit(house.store.book, house.store.authority, time_authorities=house.store.stamps.authorities).run()
    return {each.name: each.detail for each in report.findings}


def test_21_the_clock_of_the_authority_is_what_counts(tmp_path: Path) -> None:
    authority = TimeAuthority(tmp_path)
    authority.behind = datetime.timedelta(hours=5)
    asked = request(b"data")
    stamp = check(authority.reply(asked.der), b"data", authority_from_pem(authority.pem.read_bytes()), asked.nonce)
    assert abs(time.time_ns() - 5 * HOUR - stamp.time) < 60 * 10**9
