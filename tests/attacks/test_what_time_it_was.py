"""Attacks on time, against a real authority (`openssl ts`) on loopback. Each in more depth: test_time.py."""

from __future__ import annotations

import datetime
import time

from sqlalchemy import update

from api.settings import TimeAuthoritySetting
from evidence_store.audit import Audit
from evidence_store.custody import Verb
from evidence_store.database.schema import StampWantRow
from evidence_store.stamps.asking import request
from evidence_store.stamps.stamp import authority_from_pem, check
from tests.attacks.defence import refused
from tests.attacks.place import Place, expect
from tests.attacks.test_time import FORGERIES
from tests.house import House
from tests.stamping import DAY_NS, HOUR, ask, obtained, quiet, recorded, shift
from tests.time_authority import DAY, Leaf, TimeAuthority


def stamped(place: Place) -> tuple[House, TimeAuthority]:
    """The house, which has its stamps from an authority that is as it should be."""
    authority, house = place.authority(), place.house
    authority.renew(Leaf())
    authority.behind, authority.down, authority.answer = datetime.timedelta(0), False, authority.reply
    house.time_authorities = [TimeAuthoritySetting(address=authority.address, certificate=authority.pem)]
    place.reopen()
    with house.store.book.database.writing() as session:
        # Of what was recorded before, one start is enough to have stamped.
        session.execute(
            update(StampWantRow).where(StampWantRow.name.not_like("%/000001/start.json")).values(settled_at=1)
        )
    return house, authority


async def test_18_clock_a_day_off(place: Place) -> None:
    """The recorder's, which is claimed and signed by it; then the store's own."""
    house, authority = stamped(place)
    take = recorded(house, house.interview(), began=quiet(time.time_ns() + DAY_NS))
    await ask(house, authority)
    claims = {str(each["about"]): each["contradicts"] for each in obtained(house)}
    assert claims[f"takes/{take.enrolment.hex()}/{take.take:06d}/start.json"] == ["claim"]
    assert any("after it was stamped (time-contradiction)" in each for each in house.findings().values())
    shift(house, DAY_NS)
    recorded(house, house.interview())
    await ask(house, authority)
    offsets = [int(str(each["offset_ms"])) for each in obtained(house) if "store-clock" in each["contradicts"]]  # type: ignore[operator]
    assert offsets
    expect(all(abs(each * 10**6 - DAY_NS) < 60 * 10**9 for each in offsets), "they say by how much")
    assert "clock-contradicted" in place.alarms()


async def test_19_forged_time_stamp_wrong_nonce_ca_leaf(place: Place) -> None:
    house, authority = stamped(place)
    known, asked = authority_from_pem(authority.pem.read_bytes()), request(b"data")
    for defect in ("ca_leaf", "flipped_signature", "answer_to_another_request", "over_other_bytes"):
        answer, code = FORGERIES[defect]
        forged = answer(authority, asked.der)
        refused(lambda forged=forged: check(forged, b"data", known, asked.nonce), code)  # type: ignore[misc]
    authority.answer = lambda asked: FORGERIES["ca_leaf"][0](authority, asked)
    await ask(house, authority)
    assert obtained(house) == []
    assert [each.event.details["code"] for each in house.custody(Verb.STAMP_REFUSED)] == ["stamp-signer"]
    assert "stamp-refused" in place.alarms()


async def test_20_time_stamp_authority_gone_for_2_h(place: Place) -> None:
    house, authority = stamped(place)
    authority.down = True
    order = house.interview()
    recorded(house, order)
    assert await ask(house, authority) == 0
    shift(house, 2 * HOUR)
    await ask(house, authority)
    assert "stamps-late" in place.alarms()
    assert len(house.custody(Verb.STAMPS_LATE)) == 1
    assert house.state(order) == "sealed"


async def test_21_its_certificate_expired(place: Place) -> None:
    house, authority = stamped(place)
    authority.renew(Leaf(begins=-300 * DAY, ends=10 * DAY))
    await ask(house, authority)
    shift(house, 400 * DAY_NS)
    expect(house.findings() == {}, "they hold at their time")
    assert any("run out since: valid at its time, and was not renewed" in each for each in details(house))
    shift(house, 9 * DAY_NS)
    authority.behind = -9 * DAY
    authority.renew(Leaf())
    recorded(house, house.interview())
    await ask(house, authority)
    await ask(house, authority)
    assert "start" in {each["what"] for each in obtained(house) if each["number"] == 1}, "it is stamped again"


def details(house: House) -> list[str]:
    report = Audit(house.store.book, house.store.authority, time_authorities=house.store.stamps.authorities).run()
    return [each.detail for each in report.findings]
