"""The table in docs/performance.md: a row for each bench, replaced when it is measured anew; all else there stays.

Between the two marks everything is written from here. The page is its own record: rows that were not measured now are
read from it and written again.
"""

from __future__ import annotations

import datetime
import importlib.metadata
import os
import platform
import re
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import imageio_ffmpeg

from tests.bench.figures import Figure, number

PAGE = Path(__file__).parents[2] / "docs" / "performance.md"
BEGIN, END = "<!-- written by scripts/bench: change nothing by hand -->", "<!-- up to here -->"
HEAD = ("name", "what", "ours", "peer", "ratio", "goal", "reached", "date", "command")
UNMEASURED = "not measured yet"
_OF_A_DAY = re.compile(r"Machine, (\d{4}-\d{2}-\d{2}): ")
LIBRARIES = ("aiortc", "aioice", "pylibsrtp", "uvloop", "av", "cryptography", "sqlalchemy")
TOOLS = {
    "Chromium": ("chromium", "--version"),
    "Janus": ("janus", "--version"),
    "OpenSSL": ("openssl", "version"),
    "age": ("age", "--version"),
}


@dataclass(slots=True)
class Table:
    """`rows`: cells by name. `seen`: sentences of what else was seen, by name. `machine`: where and with what it was
    measured, a sentence for each machine of each day that a row is of, and the newest versions."""

    rows: dict[str, tuple[str, ...]] = field(default_factory=dict)
    seen: dict[str, tuple[str, ...]] = field(default_factory=dict)
    machine: tuple[str, ...] = ()

    def put(self, figure: Figure, what: str, day: datetime.date) -> None:
        peer, ratio = ("–", "–") if figure.peer is None or figure.ratio is None else _compared(figure)
        unit = f" {figure.unit}" if figure.peer is None else " ×"
        reached = "yes" if figure.reached else "**no**"
        self.rows[figure.name] = (
            f"`{figure.name}`", what, f"{number(figure.ours)} {figure.unit}", peer, ratio,
            f"{figure.sign} {number(figure.goal)}{unit}", reached, day.isoformat(), f"`scripts/bench {figure.name}`",
        )  # fmt: skip
        self.seen[figure.name] = figure.notes

    def put_machine(self, sentence: str, versions: str, day: datetime.date) -> None:
        """Keeps what is said of the days of other rows: figures of two machines do not compare."""
        days = {cells[7] for cells in self.rows.values()}
        said = [f"Machine, {day.isoformat()}: {sentence}", *self.machine]
        kept = [each for each in said if (found := _OF_A_DAY.match(each)) and found[1] in days]
        self.machine = (*sorted(set(kept), reverse=True), versions)


def _compared(figure: Figure) -> tuple[str, str]:
    return f"{number(figure.peer or 0)} {figure.unit}", f"{number(figure.ratio or 0)} ×"


def parse(page: str) -> Table:
    """What the page says now. Raises ValueError where it has not both marks."""
    table = Table()
    name = ""
    for line in _parts(page)[1].splitlines():
        if UNMEASURED in line:
            continue
        if found := re.match(r"\| `(\w+)` \|", line):
            table.rows[found[1]] = tuple(cell.strip() for cell in line.strip().strip("|").split(" | "))
        elif found := re.match(r"### `(\w+)`$", line):
            name = found[1]
        elif line.startswith("- ") and name:
            table.seen[name] = (*table.seen.get(name, ()), line[2:])
        elif line.startswith("- "):
            table.machine = (*table.machine, line[2:])
    return table


def render(page: str, table: Table, benches: Mapping[str, str]) -> str:
    """The page with this table. `benches`: what each measures, in their order; those without a row are told too."""
    blank = len(HEAD) - 4
    rows = {
        name: table.rows.get(name) or (f"`{name}`", what, UNMEASURED, *["–"] * blank, f"`scripts/bench {name}`")
        for name, what in benches.items()
    }
    lines = [f"- {line}" for line in table.machine] + [""] * bool(table.machine)
    lines += [f"| {' | '.join(HEAD)} |", "|" + "---|" * len(HEAD)]
    lines += [f"| {' | '.join(cells)} |" for cells in rows.values()]
    for name in benches:
        if table.seen.get(name):
            lines += ["", f"### `{name}`", "", *(f"- {sentence}" for sentence in table.seen[name])]
    before, _, after = _parts(page)
    return before + "\n\n" + "\n".join(lines) + "\n\n" + after


def _parts(page: str) -> tuple[str, str, str]:
    """Up to the first mark and with it, between the marks, from the second one on."""
    before, begins, rest = page.partition(BEGIN)
    inside, ends, after = rest.partition(END)
    if not begins or not ends:
        raise ValueError("the page has lost its marks")
    return before + begins, inside, ends + after


def machine() -> tuple[str, str]:
    """Machine and versions, for whoever measures again."""
    cpu = re.search(r"^model name\s*: (.+)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    memory = re.search(r"^MemTotal:\s+(\d+) kB", Path("/proc/meminfo").read_text(), re.MULTILINE)
    system = platform.freedesktop_os_release().get("PRETTY_NAME", platform.system())
    gibibytes = int(memory[1]) / 2**20 if memory else 0
    tools = [f"{name} {version}" for name, command in TOOLS.items() if (version := _version(command))]
    libraries = [f"{name} {importlib.metadata.version(name)}" for name in LIBRARIES]
    return (
        f"{os.cpu_count()} × {cpu[1] if cpu else platform.machine()}, {gibibytes:.0f} GiB, "
        f"{system}, Linux {platform.release()}",
        f"Versions: Python {platform.python_version()}, FFmpeg {imageio_ffmpeg.get_ffmpeg_version()}, "
        + ", ".join([*tools, *libraries]),
    )


def _version(command: tuple[str, ...]) -> str | None:
    if shutil.which(command[0]) is None:
        return None
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=10)
    found = re.search(r"\d+(\.\d+)+", done.stdout + done.stderr)
    return found[0] if found else None


def write(figure: Figure, benches: Mapping[str, str], page: Path = PAGE) -> None:
    """Puts one figure into the page. Raises ValueError for a shortened run: it says nothing of the goal."""
    if figure.shortened:
        raise ValueError("a shortened run is not written into the table")
    text = page.read_text()
    table = parse(text)
    today = datetime.datetime.now(datetime.UTC).date()
    table.put(figure, benches[figure.name], today)
    table.put_machine(*machine(), today)
    page.write_text(render(text, table, benches))
