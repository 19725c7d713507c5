"""A temporary file that only this process can read: encrypted as it is written, with a key that is never stored."""

from __future__ import annotations

import hashlib
import secrets
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from cryptography.cobblestone import Cobblestone256Decryptor, Cobblestone256Encryptor
from cryptography.exceptions import InvalidTag

from evidence_store.errors import CiphertextInvalid

_CONTEXT: Final = b"vidne/v1/viewing-copy\x00"
_READ: Final = 256 * 1024


class Vessel:
    """Written once, then read any number of times. The file has no name: a crash leaves nothing but free blocks."""

    def __init__(self, folder: Path) -> None:
        self._key = secrets.token_bytes(32)
        self._file = tempfile.TemporaryFile(dir=folder)  # noqa: SIM115 - closed by close()
        self._encryptor = Cobblestone256Encryptor(self._key, _CONTEXT)
        self._digest = hashlib.sha256()
        self.size = 0

    def write(self, data: bytes) -> None:
        self.size += len(data)
        self._digest.update(data)
        self._file.write(self._encryptor.update(data))

    def finish(self) -> None:
        self._file.write(self._encryptor.finalize())

    @property
    def sha256(self) -> str:
        """Of the clear bytes."""
        return self._digest.hexdigest()

    def read(self) -> Iterator[bytes]:
        """The clear bytes, one reader at a time. Raises CiphertextInvalid when the file was altered meanwhile."""
        self._file.seek(0)
        decryptor = Cobblestone256Decryptor(self._key, _CONTEXT)
        try:
            while data := self._file.read(_READ):
                yield decryptor.update(data)
            yield decryptor.finalize()
        except (InvalidTag, ValueError) as error:
            raise CiphertextInvalid("the viewing copy's temporary file was altered", code="vessel-altered") from error

    def close(self) -> None:
        self._file.close()
