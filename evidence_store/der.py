"""A strict reader of DER (ITU-T X.690): what a signature and a time stamp are made of. Pure.

One value has one encoding here: lengths are definite and as short as they can be, nothing lies behind a value, and
sets are in their order. Anything else is refused, so that no two readers can read the same bytes in two ways.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import Final

from evidence_store.errors import InvalidInput

BOOLEAN: Final = 0x01
INTEGER: Final = 0x02
OCTETS: Final = 0x04
NULL: Final = 0x05
OID: Final = 0x06
_ARC_BITS: Final = 128
"""The largest arcs there are: UUIDs (X.667). A larger one costs more to write down than all else in a token."""
TIME: Final = 0x18
"""GeneralizedTime."""
SEQUENCE: Final = 0x30
SET: Final = 0x31


@dataclass(frozen=True, slots=True)
class Element:
    """`whole`: tag, length and `content`, as they lay."""

    tag: int
    content: bytes
    whole: bytes


class Reader:
    """The elements of a content, one after the other."""

    def __init__(self, content: bytes) -> None:
        self._content, self._at = content, 0

    def __bool__(self) -> bool:
        return self._at < len(self._content)

    def next(self) -> Element:
        """Raises InvalidInput `der-form`."""
        data, at = self._content, self._at
        if len(data) - at < 2 or data[at] & 0x1F == 0x1F:
            raise form("ends early, or has a tag that is not used here")
        length, begins = data[at + 1], at + 2
        if length >= 0x80:
            count = length - 0x80
            octets = data[begins : begins + count]
            length, begins = int.from_bytes(octets, "big"), begins + count
            if not 1 <= count <= 4 or len(octets) != count or octets[0] == 0 or length < 0x80:
                raise form("a length that is not the shortest")
        ends = begins + length
        if ends > len(data):
            raise form("ends early")
        self._at = ends
        return Element(data[at], data[begins:ends], data[at:ends])

    def take(self, tag: int) -> Element:
        """The next element, of this tag. Raises InvalidInput `der-form`."""
        found = self.next()
        if found.tag != tag:
            raise form(f"tag {found.tag:#04x} where {tag:#04x} belongs")
        return found

    def optional(self, tag: int) -> Element | None:
        if not self or self._content[self._at] != tag:
            return None
        return self.next()

    def end(self) -> None:
        if self:
            raise form("something lies behind the value")


def one(data: bytes, tag: int) -> Reader:
    """Reads what is in the one element that `data` is. Raises InvalidInput `der-form`."""
    outer = Reader(data)
    found = outer.take(tag)
    outer.end()
    return Reader(found.content)


def elements(content: bytes) -> list[Element]:
    """Every element of a content, in order."""
    reader, found = Reader(content), []
    while reader:
        found.append(reader.next())
    return found


def set_of(content: bytes) -> list[Element]:
    """The elements of a SET OF, which stand in the order of their bytes (X.690, 11.6)."""
    found = elements(content)
    if any(after.whole < before.whole for before, after in itertools.pairwise(found)):
        raise form("a set that is out of order")
    return found


def integer(element: Element) -> int:
    content = element.content
    if element.tag != INTEGER or not content:
        raise form("no integer")
    if len(content) > 1 and (content[0], content[1] >> 7) in ((0x00, 0), (0xFF, 1)):
        raise form("an integer that is not the shortest")
    return int.from_bytes(content, "big", signed=True)


def oid(element: Element) -> str:
    """An object identifier in its dotted form."""
    content = element.content
    if element.tag != OID or not content or content[-1] >= 0x80:
        raise form("no object identifier")
    numbers, value, fresh = [], 0, True
    for octet in content:
        if fresh and octet == 0x80:
            raise form("an object identifier that is not the shortest")
        value, fresh = value << 7 | octet & 0x7F, octet < 0x80
        if value >> _ARC_BITS:
            raise form("an object identifier with an arc that nobody was given")
        if fresh:
            numbers.append(value)
            value = 0
    first = min(numbers[0] // 40, 2)
    return ".".join(map(str, (first, numbers[0] - 40 * first, *numbers[1:])))


def algorithm(element: Element) -> str:
    """The object identifier of an AlgorithmIdentifier without parameters, or with NULL (RFC 5280, 4.1.1.2)."""
    if element.tag != SEQUENCE:
        raise form("no algorithm")
    reader = Reader(element.content)
    name = oid(reader.take(OID))
    empty = reader.optional(NULL)
    reader.end()
    if empty is not None and empty.content:
        raise form("no algorithm")
    return name


def form(what: str) -> InvalidInput:
    return InvalidInput(f"not DER as it is expected: {what}", code="der-form")
