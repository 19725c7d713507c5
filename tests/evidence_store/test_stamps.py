"""The queue of stamps: durable with what it is about, never in anybody's way, and whole after any crash."""

from __future__ import annotations

import json
import re
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import select

from api.stamping import ask_all, new_client
from evidence_store.audit import Audit
from evidence_store.canonical import parse
from evidence_store.custody import Actor, CustodyEvent, Verb
from evidence_store.database.schema import StampRow, StampWantRow
from evidence_store.errors import InvalidInput, NoSpace, OutOfReach, SignatureInvalid, Unavailable
from evidence_store.identifiers import parse_enrolment_id, parse_utc
from evidence_store.stamps import keeper, stamp
from evidence_store.stamps.asking import request
from evidence_store.stamps.keeper import RESTS_NS, Question, Rules, Stamps
from evidence_store.stamps.subjects import Kind, claimed, subject_of
from evidence_store.vault.vault import StoredObject
from tests.house import BEGAN, House, crash, record
from tests.stamping import DAY_NS, MINUTE, ask, obtained, recorded, shift, stamped_house, standing
from tests.time_authority import DAY, Leaf, TimeAuthority

DATA = b"what was there"


@pytest.fixture
def house(tmp_path: Path, authority: TimeAuthority) -> Iterator[House]:
    made = stamped_house(tmp_path / "house", authority)
    yield made
    made.close()


def known(authority: TimeAuthority) -> stamp.TimeAuthority:
    return stamp.authority_from_pem(authority.pem.read_bytes())


def wanted(house: House) -> list[str]:
    with house.store.book.reading() as session:
        return list(session.scalars(select(StampWantRow.name).order_by(StampWantRow.id)))


def only_question(house: House, authority: TimeAuthority) -> Question:
    """The oldest thing that this authority is to be asked."""
    return house.store.stamps.due(known(authority).fingerprint)[0]


# What is to be stamped


def test_what_is_entered_is_queued_with_it_whether_or_not_anybody_stamps(tmp_path: Path) -> None:
    house = House(tmp_path)
    order = house.interview()
    take = record(house, house.spool(), order, ticks=20, began=BEGAN)
    house.deliver(take)
    house.store.sealing.seal(order.interview.hex())
    place = f"takes/{take.enrolment.hex()}/000001"
    assert wanted(house) == [
        f"{place}/start.json", f"{place}/head-000000007", f"{place}/close.json",
        f"interviews/{order.interview.hex()}/manifest-001.json",
    ]  # fmt: skip
    house.store.stamps.tend()
    assert "none: no authority is configured" in overview(house)
    assert standing(house) == []
    house.close()


def overview(house: House) -> str:
    report = Audit(house.store.book, house.store.authority, time_authorities=house.store.stamps.authorities).run()
    return next(each.detail for each in report.findings if each.name == "outside time")


def test_what_is_not_entered_is_not_queued(house: House) -> None:
    class Lost(Exception):  # noqa: N818
        pass

    event = CustodyEvent(Verb.TAKE_STARTED, BEGAN, Actor.recorder("0" * 32), details={"take": 1})  # type: ignore[arg-type]

    def lost() -> None:
        with house.store.book.writing() as entry:
            entry.record(event)
            raise Lost

    with pytest.raises(Lost):
        lost()
    assert wanted(house) == []
    house.store.book.record(event)
    assert wanted(house) == [f"takes/{'0' * 32}/000001/start.json"]


def test_an_event_that_names_nothing_is_refused_before_it_is_entered(house: House) -> None:
    before = house.custody(Verb.TAKE_STARTED)
    with pytest.raises(InvalidInput):
        house.store.book.record(CustodyEvent(Verb.TAKE_STARTED, BEGAN, Actor.store()))
    assert house.custody(Verb.TAKE_STARTED) == before
    assert subject_of(CustodyEvent(Verb.AUDIT_MADE, BEGAN, Actor.store())) is None


def test_a_claimed_time_is_read_or_there_is_none() -> None:
    assert claimed(Kind.MANIFEST, b'{"made":"17"}') == 17
    assert claimed(Kind.HEAD, b'{"utc":"18"}') == 18
    assert claimed(Kind.START, b'{"record":{"clock":{"utc":"19"}}}') == 19
    assert claimed(Kind.CLOSE, b'{"record":{"closed":"20"}}') == 20
    assert claimed(Kind.CHECKPOINT, b"anything") is None
    for data in (b"", b"{}", b'{"made":"x"}', b'{ "made":"17"}', b'{"made":null}'):
        assert claimed(Kind.MANIFEST, data) is None


def test_the_samples_of_the_format_are_what_the_code_makes(house: House) -> None:
    page = (Path(__file__).parents[2] / "docs/formats/stamp.md").read_text()
    head, entered, _ = re.findall(r"^```json\n(.*?)\n```", page, re.MULTILINE)
    said = parse(head.encode())
    details = {name: said[name] for name in ("head", "i", "t", "take")}
    actor = Actor.recorder(parse_enrolment_id(said["enrolment"]))
    subject = subject_of(CustodyEvent(Verb.MINUTE, int(said["utc"]), actor, details=details))
    assert subject is not None
    assert subject.data == head.encode()
    obtained_then = json.loads(entered)
    assert subject.name == obtained_then["about"]
    assert parse_utc(obtained_then["time"]) // 10**9 == int(re.findall(r"-attime (\d+)", page)[0])


async def test_what_custody_says_of_a_stamp_is_what_the_format_says(house: House, authority: TimeAuthority) -> None:
    page = (Path(__file__).parents[2] / "docs/formats/stamp.md").read_text()
    _, entered, _ = re.findall(r"^```json\n(.*?)\n```", page, re.MULTILINE)
    recorded(house, house.interview())
    await ask(house, authority)
    assert [set(each) for each in obtained(house)] == [set(json.loads(entered))] * 5


async def test_the_latest_checkpoint_at_most_once_a_minute_and_none_for_stamps_alone(
    house: House, authority: TimeAuthority
) -> None:
    house.deliver(crash(house, house.spool(), house.interview()))
    await ask(house, authority)
    for minute in range(1, 5):
        shift(house, minute * 61 * 10**9)
        assert await ask(house, authority) == 0, "stamps of stamps of stamps"
    for second in range(0, 50, 10):
        shift(house, 10 * MINUTE + second * 10**9)
        house.store.book.record(CustodyEvent(Verb.AUDIT_MADE, BEGAN, Actor.store()))
        await ask(house, authority)
    sizes = [int(name.rpartition("/")[2]) for name in wanted(house) if name.startswith("ledger/")]
    assert len(sizes) == 2
    shift(house, 12 * MINUTE)
    await ask(house, authority)
    sizes = [int(name.rpartition("/")[2]) for name in wanted(house) if name.startswith("ledger/")]
    assert len(sizes) == 3
    assert sizes == sorted(sizes)


# Crashes and faults


async def test_a_crash_between_vault_and_database_takes_the_stamp_that_is_there(
    house: House, authority: TimeAuthority
) -> None:
    house.deliver(crash(house, house.spool(), house.interview()))
    question = only_question(house, authority)
    response = authority.reply(question.request)
    again = authority.reply(question.request)
    assert response != again, "the authority counts"

    class Crash(Exception):  # noqa: N818
        pass

    def crashing(*_args: object) -> None:
        raise Crash

    stamps = Stamps(house.store.book, [known(authority)], Rules())
    stamps._enter = crashing  # type: ignore[method-assign, assignment]
    with pytest.raises(Crash):
        stamps.answered(question, response, time.time_ns())
    assert len(list(house.store.book.vault.list("stamps/"))) == 2
    assert obtained(house) == []
    # A day later: the same question, another answer; what lies there is entered, and no clock is wrong because of it.
    house.close()
    house.open()
    shift(house, DAY_NS)
    (question,) = [each for each in house.store.stamps.due(known(authority).fingerprint) if each.row == question.row]
    assert house.store.stamps.answered(question, again, house.store.stamps.clock())
    (entered,) = obtained(house)
    assert entered["contradicts"] == []
    assert house.store.book.vault.get(str(entered["object"])) == response
    assert len(list(house.store.book.vault.list("stamps/"))) == 2


async def test_two_processes_that_ask_the_same_enter_one_stamp(house: House, authority: TimeAuthority) -> None:
    house.deliver(crash(house, house.spool(), house.interview()))
    other = Stamps(house.store.book, [known(authority)], Rules())
    mine, theirs = only_question(house, authority), other.due(known(authority).fingerprint)[0]
    assert mine.request == theirs.request
    now = time.time_ns()
    assert other.answered(theirs, authority.reply(theirs.request), now)
    assert house.store.stamps.answered(mine, authority.reply(mine.request), now)
    assert len(obtained(house)) == 1
    assert house.findings() == {}


class FullVault:
    """The house's vault, which takes nothing more."""

    def __init__(self, house: House) -> None:
        self._vault = house.store.book.vault

    def __getattr__(self, name: str) -> object:
        return getattr(self._vault, name)

    def put(self, name: str, data: bytes) -> StoredObject:
        raise NoSpace("full", code="vault-full")


async def test_a_full_vault_keeps_the_question(house: House, authority: TimeAuthority) -> None:
    house.deliver(crash(house, house.spool(), house.interview()))
    vault = house.store.book.vault
    house.store.book.vault = FullVault(house)  # type: ignore[assignment]
    with pytest.raises(NoSpace):
        await ask(house, authority)
    house.store.book.vault = vault
    assert await ask(house, authority) == 3
    assert house.findings() == {}


async def test_a_start_that_is_gone_from_the_vault_keeps_nothing_else_from_being_stamped(
    house: House, authority: TimeAuthority
) -> None:
    take = recorded(house, house.interview())
    path = house.vault / f"takes/{take.enrolment.hex()}/000001/start.json"
    data = path.read_bytes()
    path.unlink()
    assert await ask(house, authority) == 4
    path.write_bytes(data)
    shift(house, RESTS_NS + 10**9)
    assert await ask(house, authority) == 1
    assert house.findings() == {}


async def test_as_many_as_are_asked_for_at_once_may_be_gone_and_what_comes_after_them_is_stamped(
    house: House, authority: TimeAuthority, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keeper, "MOST_AT_ONCE", 1)
    take = recorded(house, house.interview())
    (house.vault / f"takes/{take.enrolment.hex()}/000001/start.json").unlink()
    came = 0
    for _ in range(8):
        came += await ask(house, authority)
    assert came == 4


async def test_a_read_only_ledger_is_asked_nothing(house: House, authority: TimeAuthority) -> None:
    recorded(house, house.interview())
    house.store.book.read_only = True
    assert await ask(house, authority) == 0
    assert authority.asked == []
    with pytest.raises(Unavailable):
        house.store.book.record(CustodyEvent(Verb.AUDIT_MADE, BEGAN, Actor.store()))


async def test_an_authority_that_answers_with_an_error_is_one_that_does_not_answer(
    house: House, authority: TimeAuthority
) -> None:
    recorded(house, house.interview())
    fingerprint = known(authority).fingerprint
    async with new_client() as client:
        for authority.status in (302, 404, 503):
            with pytest.raises(OutOfReach):
                await ask_all(house.store.stamps, client, fingerprint, authority.address)
        with pytest.raises(OutOfReach):
            await ask_all(house.store.stamps, client, fingerprint, "http://127.0.0.1:9/")
    assert len(authority.asked) == 3, "one question each: the others wait for a better moment"
    assert obtained(house) == []


# What an audit finds


@pytest.mark.parametrize("what", ["flipped", "gone", "anothers", "authority_gone"])
async def test_a_touched_stamp_is_found_out(house: House, authority: TimeAuthority, what: str) -> None:
    recorded(house, house.interview())
    await ask(house, authority)
    assert house.findings() == {}
    objects = {str(each["what"]): house.vault / str(each["object"]) for each in obtained(house)}
    path = objects["start"]
    if what == "authority_gone":
        house.store.stamps.authorities.clear()
        path = house.vault / f"stamps/authorities/{known(authority).fingerprint}.pem"
    data = path.read_bytes()
    path.chmod(0o600)
    if what == "anothers":
        path.write_bytes(objects["close"].read_bytes())
    elif what == "flipped":
        path.write_bytes(data[:-3] + bytes([data[-3] ^ 1]) + data[-2:])
    else:
        path.unlink()
    found = " ".join(house.findings().values())
    assert "(object" in found, found


async def test_an_authority_that_left_the_settings_stays_checkable(house: House, authority: TimeAuthority) -> None:
    recorded(house, house.interview())
    await ask(house, authority)
    house.close()
    house.time_authorities = []
    house.open()
    assert house.findings() == {}
    assert "not in the settings" in overview(house)


# Chains


def chain(authority: TimeAuthority, *days: int) -> list[tuple[bytes, stamp.TimeAuthority]]:
    """A stamp and its renewals, each made so many days ago; each certificate lasts ten days from a day before."""
    links: list[tuple[bytes, stamp.TimeAuthority]] = []
    for ago in days:
        authority.renew(Leaf(begins=-(ago + 1) * DAY, ends=-(ago - 9) * DAY))
        authority.behind = ago * DAY
        data = DATA if not links else stamp.renewal(DATA, links[-1][0])
        links.append((authority.reply(request(data).der), known(authority)))
    return links


def test_a_chain_of_stamps_holds_where_each_was_renewed_in_time(tmp_path: Path) -> None:
    authority = TimeAuthority(tmp_path)
    links = chain(authority, 100, 92, 84)
    found = stamp.check_chain(links, DATA)
    assert [round((time.time_ns() - each.time) / DAY_NS) for each in found] == [100, 92, 84]
    for broken in (links[1:], [links[0], links[2]], [links[1], links[0]]):
        with pytest.raises(SignatureInvalid) as refused:
            stamp.check_chain(broken, DATA)
        assert refused.value.code == "stamp-imprint"
    with pytest.raises(SignatureInvalid) as refused:
        stamp.check_chain(links, DATA + b".")
    assert refused.value.code == "stamp-imprint"


@pytest.mark.parametrize("days", [(100, 80), (100, 101)])
def test_a_renewal_that_comes_too_late_or_from_before_renews_nothing(tmp_path: Path, days: tuple[int, int]) -> None:
    with pytest.raises(SignatureInvalid) as refused:
        stamp.check_chain(chain(TimeAuthority(tmp_path), *days), DATA)
    assert refused.value.code == "stamp-renewed-late"


def test_when_a_renewal_is_due() -> None:
    def made(life_days: int) -> int:
        return stamp.renew_at(stamp.Stamp(b"", b"", None, 0, life_days * DAY_NS, 1)) // DAY_NS

    assert made(4000) == 3910
    assert made(40) == 30


def test_an_anchor_is_an_authority_itself(tmp_path: Path) -> None:
    authority = TimeAuthority(tmp_path)
    assert known(authority).name == "Test time authority root"
    for wrong in (b"", b"x", (tmp_path / "signer.pem").read_bytes()):
        with pytest.raises(InvalidInput):
            stamp.authority_from_pem(wrong)
    with pytest.raises(InvalidInput):
        request(b"")


@pytest.mark.parametrize("comes_along", [True, False])
def test_a_signer_below_another_authority_holds_by_what_is_pinned_or_comes_along(
    tmp_path: Path, comes_along: bool
) -> None:
    authority = TimeAuthority(tmp_path)
    root_alone = known(authority)
    authority.below("Test issuing authority")
    asked = request(DATA)
    response = authority.reply(asked.der)
    if comes_along:
        response = authority.signed(authority.info(response), beside="between")
    made = stamp.check(response, DATA, known(authority), asked.nonce)
    assert made.ends == stamp.nanoseconds(authority.signer.not_valid_after_utc)
    if comes_along:
        assert stamp.check(response, DATA, root_alone) == made
    else:
        with pytest.raises(SignatureInvalid, match="no authority that is known"):
            stamp.check(response, DATA, root_alone)
    (tmp_path / "data").write_bytes(DATA)
    (tmp_path / "response").write_bytes(response)
    command = ["openssl", "ts", "-verify", "-data", "data", "-in", "response", "-CAfile", "root.pem"]
    (tmp_path / "root.pem").write_bytes(root_alone.pem)
    subprocess.run([*command, "-untrusted", "authority.pem"], cwd=tmp_path, capture_output=True, check=True)


def test_our_clock_is_held_against_whole_seconds_between_question_and_answer() -> None:
    second = 10**9
    assert stamp.offset(10 * second, 10 * second + 5, 11 * second) == 0
    assert stamp.offset(10 * second, 12 * second, 13 * second) == 2 * second
    assert stamp.offset(20 * second, 12 * second, 13 * second) == -7 * second
    assert stamp.contradicted(0, 61, None, 60) == ["store-clock"]
    assert stamp.contradicted(0, -61, 61, 60) == ["store-clock", "claim"]
    assert stamp.contradicted(0, 60, 60, 60) == []


def test_all_stamp_rows_are_asked_with_their_own_nonce(house: House, authority: TimeAuthority) -> None:
    recorded(house, house.interview())
    asked = house.store.stamps.due(known(authority).fingerprint)
    assert len({each.nonce for each in asked}) == len(asked) == 4
    with house.store.book.reading() as session:
        assert session.query(StampRow).count() == 4
    assert [each.request for each in house.store.stamps.due(known(authority).fingerprint)] == [
        each.request for each in asked
    ]
