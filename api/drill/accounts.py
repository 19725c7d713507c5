"""What was lost and what was declared, from what the store holds: for drills, which check promises against it. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from api.drill.visitor import DrillFailed

Stretch = tuple[int, int]
"""UTC nanoseconds."""


def declared(gaps: Iterable[Mapping[str, Any]], tracks: Iterable[str]) -> dict[str, list[Stretch]]:
    """For each track the stretches that a manifest's gaps declare, those of all tracks among them, joined where they
    meet. Raises DrillFailed for a gap without an end."""
    found: dict[str, list[Stretch]] = {track: [] for track in tracks}
    for gap in gaps:
        if gap["to"] is None:
            raise DrillFailed(f"a gap has no end: {gap}")
        stretch = int(gap["from"]), int(gap["to"])
        for track in found if gap["track"] is None else (gap["track"],):
            found[track].append(stretch)
    return {track: joined(stretches) for track, stretches in found.items()}


def joined(stretches: Iterable[Stretch]) -> list[Stretch]:
    """In order, without overlaps; those that meet are one."""
    found: list[Stretch] = []
    for begin, end in sorted(stretches):
        if found and begin <= found[-1][1]:
            found[-1] = (found[-1][0], max(end, found[-1][1]))
        else:
            found.append((begin, end))
    return found


def lost_seconds(stretches: Iterable[Stretch]) -> float:
    return sum(end - begin for begin, end in stretches) / 1e9
