from __future__ import annotations

import math

import pytest

from hardware.picture_clock import CELLS, STRIP, age, find_tones, picture_clock_cells, read_picture_clock


def picture(cells: bytes, width: int, height: int) -> bytes:
    """A grey picture with the cells along its top edge."""
    row = bytes(cells[column * CELLS // width] for column in range(width))
    strip = height // STRIP
    return row * strip + bytes([128]) * (width * (height - strip))


@pytest.mark.parametrize(("width", "height"), [(640, 360), (1920, 1080), (320, 180)])
@pytest.mark.parametrize("index", [0, 1, 299, 0x5555, 0xAAAA, 65_535])
def test_what_is_written_is_read(index: int, width: int, height: int) -> None:
    assert read_picture_clock(picture(picture_clock_cells(index), width, height), width, height) == index


def test_any_single_wrong_cell_is_noticed() -> None:
    for index in (0, 77, 299):
        cells = picture_clock_cells(index)
        for cell in range(CELLS):
            wrong = bytearray(cells)
            wrong[cell] = 251 - wrong[cell]
            assert read_picture_clock(picture(bytes(wrong), 640, 360), 640, 360) is None


def test_a_picture_without_a_clock_gives_none() -> None:
    assert read_picture_clock(bytes(640 * 360), 640, 360) is None
    assert read_picture_clock(bytes([235]) * (640 * 360), 640, 360) is None


def test_rows_may_be_padded() -> None:
    rows = picture(picture_clock_cells(123), 640, 360)
    padded = b"".join(rows[row * 640 : row * 640 + 640] + bytes(64) for row in range(360))
    assert read_picture_clock(padded, 640, 360, stride=704) == 123


@pytest.mark.parametrize("index", [-1, 65_536])
def test_an_index_has_sixteen_bits(index: int) -> None:
    with pytest.raises(ValueError, match="65535"):
        picture_clock_cells(index)


@pytest.mark.parametrize(
    ("index", "seen_at", "expected"),
    [
        (0, 1_000_000_000.0, 0.0),
        (30, 1_000_000_001.12, 0.12),
        (299, 1_000_000_010.0, 1 / 30),
        (0, 999_999_999.98, -0.02),
    ],
)
def test_age_is_the_time_since_the_frames_instant(index: int, seen_at: float, expected: float) -> None:
    assert age(index, seen_at, rate=30, seconds=10) == pytest.approx(expected, abs=1e-6)


def test_tones_are_found_by_their_own_frequency_only() -> None:
    samples = [0] * 96_000
    for start, frequency in ((24_000, 1000), (60_000, 1500)):
        for n in range(1_920):
            samples[start + n] = round(12_000 * math.sin(2 * math.pi * frequency * n / 48_000))
    assert find_tones(samples, 1000) == [0.5]
    assert find_tones(samples, 1500) == [1.25]
    assert find_tones([0] * 4_800, 1000) == []
