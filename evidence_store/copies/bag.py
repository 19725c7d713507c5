"""Reads a package again: an unpacked folder, or the tar file as `age -d` gives it."""

from __future__ import annotations

import hashlib
import io
import os
import stat
import tarfile
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import BinaryIO, Final, Protocol

from evidence_store.errors import InvalidInput, Tampered

_READ: Final = 1 << 20
MAX_SMALL: Final = 512 << 20
"""Lists and records are read whole; one larger than this is refused."""
_NOT_IN_NAMES: Final = '\\:*?"<>|'
"""Means something else to Windows, or cannot be there: one package is read alike everywhere."""
_JUNCTION: Final = 0xA0000003
"""IO_REPARSE_TAG_MOUNT_POINT: a folder of Windows that is elsewhere, and that `lstat` calls a folder."""


class Bag(Protocol):
    """The files of a package by their path in it. Anything that is no plain file is in `strange`."""

    strange: list[str]

    def paths(self) -> list[str]: ...

    def open(self, path: str) -> BinaryIO:
        """Raises Tampered `file-missing`."""
        ...

    def size(self, path: str) -> int: ...


def read(bag: Bag, path: str) -> bytes:
    """A list or record, whole. Raises Tampered where it is missing or too large."""
    with bag.open(path) as file:
        data = file.read(MAX_SMALL + 1)
    if len(data) > MAX_SMALL:
        raise Tampered(f"{path} is too large", code="file-size")
    return data


def sha256_of(bag: Bag, path: str) -> str:
    digest = hashlib.sha256()
    with bag.open(path) as file:
        while data := file.read(_READ):
            digest.update(data)
    return digest.hexdigest()


def checksums(data: bytes) -> dict[str, str]:
    """path → SHA-256 (hex) of a BagIt manifest. Raises InvalidInput `manifest-form` for any other form, or a path
    that leaves the package."""
    found: dict[str, str] = {}
    alike: set[str] = set()
    try:
        lines = data.decode("utf-8").splitlines()
    except UnicodeDecodeError as error:
        raise InvalidInput("a manifest is UTF-8", code="manifest-form") from error
    for line in lines:
        digest, separator, path = line.partition("  ")
        plain = PurePosixPath(path)
        if not separator or len(digest) != 64 or plain.is_absolute() or ".." in plain.parts:
            raise InvalidInput("a manifest has a checksum, two spaces and a path a line", code="manifest-form")
        if path.casefold() in alike or any(sign in path for sign in _NOT_IN_NAMES):
            raise InvalidInput("a manifest has a path twice, or one that not every system has", code="manifest-form")
        alike.add(path.casefold())
        found[path] = digest
    return found


def open_bag(path: Path) -> Bag:
    """A folder or a tar file. Raises InvalidInput `not-a-package`."""
    if path.is_dir():
        inner = [each for each in path.iterdir() if each.is_dir()]
        if not (path / "bagit.txt").is_file() and len(inner) == 1 and (inner[0] / "bagit.txt").is_file():
            return FolderBag(inner[0])
        return FolderBag(path)
    return TarBag(path)


def unlimited(path: str) -> str:
    """An absolute path of Windows in the form that may be longer than 260 characters (`\\\\?\\`)."""
    if path.startswith("\\\\?\\"):
        return path
    plain = path.replace("/", "\\")
    return f"\\\\?\\UNC\\{plain[2:]}" if plain.startswith("\\\\") else f"\\\\?\\{plain}"


class FolderBag:
    def __init__(self, root: Path) -> None:
        if os.name == "nt":
            root = Path(unlimited(str(root.absolute())))
        self._root = root
        self._sizes: dict[str, int] = {}
        self.strange: list[str] = []
        for folder, folders, names in os.walk(root):
            for name in [*names, *folders]:
                path = Path(folder) / name
                status = path.lstat()
                relative = path.relative_to(root).as_posix()
                if getattr(status, "st_reparse_tag", 0) == _JUNCTION:
                    self.strange.append(relative)
                elif stat.S_ISREG(status.st_mode):
                    self._sizes[relative] = status.st_size
                elif not stat.S_ISDIR(status.st_mode):
                    self.strange.append(relative)
        if "bagit.txt" not in self._sizes:
            raise InvalidInput("not an unpacked evidence copy: bagit.txt is missing", code="not-a-package")

    def paths(self) -> list[str]:
        return sorted(self._sizes)

    def open(self, path: str) -> BinaryIO:
        if path not in self._sizes:
            raise Tampered(f"{path} is missing", code="file-missing")
        return (self._root / path).open("rb")

    def size(self, path: str) -> int:
        return self._sizes[path]


@dataclass(frozen=True, slots=True)
class _Member:
    offset: int
    size: int


class TarBag:
    def __init__(self, path: Path) -> None:
        self._path = path
        self._members: dict[str, _Member] = {}
        self.strange: list[str] = []
        try:
            with tarfile.open(path, "r:") as archive:
                for info in archive:
                    _, _, name = info.name.partition("/")
                    if info.isdir():
                        continue
                    if not info.isreg() or info.issparse() or name in self._members:
                        self.strange.append(info.name)
                    else:
                        self._members[name] = _Member(info.offset_data, info.size)
        except (tarfile.TarError, OSError) as error:
            raise InvalidInput("neither a folder nor a tar file", code="not-a-package") from error
        if "bagit.txt" not in self._members:
            raise InvalidInput("not an evidence copy: bagit.txt is missing", code="not-a-package")

    def paths(self) -> list[str]:
        return sorted(self._members)

    def open(self, path: str) -> BinaryIO:
        member = self._members.get(path)
        if member is None:
            raise Tampered(f"{path} is missing", code="file-missing")
        return io.BufferedReader(_Section(self._path, member), _READ)

    def size(self, path: str) -> int:
        return self._members[path].size


class _Section(io.RawIOBase):
    """One member of a tar, as a file of its own."""

    def __init__(self, path: Path, member: _Member) -> None:
        self._file = path.open("rb", buffering=0)
        self._file.seek(member.offset)
        self._left = member.size

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: bytearray | memoryview) -> int:  # type: ignore[override]
        count = self._file.readinto(memoryview(buffer)[: self._left]) or 0
        self._left -= count
        return count

    def close(self) -> None:
        self._file.close()
        super().close()
