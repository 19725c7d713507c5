"""A root folder that holds some of Debian's own programs with their libraries, and nothing of anybody else's."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

SHELL = (
    "awk", "basename", "cat", "cmp", "cp", "cut", "date", "diff", "dirname", "env", "find", "grep", "head", "mktemp",
    "rm", "sed", "sh", "sort", "tail", "tar", "tr", "wc",
)  # fmt: skip
"""What a Debian has before anything is installed on it."""
CHECKERS = ("openssl", "sha256sum", "age", "ffprobe")
"""What a receiver of a copy has to have: README, VERIFY.md."""

_ENTER = 'mount --rbind /dev "$0/dev" && exec chroot "$0" "$@"'
_OWN = ["unshare", "--user", "--map-root-user", "--mount", "--net", "--pid", "--fork"]


@dataclass(frozen=True, slots=True)
class CleanRoot:
    """`folder`: becomes `/`. `home`: the folder of it that may be filled from outside."""

    folder: Path
    taken: tuple[Path, ...]
    """Where on this machine each file in it came from."""

    @property
    def home(self) -> Path:
        return self.folder / "home"

    def run(self, *command: str, **environment: str) -> subprocess.CompletedProcess[str]:
        """In there, with no network and no other environment than what is said here."""
        words = ["/usr/bin/env", "-i", "PATH=/usr/bin", *(f"{name}={value}" for name, value in environment.items())]
        enter = [*_OWN, "sh", "-c", _ENTER] if _allowed() else ["chroot"]
        return subprocess.run(
            [*enter, str(self.folder), *words, *command], capture_output=True, text=True, timeout=120, check=False
        )


def _allowed() -> bool:
    """Whether this user may make namespaces; root gets in without."""
    return subprocess.run([*_OWN, "true"], capture_output=True, check=False, timeout=10).returncode == 0


def make(folder: Path, *beside: Path) -> CleanRoot:
    """`beside`: libraries that no program asks for by itself."""
    programs = [Path("/usr/bin") / name for name in (*SHELL, *CHECKERS)]
    taken = {each for path in (*programs, *beside) for each in (path, *_libraries(path))}
    for path in sorted(taken):
        _take(path, folder)
    for name in ("lib", "lib64", "bin"):
        (folder / name).symlink_to(f"usr/{name}")
    configuration = Path("/etc/ssl/openssl.cnf")
    _take(configuration, folder)
    for name in ("tmp", "home", "dev", "usr/lib/ssl"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    (folder / "usr/lib/ssl/openssl.cnf").symlink_to("/etc/ssl/openssl.cnf")
    if not _allowed():
        os.mknod(folder / "dev/null", 0o20666, os.makedev(1, 3))
    return CleanRoot(folder, (*sorted(taken), configuration))


def _libraries(path: Path) -> list[Path]:
    """Shared libraries and loader of a program, below /usr as Debian 12 has them."""
    said = subprocess.run(["ldd", path], capture_output=True, text=True, check=False, timeout=30).stdout
    found = [Path(each) for each in re.findall(r"(?:=> |^\s+)(/\S+) \(0x", said, re.MULTILINE)]
    return [each if each.is_relative_to("/usr") else Path("/usr") / each.relative_to("/") for each in found]


def _take(path: Path, root: Path) -> None:
    target = root / path.relative_to("/")
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copy(path, target)


def strangers(paths: tuple[Path, ...]) -> list[Path]:
    """Those that belong to no Debian package."""
    owned = {
        line for each in Path("/var/lib/dpkg/info").glob("*.list") for line in each.read_text().splitlines() if line
    }
    names = {each: str(each.resolve()) for each in paths}
    return [each for each, name in names.items() if not {name, name.removeprefix("/usr")} & owned]
