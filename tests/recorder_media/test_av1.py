from __future__ import annotations

from random import Random

import pytest

from evidence_store.errors import InvalidInput
from recorder.av1 import Av1Depacketiser, begins_key_frame, leb128, read_leb128
from recorder.av1_setup import read_av1

from .depacketising import LOST, Script, nonsense, play
from .payloads import split_obus

Z, Y, N = 0x80, 0x40, 0x08
SEQUENCE = bytes.fromhex("08000000043cfeccdaf90040")  # libaom's, 320 × 180
KEY = b"\x30\x10" + bytes(range(150))
DELTA = b"\x30\x30" + bytes(range(90))
LAYER = b"\x34\x08\x30" + bytes(range(40))  # with an extension
DELIMITER = b"\x10"


def payload(flags: int, *elements: bytes, count: bool = True) -> bytes:
    """`count`: with W, by which the last element needs no size."""
    if not count:
        return bytes((flags,)) + b"".join(leb128(len(each)) + each for each in elements)
    sized = b"".join(leb128(len(each)) + each for each in elements[:-1])
    return bytes((flags | len(elements) << 4,)) + sized + elements[-1]


def sized(*obus: bytes) -> bytes:
    """As a file holds them."""
    return b"".join(
        bytes((obu[0] | 2,)) + obu[1 : 1 + bool(obu[0] & 4)] + leb128(len(obu) - 1 - bool(obu[0] & 4))
        + obu[1 + bool(obu[0] & 4) :]
        for obu in obus
    )  # fmt: skip


FIRST = payload(N, SEQUENCE, KEY)


@pytest.mark.parametrize(
    ("script", "expected"),
    [
        pytest.param([(FIRST, 1, 5)], [(sized(SEQUENCE, KEY), True, True)], id="one_packet"),
        pytest.param(
            [(payload(N, SEQUENCE, KEY, count=False), 1, 5)], [(sized(SEQUENCE, KEY), True, True)], id="all_sized"
        ),
        pytest.param([(payload(0, DELTA), 1, 5)], [(sized(DELTA), True, False)], id="delta"),
        pytest.param([(payload(0, DELTA, LAYER), 1, 5)], [(sized(DELTA, LAYER), True, False)], id="two_layers"),
        pytest.param(
            [
                (payload(N | Y, SEQUENCE, KEY[:50]), 0, 5),
                (payload(Z | Y, KEY[50:90]), 0, 5),
                (payload(Z, KEY[90:]), 1, 5),
            ],
            [(sized(SEQUENCE, KEY), True, True)],
            id="three_fragments",
        ),
        pytest.param(
            [(payload(Y, DELTA[:1]), 0, 5), (payload(Z, DELTA[1:], LAYER), 1, 5)],
            [(sized(DELTA, LAYER), True, False)],
            id="cut_after_its_header",
        ),
        pytest.param([(payload(0, sized(DELTA)), 1, 5)], [(sized(DELTA), True, False)], id="sent_with_its_size"),
        pytest.param(
            [(payload(0, DELIMITER, DELTA), 1, 5)], [(sized(DELIMITER, DELTA), True, False)], id="delimiter_is_kept"
        ),
        pytest.param([(payload(0, KEY), 1, 5)], [(sized(KEY), True, False)], id="no_sequence_header_no_beginning"),
        pytest.param(
            [(FIRST, 0, 5), (payload(0, DELTA), 1, 6)],
            [(sized(SEQUENCE, KEY), True, True), (sized(DELTA), True, False)],
            id="no_marker",
        ),
        # Holes
        pytest.param([LOST, (FIRST, 1, 5)], [(sized(SEQUENCE, KEY), True, True)], id="a_new_sequence_is_whole"),
        pytest.param(
            [LOST, (payload(0, DELIMITER, DELTA), 1, 5)],
            [(sized(DELIMITER, DELTA), True, False)],
            id="a_delimiter_proves_it_whole",
        ),
        pytest.param([LOST, (payload(0, DELTA), 1, 5)], [(sized(DELTA), False, False)], id="perhaps_not_its_first"),
        pytest.param(
            [LOST, (payload(Z, DELTA[40:], LAYER), 1, 5)],
            [(b"\x7a" + leb128(len(DELTA) - 40) + DELTA[40:] + sized(LAYER), False, False)],
            id="beginning_lost_is_kept_in_padding",
        ),
        pytest.param(
            [(payload(N | Y, SEQUENCE, KEY[:50]), 0, 5), LOST, (payload(Z, KEY[90:]), 1, 5)],
            [(sized(SEQUENCE, KEY[:50] + KEY[90:]), False, True)],
            id="middle_lost",
        ),
        pytest.param(
            [(payload(Y, DELTA[:50]), 0, 5), LOST, (payload(0, LAYER), 1, 5)],
            [(sized(DELTA[:50], LAYER), False, False)],
            id="end_of_an_obu_lost",
        ),
        pytest.param(
            [(payload(Y, DELTA[:50]), 1, 5), (FIRST, 1, 6)],
            [(sized(DELTA[:50]), False, False), (sized(SEQUENCE, KEY), True, True)],
            id="marker_before_the_end",
        ),
        pytest.param(
            [(payload(Z, DELTA), 1, 5)], [(b"\x7a" + leb128(len(DELTA)) + DELTA, False, False)], id="never_begun"
        ),
    ],
)
def test_temporal_units(script: Script, expected: list[tuple[bytes, bool, bool]]) -> None:
    units = play(script, Av1Depacketiser())
    assert [(unit.data, unit.complete, unit.key) for unit in units] == expected
    for unit in units:
        split_obus(unit.data)
        assert unit.parameter_sets == ((sized(SEQUENCE),) if sized(SEQUENCE) in unit.data else ())


@pytest.mark.parametrize(
    "bad",
    [
        pytest.param(b"\x10", id="no_element"),
        pytest.param(b"\x20\x05ab", id="size_over_the_end"),
        pytest.param(b"\x30\x01a", id="fewer_elements_than_said"),
        pytest.param(b"\x00\xff\xff\xff\xff\xff\x01", id="endless_size"),
        pytest.param(b"\x00\x80", id="half_a_size"),
        pytest.param(payload(Z | N, DELTA), id="a_sequence_that_continues"),
    ],
)
def test_malformed(bad: bytes) -> None:
    depacketiser = Av1Depacketiser()
    units = play([(bad, 0, 5), (payload(0, DELTA), 1, 5), (payload(0, DELTA), 1, 6)], depacketiser)
    assert depacketiser.counters.malformed == 1
    assert [(unit.data, unit.complete) for unit in units] == [(sized(DELTA), False), (sized(DELTA), True)]


@pytest.mark.parametrize("bad", [b"\x32\x05ab", b"\x32\xff", b"\x34", b"\x36"], ids=["size", "no_end", "short", "both"])
def test_an_obu_that_contradicts_itself_is_kept_in_padding(bad: bytes) -> None:
    (unit,) = play([(payload(0, bad), 1, 5)], Av1Depacketiser())
    assert (unit.data, unit.complete) == (b"\x7a" + leb128(len(bad)) + bad, False)


def test_cut_anywhere_it_is_the_same() -> None:
    random = Random(3)  # noqa: S311
    obus = [SEQUENCE, KEY, LAYER, DELTA]
    for _ in range(300):
        script: list[tuple[bytes, int, int]] = []
        pieces: list[bytes] = []
        flags = 0
        for obu in obus:
            rest = obu
            while len(rest) > 1 and random.random() < 0.6:
                at = random.randrange(1, len(rest))
                pieces.append(rest[:at])
                script.append((payload(flags | Y, *pieces, count=len(pieces) < 4), 0, 5))
                pieces, rest, flags = [], rest[at:], Z
            pieces.append(rest)
            if random.random() < 0.4:
                script.append((payload(flags, *pieces, count=len(pieces) < 4), 0, 5))
                pieces, flags = [], 0
        if pieces:
            script.append((payload(flags, *pieces, count=len(pieces) < 4), 0, 5))
        script[-1] = (script[-1][0], 1, 5)
        (unit,) = play(script, Av1Depacketiser())
        assert (unit.data, unit.complete, unit.key) == (sized(*obus), True, True)


def test_sequence_header() -> None:
    setup = read_av1(sized(SEQUENCE))
    assert (setup.codec, setup.width, setup.height) == ("av01.0.00M.08", 320, 180)
    random = Random(4)  # noqa: S311
    for bad in (b"", SEQUENCE, sized(SEQUENCE)[:5], sized(KEY), sized(SEQUENCE) + b"\0"):
        with pytest.raises(InvalidInput):
            read_av1(bad)
    for _ in range(3000):
        altered = bytearray(sized(SEQUENCE))
        altered[random.randrange(2, len(altered))] = random.randrange(256)
        try:
            setup = read_av1(bytes(altered))
        except InvalidInput:
            continue
        assert 0 < setup.width <= 0xFFFF


@pytest.mark.parametrize("value", [0, 1, 127, 128, 300, 2**31, 2**32 - 1])
def test_numbers_read_back(value: int) -> None:
    assert read_leb128(leb128(value), 0) == (value, len(leb128(value)))


def test_where_a_key_frame_begins() -> None:
    assert begins_key_frame(FIRST)
    assert not any(map(begins_key_frame, (b"", payload(0, DELTA), payload(Z | N, KEY))))


def test_no_payload_raises() -> None:
    seeds = [FIRST, payload(Y, DELTA), payload(Z | Y, DELTA), payload(Z, DELTA, LAYER), payload(0, sized(KEY), LAYER)]
    nonsense(Av1Depacketiser(max_unit=10_000), seeds, begins_key_frame, 40_000)
