from __future__ import annotations

import pytest

from recorder.depacketise import AccessUnit
from recorder.opus import OpusDepacketiser, opus_ticks


@pytest.mark.parametrize(
    ("packet", "ticks"),
    [
        pytest.param(b"\xf8\xff\xfe", 960, id="celt_20_ms"),
        pytest.param(b"\xe0a", 120, id="celt_2_5_ms"),
        pytest.param(b"\x18a", 2880, id="silk_60_ms"),
        pytest.param(b"\x78a", 960, id="hybrid_20_ms"),
        pytest.param(b"\xf9ab", 1920, id="two_equal"),
        pytest.param(b"\xfa\x01ab", 1920, id="two_unequal"),
        pytest.param(b"\xfb\x06abc", 5760, id="six"),
        pytest.param(b"\xf8", 960, id="dtx"),
        pytest.param(b"\xfb\x07abc", None, id="over_120_ms"),
        pytest.param(b"\xfb\x00", None, id="no_frames"),
        pytest.param(b"\xfb", None, id="code_3_without_count"),
        pytest.param(b"\xfa", None, id="code_2_without_size"),
        pytest.param(b"\xf9a" + b"a", 1920, id="code_1_even"),
        pytest.param(b"\xf9a", None, id="code_1_of_unequal_halves"),
        pytest.param(b"", None, id="empty"),
    ],
)
def test_opus_length(packet: bytes, ticks: int | None) -> None:
    assert opus_ticks(packet) == ticks
    depacketiser = OpusDepacketiser()
    units = depacketiser.push(packet, False, 7, 1, 5)
    assert [unit.data for unit in units] == ([packet] if ticks else [])
    assert depacketiser.counters.malformed == (ticks is None and packet != b"")


def test_opus_goes_on_after_a_hole_with_whole_packets() -> None:
    depacketiser = OpusDepacketiser()
    depacketiser.lost()
    (unit,) = depacketiser.push(b"\xf8\xff\xfe", True, 2**32 - 1, 9, 5)
    assert unit == AccessUnit(2**32 - 1, b"\xf8\xff\xfe", key=True, complete=True, arrival_ns=5, packets=1)
    assert depacketiser.flush() == []
