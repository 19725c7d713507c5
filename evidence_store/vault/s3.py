"""A vault in a bucket of an S3 server, each object locked (S3 Object Lock, COMPLIANCE mode) until a day to come.

A lock holds one version of an object, and hides nothing: whoever may write can lay another version over it, or a delete
marker. So the first version of a name is the object, whatever came after it, and that is what is read. Servers differ
in what they keep of what they accept: after each put the lock and the checksum are read back.
"""

from __future__ import annotations

import base64
import hashlib
import io
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cache
from itertools import groupby
from pathlib import Path
from typing import Any, BinaryIO, Final, NamedTuple

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError
from urllib3.exceptions import HTTPError

from evidence_store.errors import ChainBroken, Conflict, InvalidInput, NoSpace, NotFound, OutOfReach, Unavailable
from evidence_store.vault.space import Space
from evidence_store.vault.vault import ListedObject, StoredObject, check_name, check_prefix

MODE: Final = "COMPLIANCE"
CANARIES: Final = ".canary/"
"""Where the canary tries its attacks: under a name that no object can have."""
_FULL = {"QuotaExceeded", "XMinioAdminBucketQuotaExceeded", "XMinioStorageFull", "InsufficientStorage"}
_MOST_KNOWN = 65_536
_ROUNDED = timedelta(seconds=1)
"""Servers keep a lock's end to the second."""


_making = threading.Lock()


@cache
def _session() -> Any:
    return boto3.session.Session()


@dataclass(frozen=True, slots=True)
class Bucket:
    """Where it is and who we are there. `authority`: a PEM file for the server's certificate; None: the
    public ones that boto3 brings along."""

    endpoint: str
    name: str
    access_key: str = field(repr=False)
    secret_key: str = field(repr=False)
    region: str = "us-east-1"
    authority: Path | None = None

    def client(self, but: Config | None = None) -> Any:
        """A client of boto3's, safe for threads, configured as ours are except for `but`. Asks nothing yet."""
        with _making:  # a session is not safe for threads, and holds what takes a third of a second to read
            return self._client(_session(), but)

    def _client(self, session: Any, but: Config | None) -> Any:
        return session.client(
            "s3",
            endpoint_url=self.endpoint,
            region_name=self.region,
            aws_access_key_id=self.access_key,
            aws_secret_access_key=self.secret_key,
            verify=True if self.authority is None else str(self.authority),
            config=Config(
                signature_version="s3v4",
                s3={"addressing_style": "path"},
                # What boto3 adds by itself, some servers refuse; ours is given with each put.
                request_checksum_calculation="when_required",
                response_checksum_validation="when_required",
                connect_timeout=2,
                read_timeout=10,
                retries={"total_max_attempts": 2, "mode": "standard"},
                proxies={},
            ).merge(but or Config()),
        )


class _Version(NamedTuple):
    """The first version of a name."""

    id: str
    size: int


class S3Vault:
    """Vault in a bucket that was made with Object Lock. Each object is locked for `kept`, counted from its put.

    `limit` caps the sum of the objects' sizes, as counted by this process. Safe for threads. Beside what the promise
    names, every method raises OutOfReach `vault-out-of-reach` when the server does not answer or refuses us, and `put`
    Unavailable `vault-unlocked` when the server did not lock what it took: the object must not count as stored.
    """

    def __init__(
        self,
        bucket: Bucket,
        kept: timedelta,
        *,
        limit: int | None = None,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self.bucket, self._kept, self._now = bucket, kept, now
        self.client = bucket.client()
        self._known: dict[str, _Version] = {}
        used = 0 if limit is None else sum(listed.size for listed in self.list())
        self.space = Space(limit, used)

    @property
    def identity(self) -> str:
        return f"s3:{self.bucket.endpoint}/{self.bucket.name}"

    @property
    def administrator(self) -> str:
        """The server: who runs it, runs all its buckets, whoever their keys were given to."""
        return f"server {self.bucket.endpoint}"

    def put(self, name: str, data: bytes) -> StoredObject:
        check_name(name)
        stored = StoredObject(name, len(data), hashlib.sha256(data).digest())
        until = self._now() + self._kept
        new = self._first(name) is None
        if new:
            self.space.claim(len(data))
        try:
            if not (new and self._create(name, data, stored.sha256, until)):
                self._repeat(stored, until)
        except BaseException as error:
            if new:
                self.space.release(len(data))
            if isinstance(error, NotFound):
                # Known, and gone meanwhile; it is forgotten by now, and the next try makes it anew.
                raise OutOfReach("the object server contradicts itself", code="vault-out-of-reach") from None
            raise
        return stored

    def _repeat(self, stored: StoredObject, until: datetime) -> None:
        """Somebody was first; perhaps ourselves, in a try whose answer was lost."""
        first = self._there(stored.name)
        if first.size != stored.size or not self._is(stored, first):
            raise Conflict("another object has this name", code="object-exists")
        self._confirm(stored.name, first, stored.sha256, until, extend=True)

    def _is(self, stored: StoredObject, version: _Version) -> bool:
        return hashlib.sha256(self._read(stored.name, version)).digest() == stored.sha256

    def get(self, name: str, sha256: bytes | None = None) -> bytes:
        first = self._there(name)
        data = self._read(name, first)
        if sha256 is None or hashlib.sha256(data).digest() == sha256:
            return data
        # Mended: the right bytes lie over the ones that went wrong.
        for version in self._later(name, first):
            data = self._read(name, version)
            if hashlib.sha256(data).digest() == sha256:
                return data
        raise ChainBroken("a stored object is not what was stored", code="object-altered")

    def mend(self, name: str, data: bytes) -> StoredObject:
        try:
            return self.put(name, data)
        except Conflict:
            stored, until = StoredObject(name, len(data), hashlib.sha256(data).digest()), self._now() + self._kept
        for version in self._later(name, self._there(name)):
            if version.size == stored.size and self._is(stored, version):
                self._confirm(name, version, stored.sha256, until, extend=True)
                return stored
        self.space.claim(len(data))
        with _answers():
            made = self.client.put_object(**self._locked_put(name, data, stored.sha256, until))
        self._confirm(name, _Version(str(made.get("VersionId")), len(data)), stored.sha256, until, extend=False)
        return stored

    def open(self, name: str) -> BinaryIO:
        size = self._there(name).size
        return io.BufferedReader(_Reading(lambda start, length: self.read_range(name, start, length), size), 1 << 20)

    def read_range(self, name: str, start: int, length: int) -> bytes:
        first = self._there(name)
        if start < 0 or length < 0 or start + length > first.size:
            raise InvalidInput("the range is not within the object", code="object-range")
        return self._read(name, first, (start, length)) if length else b""

    def exists(self, name: str) -> bool:
        check_name(name)
        return self._first(name) is not None

    def list(self, prefix: str = "", after: str = "") -> Iterator[ListedObject]:
        check_prefix(prefix)
        for name, first in self._firsts(prefix, after):
            yield ListedObject(name, first.size)

    def _there(self, name: str) -> _Version:
        check_name(name)
        first = self._first(name)
        if first is None:
            raise NotFound("no such object", code="object")
        return first

    def _first(self, name: str) -> _Version | None:
        known = self._known.get(name)
        if known is None:
            # A name comes before all that begin with it.
            found, known = next(self._firsts(name), ("", None))
            if known is None or found != name:
                return None
            if len(self._known) >= _MOST_KNOWN:
                self._known.clear()
            self._known[name] = known  # for good: nothing comes to be before it
        return known

    def _firsts(self, prefix: str, after: str = "") -> Iterator[tuple[str, _Version]]:
        """Names and their first versions, by name. A delete marker is no version."""
        # A marker before the prefix is no marker: some stores take it for the end.
        place = {"Bucket": self.bucket.name, "Prefix": prefix} | ({"KeyMarker": after} if after > prefix else {})
        with _answers():
            pages = self.client.get_paginator("list_object_versions").paginate(**place)
            versions = (version for page in pages for version in page.get("Versions", ()))
            for name, same in groupby(versions, key=lambda version: str(version["Key"])):
                if name.startswith(CANARIES) or name <= after:
                    continue
                # The newest comes first (S3 API, ListObjectVersions).
                *_, oldest = same
                yield name, _Version(oldest["VersionId"], oldest["Size"])

    def _later(self, name: str, first: _Version) -> Sequence[_Version]:
        """Every version that was laid over the first, newest first."""
        with _answers():
            pages = self.client.get_paginator("list_object_versions").paginate(Bucket=self.bucket.name, Prefix=name)
            found = [each for page in pages for each in page.get("Versions", ()) if each["Key"] == name]
        return [_Version(each["VersionId"], each["Size"]) for each in found if each["VersionId"] != first.id]

    def _create(self, name: str, data: bytes, sha256: bytes, until: datetime) -> bool:
        """True when it is there, locked, and the first of its name; False when somebody else was first."""
        try:
            with _answers():
                made = self.client.put_object(**self._locked_put(name, data, sha256, until), IfNoneMatch="*")
        except _Refusal as error:
            if error.status != 412:
                raise
            return False
        # A crash here: the object is there and locked, and nobody was told. The next try finds its own bytes.
        first = self._first(name)
        if first is None or first.id != made.get("VersionId"):
            self._known.pop(name, None)
            return False
        self._confirm(name, first, sha256, until, extend=False)
        return True

    def _locked_put(self, name: str, data: bytes, sha256: bytes, until: datetime) -> dict[str, Any]:
        return {
            "Bucket": self.bucket.name,
            "Key": name,
            "Body": data,
            "ContentType": "application/octet-stream",
            "ChecksumAlgorithm": "SHA256",
            "ChecksumSHA256": base64.b64encode(sha256).decode(),
            "ObjectLockMode": MODE,
            "ObjectLockRetainUntilDate": until,
        }

    def _confirm(self, name: str, first: _Version, sha256: bytes, until: datetime, *, extend: bool) -> None:
        """Reads lock and checksum back. Raises Unavailable `vault-unlocked`."""
        found = self._lock(name, first)
        if extend and not _locked(found, until):
            with _answers():
                self.client.put_object_retention(
                    Bucket=self.bucket.name,
                    Key=name,
                    VersionId=first.id,
                    Retention={"Mode": MODE, "RetainUntilDate": until},
                )
            found = self._lock(name, first)
        if not _locked(found, until):
            raise Unavailable("the object server did not lock what it took", code="vault-unlocked")
        checksum = found.get("ChecksumSHA256")
        if checksum is None:
            # A server that keeps no checksums is asked for the bytes.
            checksum = base64.b64encode(hashlib.sha256(self._read(name, first)).digest()).decode()
        if checksum != base64.b64encode(sha256).decode():
            raise Unavailable("the object server did not keep what it took", code="vault-unlocked")

    def _lock(self, name: str, first: _Version) -> dict[str, Any]:
        """What the server says of it. Raises NotFound."""
        with self._gone(name), _answers():
            found: dict[str, Any] = self.client.head_object(
                Bucket=self.bucket.name, Key=name, VersionId=first.id, ChecksumMode="ENABLED"
            )
            return found

    def _read(self, name: str, first: _Version, span: tuple[int, int] | None = None) -> bytes:
        asked = {} if span is None else {"Range": f"bytes={span[0]}-{span[0] + span[1] - 1}"}
        with self._gone(name), _answers():
            found = self.client.get_object(Bucket=self.bucket.name, Key=name, VersionId=first.id, **asked)
            return bytes(found["Body"].read())

    @contextmanager
    def _gone(self, name: str) -> Iterator[None]:
        """A version that was known and is not there any more is NotFound, and is forgotten."""
        try:
            yield
        except _Refusal as error:
            if error.status != 404:
                raise
            self._known.pop(name, None)
            raise NotFound("no such object", code="object") from None


def _locked(found: dict[str, Any], until: datetime) -> bool:
    held = found.get("ObjectLockRetainUntilDate")
    return found.get("ObjectLockMode") == MODE and held is not None and bool(held + _ROUNDED >= until)


class _Refusal(OutOfReach):
    """The server answered with an error. `status`: its HTTP status."""

    def __init__(self, status: int) -> None:
        super().__init__(f"the object server answered {status}", code="vault-out-of-reach")
        self.status = status


@contextmanager
def _answers() -> Iterator[None]:
    """boto3's errors as ours: NoSpace, OutOfReach. What a server says may name keys: it is not passed on."""
    try:
        yield
    except ClientError as error:
        if error.response.get("Error", {}).get("Code") in _FULL:
            raise NoSpace("the object server is full", code="vault-full") from None
        raise _Refusal(status_of(error)) from None
    except (BotoCoreError, HTTPError, OSError) as error:
        # OSError: a certificate authority's file that is not there.
        what = type(error).__name__
        raise OutOfReach(f"the object server does not answer: {what}", code="vault-out-of-reach") from None


def status_of(error: ClientError) -> int:
    """The HTTP status of an answer; 0 where it had none."""
    return int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))


class _Reading(io.RawIOBase):
    """An object as a file, read by ranges."""

    def __init__(self, read_range: Callable[[int, int], bytes], size: int) -> None:
        self._read_range, self._size, self._at = read_range, size, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        self._at = max(0, offset + {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._size}[whence])
        return self._at

    def readall(self) -> bytes:
        start, self._at = min(self._at, self._size), max(self._at, self._size)
        return self._read_range(start, self._size - start)

    def readinto(self, buffer: Any) -> int:
        length = min(len(buffer), max(0, self._size - self._at))
        buffer[:length] = self._read_range(self._at, length) if length else b""
        self._at += length
        return length
