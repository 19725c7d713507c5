from __future__ import annotations

import pytest

from evidence_store.errors import InvalidInput
from recorder.vp9 import Vp9Depacketiser, begins_key_frame
from recorder.vpx_setup import read_vp9

from .depacketising import LOST, Script, nonsense, play

KEY = bytes.fromhex("824983420013f00b34") + bytes(range(1, 120))  # profile 0, 320 × 180
DELTA = b"\x86" + bytes(range(100))
WHOLE, FIRST, MIDDLE, LAST = b"\x0c", b"\x08", b"\x00", b"\x04"
P_WHOLE = b"\x4c"
# What a browser sends: picture id of 15 bits, layers, not flexible; and a scalability structure before a key frame.
BROWSER_KEY = b"\xae\x81\x23\x00\x05" + b"\x18\x01\x40\x00\xb4\x01\x04\x01"
BROWSER_DELTA = b"\xec\x81\x24\x01\x05"
FLEXIBLE = b"\xdc\x05\x03\x03\x02"
UPPER = b"\xac\x81\x23\x03\x05"  # spatial layer 1 of the same picture


def _index(*sizes: int) -> bytes:
    mark = bytes((0xC0 | len(sizes) - 1,))
    return mark + bytes(sizes) + mark


@pytest.mark.parametrize(
    ("script", "expected"),
    [
        pytest.param([(WHOLE + KEY, 1, 5)], [(KEY, True, True)], id="one_packet"),
        pytest.param([(P_WHOLE + DELTA, 1, 5)], [(DELTA, True, False)], id="delta"),
        pytest.param(
            [(FIRST + KEY[:40], 0, 5), (MIDDLE + KEY[40:80], 0, 5), (LAST + KEY[80:], 1, 5)],
            [(KEY, True, True)],
            id="three_packets",
        ),
        pytest.param(
            [(BROWSER_KEY + KEY, 1, 5), (BROWSER_DELTA + DELTA, 1, 6)],
            [(KEY, True, True), (DELTA, True, False)],
            id="as_a_browser_sends_it",
        ),
        pytest.param([(FLEXIBLE + DELTA, 1, 5)], [(DELTA, True, False)], id="two_references"),
        pytest.param(
            [(BROWSER_KEY + KEY, 0, 5), (UPPER + DELTA, 1, 5)],
            [(KEY + DELTA + _index(len(KEY), len(DELTA)), True, True)],
            id="two_layers_are_one_superframe",
        ),
        # Holes
        pytest.param([LOST, (P_WHOLE + DELTA, 1, 5)], [(DELTA, True, False)], id="its_first_packet_proves_it_whole"),
        pytest.param([LOST, (LAST + DELTA, 1, 5)], [(DELTA, False, False)], id="first_lost"),
        pytest.param([LOST, (UPPER + DELTA, 1, 5)], [(DELTA, False, False)], id="lower_layer_lost"),
        pytest.param([(LAST + KEY, 1, 5)], [(KEY, False, False)], id="joined_in_the_middle"),
        pytest.param(
            [(FIRST + KEY[:40], 0, 5), LOST, (LAST + KEY[80:], 1, 5)],
            [(KEY[:40] + KEY[80:], False, True)],
            id="middle_lost",
        ),
        pytest.param(
            [(FIRST + KEY, 0, 5), (WHOLE + DELTA, 1, 6)],
            [(KEY, False, True), (DELTA, True, False)],
            id="never_ended",
        ),
        pytest.param([(FIRST + KEY, 1, 5)], [(KEY, False, True)], id="marker_before_the_end"),
    ],
)
def test_pictures(script: Script, expected: list[tuple[bytes, bool, bool]]) -> None:
    units = play(script, Vp9Depacketiser())
    assert [(unit.data, unit.complete, unit.key) for unit in units] == expected
    assert [unit.parameter_sets for unit in units] == [(KEY[:16],) if key else () for _, _, key in expected]


@pytest.mark.parametrize(
    "payload",
    [
        pytest.param(b"\x0c", id="nothing_follows"),
        pytest.param(b"\x8c\x81", id="half_a_picture_id"),
        pytest.param(b"\xac\x01\x00", id="layers_without_base_index"),
        pytest.param(b"\x5c\x03\x03\x03", id="references_to_the_end"),
        pytest.param(b"\x0e\xf8\x01\x40", id="structure_cut"),
        pytest.param(b"\x0e\x08\xff\x01", id="groups_over_the_end"),
    ],
)
def test_malformed(payload: bytes) -> None:
    depacketiser = Vp9Depacketiser()
    units = play([(payload, 0, 5), (WHOLE + DELTA, 1, 5), (WHOLE + DELTA, 1, 6)], depacketiser)
    assert depacketiser.counters.malformed == 1
    assert [(unit.data, unit.complete) for unit in units] == [(DELTA, False), (DELTA, True)]


@pytest.mark.parametrize(
    ("header", "codec", "size"),
    [
        pytest.param(KEY[:16], "vp09.00.20.08", (320, 180), id="profile_0"),
        pytest.param(bytes.fromhex("9249834200009ff05a4000"), "vp09.02.40.10", None, id="profile_2_of_10_bits"),
    ],
)
def test_what_a_key_frame_says(header: bytes, codec: str, size: tuple[int, int] | None) -> None:
    setup = read_vp9(header)
    assert setup.codec.startswith(codec[:7])
    assert setup.codec[-2:] == codec[-2:]
    assert size is None or (setup.codec, setup.width, setup.height) == (codec, *size)


@pytest.mark.parametrize(
    "header",
    [b"", b"\x82", DELTA, b"\x82abc" + KEY[4:], b"\x02" + KEY[1:], KEY[:8], KEY[:4] + b"\x0f\xff\xff" + KEY[7:]],
)
def test_what_is_no_key_frame(header: bytes) -> None:
    with pytest.raises(InvalidInput):
        read_vp9(header)


@pytest.mark.parametrize(
    ("payload", "begins"),
    [
        (WHOLE + KEY, True),
        (BROWSER_KEY + KEY, True),
        (FIRST + KEY, True),
        (P_WHOLE + KEY, False),
        (LAST + KEY, False),
        (WHOLE + DELTA, False),
        (UPPER + KEY, False),
        (b"\x0c", False),
        (b"", False),
    ],
)
def test_where_a_key_frame_begins(payload: bytes, begins: bool) -> None:
    assert begins_key_frame(payload) is begins


def test_no_payload_raises() -> None:
    seeds = [BROWSER_KEY + KEY, BROWSER_DELTA + DELTA, FLEXIBLE + DELTA, FIRST + KEY, LAST, UPPER + DELTA]
    nonsense(Vp9Depacketiser(max_unit=10_000), seeds, begins_key_frame, 11_000)
