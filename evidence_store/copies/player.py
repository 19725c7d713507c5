"""Asks a player, where somebody names one, whether it reads every film of a package to its end.

Of what was recorded it is asked about the file alone: its boxes, its times, its samples. A picture of which packets
were lost is in there as what came of it (docs/formats/tick.md), and a decoder may find fault with that: it is declared,
and no defect. The viewing copy was made whole, and is looked into as players do.
"""

from __future__ import annotations

import subprocess
from typing import Any, Final

from evidence_store.copies.bag import Bag
from evidence_store.copies.layout import VIEWING
from evidence_store.errors import ChainBroken

_BY_ITSELF: Final = ("-nofind_stream_info", "-fflags", "+nofillin+noparse")
"""FFmpeg's options (ffmpeg-formats(1), `fflags`): nothing is decoded or parsed to learn more than the file says."""


def check_player(bag: Bag, player: str) -> str:
    """`player`: an ffmpeg. Films go to it through a pipe. Raises ChainBroken for one that it does not read."""
    films = [path for path in bag.paths() if path.startswith("data/") and path.endswith((".mp4", ".webm"))]
    for path in films:
        alone = () if path == VIEWING else _BY_ITSELF
        form = "mov" if path.endswith(".mp4") else "matroska"
        read = [player, "-nostdin", "-v", "error", *alone, "-f", form, "-i", "pipe:0"]
        with bag.open(path) as file, subprocess.Popen(
            [*read, "-map", "0", "-c", "copy", "-f", "null", "-"],
            stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
        ) as child:  # fmt: skip
            assert child.stdin is not None  # noqa: S101 - a pipe, as asked
            _pour(file, child.stdin)
            words = b"" if child.stderr is None else child.stderr.read(2000)
            child.wait()
        if child.returncode != 0 or words:
            raise ChainBroken(f"{path} is not read to its end: {words.decode('utf-8', 'replace').strip()}")
    note = "" if VIEWING in films else "; there is no viewing copy"
    return f"{len(films)} films read through{note}"


def _pour(source: Any, sink: Any) -> None:
    try:
        while data := source.read(1 << 20):
            sink.write(data)
        sink.close()
    except BrokenPipeError:
        # The player stopped reading: its exit code says why.
        return
