"""A figure's row is replaced, all else of the page stays as it is."""

from __future__ import annotations

import datetime
from pathlib import Path

import pytest

from tests.bench.__main__ import WHAT
from tests.bench.figures import Figure
from tests.bench.table import BEGIN, END, PAGE, Table, machine, parse, render, write

DAY = datetime.date(2026, 11, 22)
BENCHES = {"seal": "sealing", "eye": "the eye"}
EMPTY = f"# Performance\n\nWords.\n\n{BEGIN}\n{END}\n\nMore words.\n"
SEAL = Figure("seal", "MiB/s", 600.0, 300.0, "higher", 1.5, 7)
EYE = Figure("eye", "ms", 113.4, None, "lower", 150, 3, notes=("p99 113 ms", "two cameras"))


def test_rows_are_told_with_and_without_a_peer() -> None:
    table = Table()
    table.put(SEAL, "sealing", DAY)
    table.put(EYE, "the eye", DAY)
    lines = render(EMPTY, table, BENCHES).splitlines()
    row = "| `seal` | sealing | 600 MiB/s | 300 MiB/s | 2 × | ≥ 1.5 × | yes | 2026-11-22 | `scripts/bench seal` |"
    assert row in lines
    assert "| `eye` | the eye | 113 ms | – | – | ≤ 150 ms | yes | 2026-11-22 | `scripts/bench eye` |" in lines
    assert lines[lines.index("### `eye`") + 2 :][:2] == ["- p99 113 ms", "- two cameras"]


def test_what_was_not_measured_now_is_kept_and_what_never_was_is_told(tmp_path: Path) -> None:
    page = tmp_path / "performance.md"
    page.write_text(EMPTY)
    write(EYE, BENCHES, page)
    assert "| `seal` | sealing | not measured yet |" in page.read_text()
    write(SEAL, BENCHES, page)
    write(Figure("eye", "ms", 200.0, None, "lower", 150, 3, notes=("slow",)), BENCHES, page)
    text = page.read_text()
    assert text.startswith("# Performance\n\nWords.\n")
    assert text.endswith("More words.\n")
    found = parse(text)
    assert [cells[6] for cells in found.rows.values()] == ["yes", "**no**"]
    assert found.seen == {"eye": ("slow",)}
    sentence, versions = machine()
    today = datetime.datetime.now(datetime.UTC).date().isoformat()
    assert found.machine == (f"Machine, {today}: {sentence}", versions)
    assert render(text, found, BENCHES) == text


def test_rows_of_another_machine_keep_saying_so() -> None:
    table = Table()
    table.put(SEAL, "sealing", DAY)
    table.put_machine("one core", "old versions", DAY)
    for day in (1, 2):
        later = DAY + datetime.timedelta(days=day)
        table.put(EYE, "the eye", later)
        table.put_machine(f"{day + 1} cores", "versions", later)
    text = render(EMPTY, table, BENCHES)
    assert parse(text).machine == ("Machine, 2026-11-24: 3 cores", "Machine, 2026-11-22: one core", "versions")


def test_a_shortened_run_and_a_page_without_marks_are_refused(tmp_path: Path) -> None:
    page = tmp_path / "performance.md"
    page.write_text("# Performance\n")
    with pytest.raises(ValueError, match="shortened"):
        write(Figure("eye", "ms", 1.0, None, "lower", 150, 1, shortened=True), BENCHES, page)
    with pytest.raises(ValueError, match="marks"):
        write(EYE, BENCHES, page)


def test_every_row_of_the_page_is_of_a_bench_that_there_is() -> None:
    assert set(parse(PAGE.read_text()).rows) <= set(WHAT)
