"""A large evidence copy, made as the store makes one, of two cameras' worth of random bytes and a microphone's."""

from __future__ import annotations

import os
import secrets
from pathlib import Path

import pyrage

from evidence_store.copies.package import prepare
from evidence_store.sealing.keys import PrivateKey
from tests.copies.conftest import CLOSE, SOUND, WIDE, Script, Store, source_of
from tests.copies.films import Film, Fragment

PICTURE, SPEECH = 1 << 19, 2_048
"""Bytes of a quarter of a second: a camera at 16 Mbit/s, a microphone at 64 kbit/s."""


def made(folder: Path, size: int) -> tuple[Path, str]:
    """An unpacked package of about `size` bytes, and the fingerprint of its root. No player reads such bytes, so there
    is no viewing copy in it, of which each byte would be hashed once and not twice."""
    folder.mkdir(parents=True, exist_ok=True)
    store = Store(interview_key=PrivateKey.generate())
    ticks = max(1, size // (2 * PICTURE))
    films = {0: _film(ticks, PICTURE, 90_000), 1: _film(ticks, PICTURE, 90_000), 2: _film(ticks, SPEECH, 48_000)}
    recipient = str(pyrage.x25519.Identity.generate().to_public())
    source = source_of(store, [Script(1, films, [WIDE, CLOSE, SOUND])], recipient)
    bag = folder / "bag"
    with prepare(source, scratch=folder) as prepared:
        for file in prepared.files:
            path = bag / file.path
            path.parent.mkdir(parents=True, exist_ok=True)
            with path.open("wb") as out:
                for data in file.read():
                    out.write(data)
    return bag, store.fingerprint


def _film(ticks: int, size: int, scale: int) -> Film:
    step = scale // 4
    return Film(
        secrets.token_bytes(700), tuple(Fragment(t * step, (t + 1) * step, os.urandom(size)) for t in range(ticks)), "x"
    )  # fmt: skip
