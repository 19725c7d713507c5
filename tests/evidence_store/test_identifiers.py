from __future__ import annotations

import pytest

from evidence_store.errors import InvalidInput
from evidence_store.identifiers import (
    CaseNumber,
    TakeId,
    new_enrolment_id,
    new_interview_id,
    parse_enrolment_id,
    parse_interview_id,
    parse_utc,
    refuse_cpr,
    take_number,
    utc_text,
)

CASE = "0100-83986-00001-17"


@pytest.mark.parametrize("typed", [CASE, f"  {CASE}\n", "0100 - 83986 - 00001 - 17", "0100-83986-00001-17\u00a0"])
def test_case_number_as_people_type_it(typed: str) -> None:
    assert CaseNumber.parse(typed).text == CASE


@pytest.mark.parametrize(
    "typed",
    [
        "",
        "0100-83986-00001",
        "0100-83986-00001-177",
        "0100-83986-0001-17",
        "010083986-00001-17",
        "0100-83986-00001-1a",
        "०१००-83986-00001-17",
        "0100–83986–00001–17",
        f"{CASE}-{CASE}",
    ],
)
def test_case_number_of_the_wrong_form(typed: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        CaseNumber.parse(typed)
    assert refused.value.code == "case-number-form"


def test_case_number_stays_out_of_logs_and_tracebacks() -> None:
    number = CaseNumber.parse(CASE)
    assert CASE not in repr(number)
    assert CASE not in repr([number])
    assert str(number) == CASE


CPR_NUMBERS = [
    "010170-1234",
    "0101701234",
    "010170 1234",
    "01 01 70 1234",
    "01-01-70-1234",
    "01.01.70-1234",
    "01/01/70 1234",
    "010170 - 1234",
    "010170–1234",
    "010170‑1234",
    "010170−1234",
    "０１０１７０-１２３４",
    "010\u200b170-1234",
    "010170\u00ad-1234",
    "010170\u00a01234",
    "010170\t1234",
    "290220-1234",
    "310199-4321",
    "610170-1234",
    "910170-1234",
    "Barnet (010170-1234) er",
    "cpr:010170-1234.",
    "12 010170-1234",
    "010170-1234-5",
]
HARMLESS = [
    "",
    CASE,
    "Afhøring den 22. november 2026 kl. 14.30",
    "320170-1234",
    "011370-1234",
    "300200-1234",
    "920170-1234",
    "000170-1234",
    "010170-123",
    "010170-12345",
    "1010170-1234",
    "+45 12 34 56 78",
    "2026-11-22T02:28:01.123456789Z",
    "2026-11-22 14:30",
    "1732242481123456789",
    "a0101701234",
    "0101701234abcdef0101701234abcdef",
    "192.168.12.10:5004",
]


@pytest.mark.parametrize("text", CPR_NUMBERS)
def test_cpr_number_is_refused_and_never_repeated(text: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        refuse_cpr(text)
    assert refused.value.code == "cpr-number"
    assert not any(c.isdigit() for c in str(refused.value))


@pytest.mark.parametrize("text", HARMLESS)
def test_text_without_a_cpr_number_passes(text: str) -> None:
    refuse_cpr(text)


def test_cpr_number_in_the_case_number_field_is_named_as_such() -> None:
    with pytest.raises(InvalidInput) as refused:
        CaseNumber.parse("010170-1234")
    assert refused.value.code == "cpr-number"


def test_interview_ids() -> None:
    made = {new_interview_id() for _ in range(100)}
    assert len(made) == 100
    assert all(parse_interview_id(i) == i for i in made)
    for wrong in ("", "g" * 32, next(iter(made)).upper() + "0", "0" * 32, next(iter(made))[:-1]):
        with pytest.raises(InvalidInput):
            parse_interview_id(wrong)


def test_enrolment_ids() -> None:
    made = new_enrolment_id()
    assert parse_enrolment_id(made) == made
    for wrong in (made[:-1], made + "0", "A" * 32, f"{made}\n"):
        with pytest.raises(InvalidInput):
            parse_enrolment_id(wrong)


def test_take_has_one_name() -> None:
    take = TakeId(new_enrolment_id(), take_number(7))
    assert TakeId.parse(str(take)) == take
    for wrong in (f"{take.enrolment}/07", f"{take.enrolment}/0", f"{take.enrolment}/", "7", f"{take.enrolment}/7\n"):
        with pytest.raises(InvalidInput):
            TakeId.parse(wrong)
    for number in (0, -1, 2**32):
        with pytest.raises(InvalidInput):
            take_number(number)


@pytest.mark.parametrize(
    ("ns", "text"),
    [
        (0, "1970-01-01T00:00:00.000000000Z"),
        (1, "1970-01-01T00:00:00.000000001Z"),
        (1_795_314_481_123_456_789, "2026-11-22T02:28:01.123456789Z"),
        (253_402_300_799_999_999_999, "9999-12-31T23:59:59.999999999Z"),
    ],
)
def test_moments_keep_every_nanosecond(ns: int, text: str) -> None:
    assert utc_text(ns) == text
    assert parse_utc(text) == ns


@pytest.mark.parametrize(
    "text",
    [
        "2026-11-22T02:28:01Z",
        "2026-11-22T02:28:01.123Z",
        "2026-11-22T02:28:01.123456789+00:00",
        "2026-02-30T00:00:00.000000000Z",
        "2026-11-22T24:00:00.000000000Z",
        "2026-11-22T02:28:60.000000000Z",
        "1969-12-31T23:59:59.000000000Z",
        "2026-11-22 02:28:01.123456789Z",
        "",
    ],
)
def test_moments_in_another_form_are_refused(text: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        parse_utc(text)
    assert refused.value.code == "time-form"


@pytest.mark.parametrize("ns", [-1, 253_402_300_800_000_000_000])
def test_moments_out_of_range_are_refused(ns: int) -> None:
    with pytest.raises(InvalidInput):
        utc_text(ns)
