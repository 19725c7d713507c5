"""A time stamp response as RFC 3161 (2.4.2) lays it out, read strictly. Pure; what holds of it is asked in stamp.py."""

from __future__ import annotations

import datetime
import re
from dataclasses import dataclass
from typing import Final

from evidence_store import der, signed_data
from evidence_store.errors import InvalidInput, SignatureInvalid

TST_INFO: Final = "1.2.840.113549.1.9.16.1.4"
MAX_RESPONSE: Final = 64 * 1024
_GRANTED: Final = 0
_TIME = re.compile(rb"([0-9]{14})(?:\.([0-9]{0,8}[1-9]))?Z")


@dataclass(frozen=True, slots=True)
class Token:
    """`info`: the TSTInfo that is signed (DER), of which the rest is told: `hash_algorithm` (object identifier) and
    `imprint`, `time` in nanoseconds UTC."""

    signed: signed_data.SignedData
    info: bytes
    hash_algorithm: str
    imprint: bytes
    serial: int
    time: int
    nonce: int | None


def parse(response: bytes) -> Token:
    """Raises SignatureInvalid `stamp-form` for anything that is no TimeStampResp or has something behind it,
    `stamp-refused` where it grants nothing."""
    if len(response) > MAX_RESPONSE:
        raise SignatureInvalid("a time stamp is not that large", code="stamp-form")
    try:
        body = der.one(response, der.SEQUENCE)
        status = der.integer(der.Reader(body.take(der.SEQUENCE).content).take(der.INTEGER))
        if status != _GRANTED:
            raise SignatureInvalid(f"the authority gave no stamp (status {status})", code="stamp-refused")
        signed = signed_data.parse(body.take(der.SEQUENCE).whole)
        body.end()
        if signed.content_type != TST_INFO or signed.content is None:
            raise der.form("no TSTInfo")
        return _info(signed, signed.content)
    except (InvalidInput, ValueError) as error:
        raise SignatureInvalid("not a time stamp", code="stamp-form") from error


def _info(signed: signed_data.SignedData, data: bytes) -> Token:
    reader = der.one(data, der.SEQUENCE)
    if der.integer(reader.take(der.INTEGER)) != 1:
        raise der.form("a TSTInfo of another version")
    der.oid(reader.take(der.OID))
    imprint = der.Reader(reader.take(der.SEQUENCE).content)
    algorithm, hashed = der.algorithm(imprint.take(der.SEQUENCE)), imprint.take(der.OCTETS).content
    imprint.end()
    serial, time = der.integer(reader.take(der.INTEGER)), _time(reader.take(der.TIME).content)
    reader.optional(der.SEQUENCE)  # accuracy
    ordering = reader.optional(der.BOOLEAN)
    if ordering is not None and ordering.content != b"\xff":
        raise der.form("a default that is written out")
    number = reader.optional(der.INTEGER)
    reader.optional(0xA0)  # the authority's name, which nobody vouches for
    extensions = reader.optional(0xA1)
    reader.end()
    if extensions is not None and any(_critical(each) for each in der.elements(extensions.content)):
        raise der.form("a critical extension that is not known")
    return Token(signed, data, algorithm, hashed, serial, time, None if number is None else der.integer(number))


def _critical(extension: der.Element) -> bool:
    reader = der.one(extension.whole, der.SEQUENCE)
    reader.take(der.OID)
    return reader.optional(der.BOOLEAN) is not None


def _time(content: bytes) -> int:
    """GeneralizedTime as DER has it (RFC 3161, 2.4.2): in UTC, with seconds, a fraction only where there is one."""
    match = _TIME.fullmatch(content)
    if match is None:
        raise der.form("a time of another form")
    moment = datetime.datetime.strptime(match[1].decode("ascii"), "%Y%m%d%H%M%S").replace(tzinfo=datetime.UTC)
    since = moment - datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC)
    return (since.days * 86_400 + since.seconds) * 10**9 + int((match[2] or b"0").ljust(9, b"0"))
