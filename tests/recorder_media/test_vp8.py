from __future__ import annotations

from random import Random

import pytest

from evidence_store.errors import InvalidInput
from recorder.depacketise import AccessUnit
from recorder.vp8 import Vp8Depacketiser, begins_key_frame, parse_key_header
from recorder.vpx_setup import read_vp8

KEY = b"\x10\x02\x00\x9d\x01\x2a\x80\x02\x68\x01" + bytes(range(200))
DELTA = b"\x31\x02\x00" + bytes(range(100))
FIRST, LATER = b"\x10", b"\x00"
# X, then I with 15 bits, L, T and K; and N, R set: what a browser may send.
FULL, FULL_LATER = b"\xf0\xf0\x81\x23\x05\x60", b"\xe0\xf0\x81\x23\x05\x60"
LOST = None
Script = list[tuple[bytes, int, int] | None]


def _run(script: Script, depacketiser: Vp8Depacketiser | None = None) -> list[AccessUnit]:
    depacketiser = depacketiser or Vp8Depacketiser()
    units = []
    for number, step in enumerate(script):
        if step is None:
            depacketiser.lost()
        else:
            payload, marker, timestamp = step
            units += depacketiser.push(payload, bool(marker), timestamp, number, 1000 + number)
    return units


@pytest.mark.parametrize(
    ("script", "expected"),
    [
        pytest.param([(FIRST + KEY, 1, 5)], [(KEY, True, True)], id="one_packet"),
        pytest.param([(FIRST + DELTA, 1, 5)], [(DELTA, True, False)], id="delta"),
        pytest.param(
            [(FULL + KEY[:90], 0, 5), (FULL_LATER + KEY[90:], 1, 5)], [(KEY, True, True)], id="longest_descriptor"
        ),
        pytest.param([(b"\x90\x80\x05" + DELTA, 1, 5)], [(DELTA, True, False)], id="short_picture_id"),
        pytest.param([(b"\x90\x20\x40" + DELTA, 1, 5)], [(DELTA, True, False)], id="temporal_layer_alone"),
        pytest.param(
            [(FIRST + KEY[:4], 0, 5), (LATER + KEY[4:], 1, 5)], [(KEY, True, True)], id="header_in_two_packets"
        ),
        pytest.param(
            [(FIRST + KEY[:90], 0, 5), (b"\x11" + KEY[90:], 1, 5)], [(KEY, True, True)], id="second_partition_begins"
        ),
        pytest.param(
            [(FIRST + KEY, 0, 5), (FIRST + DELTA, 1, 6)], [(KEY, True, True), (DELTA, True, False)], id="no_marker"
        ),
        # Holes
        pytest.param([LOST, (FIRST + DELTA, 1, 5)], [(DELTA, True, False)], id="its_first_packet_proves_it_whole"),
        pytest.param([LOST, (LATER + DELTA, 1, 5)], [(DELTA, False, False)], id="first_lost"),
        pytest.param([(LATER + KEY, 1, 5)], [(KEY, False, False)], id="joined_in_the_middle"),
        pytest.param(
            [(FIRST + KEY[:50], 0, 5), LOST, (LATER + KEY[90:], 1, 5)],
            [(KEY[:50] + KEY[90:], False, True)],
            id="middle_lost",
        ),
        pytest.param(
            [(FIRST + KEY, 0, 5), LOST, (FIRST + DELTA, 1, 6)],
            [(KEY, False, True), (DELTA, True, False)],
            id="end_perhaps_lost",
        ),
        pytest.param(
            [(FIRST + KEY, 0, 5), (FIRST + DELTA, 1, 5)], [(KEY + DELTA, False, True)], id="two_frames_in_one"
        ),
    ],
)
def test_frames(script: Script, expected: list[tuple[bytes, bool, bool]]) -> None:
    units = _run(script)
    assert [(unit.data, unit.complete, unit.key) for unit in units] == expected
    assert [unit.parameter_sets for unit in units] == [(KEY[:10],) if key else () for _, _, key in expected]


@pytest.mark.parametrize(
    "payload", [b"\x10", b"\x90", b"\x90\x80", b"\x90\x80\x80\x01", b"\x90\xf0\x81\x23\x05\x60", b"\x90\x40\x05"]
)
def test_malformed(payload: bytes) -> None:
    depacketiser = Vp8Depacketiser()
    units = _run([(payload, 0, 5), (FIRST + DELTA, 1, 5), (FIRST + DELTA, 1, 6)], depacketiser)
    assert depacketiser.counters.malformed == 1
    assert [(unit.data, unit.complete) for unit in units] == [(DELTA, False), (DELTA, True)]


def test_the_size_is_in_the_key_frame() -> None:
    assert parse_key_header(KEY) == (0, 640, 360)
    setup = read_vp8(KEY[:10])
    assert (setup.codec, setup.width, setup.height) == ("vp08.00.30.08", 640, 360)
    for bad in (KEY[:9], DELTA, KEY[:3] + b"abc" + KEY[6:], KEY[:6] + bytes(4), b"\x1e" + KEY[1:]):
        with pytest.raises(InvalidInput):
            read_vp8(bad)


@pytest.mark.parametrize(
    ("payload", "begins"),
    [
        (FIRST + KEY, True),
        (FULL + KEY, True),
        (FIRST + DELTA, False),
        (LATER + KEY, False),
        (b"\x11" + KEY, False),
        (b"\x10", False),
        (b"", False),
    ],
)
def test_where_a_key_frame_begins(payload: bytes, begins: bool) -> None:
    assert begins_key_frame(payload) is begins


def test_no_payload_raises() -> None:
    random = Random(2)  # noqa: S311
    depacketiser = Vp8Depacketiser(max_unit=10_000)
    for number in range(20_000):
        payload = bytearray(random.choice((FIRST + KEY, FULL + DELTA, FULL_LATER))[: random.randrange(1, 30)])
        payload[random.randrange(len(payload))] = random.randrange(256)
        begins_key_frame(bytes(payload))
        if random.random() < 0.05:
            depacketiser.lost()
        for unit in depacketiser.push(bytes(payload), random.random() < 0.3, number // 4, number, number):
            assert len(unit.data) <= 10_000
