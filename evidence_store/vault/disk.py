"""A vault in a folder.

    objects/<name>   the objects, read-only
    incoming/        what is being written; nothing here has been promised
    damaged/         what was found altered and has been mended from another copy, under its hash
    identity         which vault this is: a folder that was made anew is another

An object appears under its name in one step, by a hard link, which fails when the name is taken: no reader sees
half of it, and no writer replaces it. That holds against mistakes and crashes. Whoever is root on the machine can
still change the disk; hashes, signatures and the ledger find it.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from evidence_store.durable import fsync_folder, write_durably
from evidence_store.errors import ChainBroken, Conflict, InvalidInput, NoSpace, NotFound
from evidence_store.vault.space import Space
from evidence_store.vault.vault import ListedObject, StoredObject, check_name, check_prefix

_FULL = (errno.ENOSPC, errno.EDQUOT)


class DiskVault:
    """Vault in a folder. `limit_bytes` caps the sum of its objects' sizes, as counted by this process.

    Opening makes the folders and sweeps away what a crash left in `incoming`. Safe for threads; several processes
    may share a folder, but each counts the limit for itself. Raises NoSpace.
    """

    def __init__(self, root: Path, limit_bytes: int | None = None) -> None:
        self._objects = root / "objects"
        self._incoming = root / "incoming"
        self._damaged = root / "damaged"
        with _full_is_no_space():
            self._objects.mkdir(parents=True, exist_ok=True)
            self._incoming.mkdir(exist_ok=True)
            fsync_folder(root.parent)
            fsync_folder(root)
        self._machine = _machine()
        self.identity = _identity(root)
        self.sweep()
        self.space = Space(limit_bytes, 0 if limit_bytes is None else sum(listed.size for listed in self.list()))

    def put(self, name: str, data: bytes) -> StoredObject:
        path = self._path(name)
        stored = StoredObject(name, len(data), hashlib.sha256(data).digest())
        with _full_is_no_space():
            # A retry after a crash between link and sync comes this way too: it must end as durable as the rest.
            if not path.exists() and self._create(path, data):
                return stored
            self._check_same(path, stored)
            self._sync_folders(path)
        return stored

    @property
    def administrator(self) -> str:
        return f"machine {self._machine}"

    def mend(self, name: str, data: bytes) -> StoredObject:
        path = self._path(name)
        stored = StoredObject(name, len(data), hashlib.sha256(data).digest())
        if path.is_file() and self._sha256(path) != stored.sha256:
            with _full_is_no_space():
                self._set_aside(path)
        return self.put(name, data)

    def _set_aside(self, path: Path) -> None:
        # A crash after this leaves no object under the name: it was no good, and the next look mends it.
        self._damaged.mkdir(exist_ok=True)
        os.replace(path, self._damaged / self._sha256(path).hex())
        fsync_folder(self._damaged)
        fsync_folder(self._damaged.parent)
        fsync_folder(path.parent)

    def _sha256(self, path: Path) -> bytes:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").digest()

    def get(self, name: str, sha256: bytes | None = None) -> bytes:
        with self.open(name) as file:
            data = file.read()
        if sha256 is not None and hashlib.sha256(data).digest() != sha256:
            raise ChainBroken("a stored object is not what was stored", code="object-altered")
        return data

    def open(self, name: str) -> BinaryIO:
        try:
            return self._path(name).open("rb")
        except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
            raise NotFound("no such object", code="object") from None

    def last_change(self, name: str) -> str:
        """What the file system shows of the object's last change (`evidence_store.audit_memory`): the kernel sets the
        ctime at every write and rename, and offers no way to set it back."""
        try:
            found = self._path(name).stat()
        except (FileNotFoundError, NotADirectoryError):
            raise NotFound("no such object", code="object") from None
        return f"{found.st_ino} {found.st_size} {found.st_mtime_ns} {found.st_ctime_ns}"

    def read_range(self, name: str, start: int, length: int) -> bytes:
        with self.open(name) as file:
            size = os.fstat(file.fileno()).st_size
            if start < 0 or length < 0 or start + length > size:
                raise InvalidInput("the range is not within the object", code="object-range")
            file.seek(start)
            return file.read(length)

    def exists(self, name: str) -> bool:
        return self._path(name).is_file()

    def list(self, prefix: str = "", after: str = "") -> Iterator[ListedObject]:
        check_prefix(prefix)
        yield from self._listed("", prefix, after)

    def _listed(self, folder: str, prefix: str, after: str) -> Iterator[ListedObject]:
        """What is in `folder` (a name that ends in a slash) and below, a folder at a time: those that hold nothing of
        what is asked are not opened, however much lies in them."""
        try:
            with os.scandir(self._objects / folder) as entries:
                # A folder sorts as its objects do, by the slash: by name, not by path.
                names = sorted(folder + each.name + "/" * each.is_dir(follow_symlinks=False) for each in entries)
        except FileNotFoundError:
            return
        for name in names:
            if name.endswith("/"):
                behind = after > name and not after.startswith(name)
                if not behind and (name.startswith(prefix) or prefix.startswith(name)):
                    yield from self._listed(name, prefix, after)
            elif name.startswith(prefix) and name > after and (path := self._objects / name).is_file():
                yield ListedObject(name, path.stat().st_size)

    def sweep(self) -> int:
        """Removes what crashed writers left in `incoming`; returns how many. Leaves alone what is being written."""
        swept = 0
        for path in self._incoming.iterdir():
            try:
                fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
            except FileNotFoundError:
                continue
            try:
                # A living writer holds the lock until its file has its name, or is gone.
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                path.unlink(missing_ok=True)
                swept += 1
            except BlockingIOError:
                continue
            finally:
                os.close(fd)
        return swept

    def _path(self, name: str) -> Path:
        check_name(name)
        return self._objects / name

    def _create(self, path: Path, data: bytes) -> bool:
        """True when the object is there and durable; False when somebody else was first."""
        self.space.claim(len(data))
        created = False
        temporary, fd = self._open_temporary()
        try:
            _write_all(fd, data)
            os.fchmod(fd, 0o444)
            # A crash before the link leaves a file without a promise, for the sweep.
            os.fsync(fd)
            self._make_folders(path)
            os.link(temporary, path)
            created = True
            # A crash here: the object may be gone or there, whole either way. Nobody was told that it is there.
            self._sync_folders(path)
        except FileExistsError:
            return False
        finally:
            temporary.unlink(missing_ok=True)
            os.close(fd)
            if not created:
                self.space.release(len(data))
        return True

    def _open_temporary(self) -> tuple[Path, int]:
        while True:
            path = self._incoming / secrets.token_hex(16)
            fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
            fcntl.flock(fd, fcntl.LOCK_EX)
            # Another process may have swept it between these two calls.
            if os.fstat(fd).st_nlink:
                return path, fd
            os.close(fd)

    def _make_folders(self, path: Path) -> None:
        own = [folder for folder in path.parents if folder.is_relative_to(self._objects)]
        try:
            # Never the vault's own folder: where its disk was taken away, another vault would seem to lie there.
            for folder in own[-2::-1]:
                folder.mkdir(exist_ok=True)
        except (FileExistsError, NotADirectoryError):
            raise Conflict("an object has the name of this one's folder", code="object-exists") from None

    def _sync_folders(self, path: Path) -> None:
        # All of them: another writer may have made one and not have synced its parent yet.
        for folder in path.parents:
            fsync_folder(folder)
            if folder == self._objects:
                return

    def _check_same(self, path: Path, stored: StoredObject) -> None:
        taken = Conflict("another object has this name", code="object-exists")
        if not path.is_file() or path.stat().st_size != stored.size:
            raise taken
        if self._sha256(path) != stored.sha256:
            raise taken
        with path.open("rb") as file:
            os.fsync(file.fileno())


def identity_in(root: Path) -> str | None:
    """Which vault is in a folder; None where there is none. Raises OSError."""
    path = root / "identity"
    return path.read_text().strip() if path.exists() else None


def _identity(root: Path) -> str:
    """Read, or made for a vault that has none yet. Moving the folder changes nothing."""
    found = identity_in(root)
    if found is None:
        found = f"disk:{secrets.token_hex(16)}"
        write_durably(root / "identity", f"{found}\n".encode())
    return found


def _machine() -> str:
    """Eight digits that tell one machine from another; where it has no id of its own, its name's."""
    try:
        named = Path("/etc/machine-id").read_bytes().strip() or os.uname().nodename.encode()
    except OSError:
        named = os.uname().nodename.encode()
    return hashlib.sha256(b"vidne machine " + named).hexdigest()[:8]


def _write_all(fd: int, data: bytes) -> None:
    rest = memoryview(data)
    while rest:
        rest = rest[os.write(fd, rest) :]


@contextmanager
def _full_is_no_space() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno in _FULL:
            raise NoSpace("the vault's disk is full", code="vault-full") from error
        raise
