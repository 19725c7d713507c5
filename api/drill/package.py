"""The evidence copy, opened and checked as a receiver would: age, tar, sha256sum, openssl, a player's probe."""

from __future__ import annotations

import os
import re
import subprocess
from dataclasses import dataclass
from pathlib import Path

import imageio_ffmpeg
import pyrage

from api.drill.visitor import DrillFailed
from evidence_store.copies.verify import Anchors, Report, verify

_TRACK_AND_SECOND = re.compile(r"(\S*(?:video|audio)\S*).*?(?:second|sekund)\D*([0-9]+(?:[.,][0-9]+)?)", re.DOTALL)


def unpack(age_file: Path, key_file: Path, into: Path) -> Path:
    """Decrypts and unpacks; the package's folder. Debian's own age opens it where it is installed."""
    tar = into / "copy.tar"
    try:
        subprocess.run(["age", "--decrypt", "-i", str(key_file), "-o", str(tar), str(age_file)], check=True)
    except FileNotFoundError:
        identity = pyrage.x25519.Identity.from_str(key_file.read_text().strip())
        pyrage.decrypt_file(str(age_file), str(tar), [identity])
    # By tar itself, as a receiver would: Python 3.11.2, which Debian 12 has, cannot extract safely by itself yet.
    subprocess.run(["tar", "--extract", "--no-same-owner", "-f", str(tar), "-C", str(into)], check=True)
    tar.unlink()
    (folder,) = [each for each in into.iterdir() if each.is_dir()]
    return folder


def verified(folder: Path, fingerprint: str) -> Report:
    """`vidne verify`'s own check, the player's probe included."""
    return verify(folder, Anchors(fingerprint), player=imageio_ffmpeg.get_ffmpeg_exe())


def run_script(folder: Path, fingerprint: str) -> tuple[int, str]:
    """The package's own verify.sh: its exit code and what it said. Nothing of ours runs in it."""
    environment = {"PATH": os.environ.get("PATH", "/usr/bin:/bin"), "FFPROBE": imageio_ffmpeg.get_ffmpeg_exe()}
    done = subprocess.run(
        ["sh", "verify.sh", fingerprint], cwd=folder, env=environment, capture_output=True, text=True, check=False,
        timeout=300,
    )  # fmt: skip
    return done.returncode, done.stdout + done.stderr


@dataclass(frozen=True, slots=True)
class Flipped:
    """What the two checkers said of one flipped byte."""

    file: str
    by_verify: str
    by_script: str


def flip_one_byte(folder: Path, fingerprint: str) -> Flipped:
    """Flips a byte of media in the middle of an original, asks both checkers, and puts it back.

    Raises DrillFailed unless each names the track and a second.
    """
    files = sorted(
        (folder / "data" / "original").glob("*.mp4"), key=lambda file: (("video" not in file.name), file.name)
    )
    target = files[0]
    data = target.read_bytes()
    at = data.index(b"mdat", len(data) // 2) + 40
    changed = bytearray(data)
    changed[at] ^= 0x01
    target.chmod(0o644)
    target.write_bytes(changed)
    try:
        report = verified(folder, fingerprint)
        said = "; ".join(check.detail for check in report.failures)
        code, script = run_script(folder, fingerprint)
    finally:
        target.write_bytes(data)
    lines = "\n".join(line for line in script.splitlines() if "FEJL" in line)
    for who, text, refused in (("vidne verify", said, not report.ok), ("verify.sh", lines, code == 1)):
        if not refused or _TRACK_AND_SECOND.search(text) is None:
            raise DrillFailed(f"{who} did not name track and second of a flipped byte: {text[:300]}")
    return Flipped(target.name, said, lines)
