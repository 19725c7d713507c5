"""What things are called: cases, interviews, enrolments, takes, and moments.

Pure. Everything here is parsed once, at the edge, and is well-formed from then on.

A case number reveals the offence. It is an attribute of an interview, never a key: it stays out of URLs, file
names, logs and statistics, and its `repr` says nothing. A CPR number is refused wherever text is taken.
"""

from __future__ import annotations

import re
import secrets
import unicodedata
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final, NamedTuple, NewType

from evidence_store.errors import InvalidInput

InterviewId = NewType("InterviewId", str)
"""32 lower-case hexadecimal digits: a random (version 4) UUID without hyphens. Says nothing about the case."""

EnrolmentId = NewType("EnrolmentId", str)
"""32 lower-case hexadecimal digits: 16 random bytes, one for each disk that a room node has ever had."""

TakeNumber = NewType("TakeNumber", int)
"""1, 2, 3 … within one enrolment, without holes: a missing number is an alarm."""

MAX_TAKE_NUMBER: Final = 2**32 - 1
NANOSECONDS: Final = 1_000_000_000

_CASE_NUMBER = re.compile(r"[0-9]{4}-[0-9]{5}-[0-9]{5}-[0-9]{2}")
_HEX_16_BYTES = re.compile(r"[0-9a-f]{32}")
_UUID_4 = re.compile(r"[0-9a-f]{12}4[0-9a-f]{3}[89ab][0-9a-f]{15}")
_UTC_TEXT = re.compile(r"([0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2})\.([0-9]{9})Z")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_SECOND = timedelta(seconds=1)
_LAST_SECOND = int((datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC) - _EPOCH).total_seconds())

# Standing alone: a digit or letter on either side means a longer number, a hash or an id, not a CPR number.
_CPR = re.compile(
    r"(?<![0-9A-Za-z])([0-9]{2})[ ./-]?([0-9]{2})[ ./-]?([0-9]{2}) ?[ ./-]? ?[0-9]{4}(?![0-9A-Za-z])",
)
_DASHES = str.maketrans(dict.fromkeys("‐‑‒–—―−﹘﹣－", "-"))
_DAYS_IN_MONTH = (31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31)
# Replacement numbers (erstatningspersonnumre) add 60 to the day.
_REPLACEMENT_DAY = 60


@dataclass(frozen=True, slots=True, repr=False)
class CaseNumber:
    """A journalnummer: district – offence code – running number – year, as in 0100-83986-00001-17.

    Build it with `CaseNumber.parse`; the constructor takes only what is already in the right form.
    """

    text: str

    def __post_init__(self) -> None:
        if not _CASE_NUMBER.fullmatch(self.text):
            raise InvalidInput("a case number has the form dddd-ddddd-ddddd-dd", code="case-number-form")

    @classmethod
    def parse(cls, text: str) -> CaseNumber:
        """Takes what a person typed, spaces anywhere. Raises InvalidInput `cpr-number` or `case-number-form`."""
        refuse_cpr(text)
        return cls("".join(text.split()))

    def __str__(self) -> str:
        return self.text

    def __repr__(self) -> str:
        return "CaseNumber(…)"


def refuse_cpr(text: str) -> None:
    """Raises InvalidInput `cpr-number` if the text holds what may be a CPR number; the message never repeats it.

    Counts as one: ddmmyy and four digits, with or without a hyphen, space, dot or slash between any of the pairs,
    when the date can exist (or can after taking 60 off the day, as in replacement numbers). Invisible characters
    and the many dashes of Unicode make no difference. Rather refuses too much: the person can write it otherwise,
    while a number that has once reached the ledger cannot be taken out without leaving a hole.
    """
    visible = "".join(c for c in unicodedata.normalize("NFKC", text) if unicodedata.category(c) != "Cf")
    # Overlapping matches count: "12 010170-1234" hides the number behind another pair of digits.
    plain = re.sub(r"\s", " ", visible.translate(_DASHES))
    for start in range(len(plain)):
        match = _CPR.match(plain, start)
        if match and _is_date(int(match[1]), int(match[2])):
            raise InvalidInput("the text seems to hold a CPR number", code="cpr-number")


def _is_date(day: int, month: int) -> bool:
    if not 1 <= month <= 12:
        return False
    days = _DAYS_IN_MONTH[month - 1]
    return 1 <= day <= days or 1 <= day - _REPLACEMENT_DAY <= days


def new_interview_id() -> InterviewId:
    """A random id (RFC 9562, version 4)."""
    value = bytearray(secrets.token_bytes(16))
    value[6] = value[6] & 0x0F | 0x40
    value[8] = value[8] & 0x3F | 0x80
    return InterviewId(value.hex())


def parse_interview_id(text: str) -> InterviewId:
    """Raises InvalidInput `interview-id-form`."""
    if not _UUID_4.fullmatch(text):
        raise InvalidInput("an interview id is a version 4 UUID in 32 hexadecimal digits", code="interview-id-form")
    return InterviewId(text)


def new_enrolment_id() -> EnrolmentId:
    return EnrolmentId(secrets.token_hex(16))


def parse_enrolment_id(text: str) -> EnrolmentId:
    """Raises InvalidInput `enrolment-id-form`."""
    if not _HEX_16_BYTES.fullmatch(text):
        raise InvalidInput("an enrolment id is 32 hexadecimal digits", code="enrolment-id-form")
    return EnrolmentId(text)


def take_number(value: int) -> TakeNumber:
    """Raises InvalidInput `take-number-form` outside 1 … 2³² − 1."""
    if not 1 <= value <= MAX_TAKE_NUMBER:
        raise InvalidInput("a take number counts from 1", code="take-number-form")
    return TakeNumber(value)


class TakeId(NamedTuple):
    """Which take: the n-th of one enrolment."""

    enrolment: EnrolmentId
    n: TakeNumber

    def __str__(self) -> str:
        return f"{self.enrolment}/{self.n}"

    @classmethod
    def parse(cls, text: str) -> TakeId:
        """The inverse of `str`: parses strictly, so that one take has one name."""
        enrolment, _, number = text.partition("/")
        if not re.fullmatch(r"[1-9][0-9]{0,9}", number):
            raise InvalidInput("a take is named enrolment/n", code="take-number-form")
        return cls(parse_enrolment_id(enrolment), take_number(int(number)))


def utc_text(ns: int) -> str:
    """A moment (nanoseconds since 1970, UTC) as RFC 3339 with nine decimals: 2026-11-22T08:15:00.000000000Z.

    Always the same length, so that texts sort as moments do. Raises InvalidInput `time-form` outside 1970 – 9999.
    """
    seconds, fraction = divmod(ns, NANOSECONDS)
    if not 0 <= seconds <= _LAST_SECOND:
        raise InvalidInput("a moment lies between 1970 and 9999", code="time-form")
    return f"{(_EPOCH + timedelta(seconds=seconds)).isoformat()[:19]}.{fraction:09d}Z"


def parse_utc(text: str) -> int:
    """The inverse of `utc_text`, to the nanosecond. Raises InvalidInput `time-form` for any other form."""
    match = _UTC_TEXT.fullmatch(text)
    if match is None:
        raise InvalidInput("a moment has the form yyyy-mm-ddThh:mm:ss.nnnnnnnnnZ", code="time-form")
    try:
        moment = datetime.fromisoformat(match[1]).replace(tzinfo=UTC)
    except ValueError as error:
        raise InvalidInput("no such date or time", code="time-form") from error
    ns = (moment - _EPOCH) // _SECOND * NANOSECONDS + int(match[2])
    if ns < 0:
        raise InvalidInput("a moment lies between 1970 and 9999", code="time-form")
    return ns
