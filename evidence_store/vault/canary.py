"""The canary: every way we know to change a locked object, tried on one that nobody needs, before a store is trusted.

Stores say that they lock, and differ in what they hold: some take a shorter lock, some forget that versions are kept,
some believe anybody. Nothing is believed of what the store answers: after each attack the object is read again, with
its lock. The attacks come from the vault's own credentials, which are what a thief of this machine has.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import math
import secrets
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import structlog
from botocore import UNSIGNED
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError
from urllib3.exceptions import HTTPError

from evidence_store.errors import OutOfReach, Unavailable
from evidence_store.vault.s3 import CANARIES, MODE, Bucket, S3Vault, status_of
from evidence_store.vault.vault import StoredObject

LOCKED: Final = timedelta(days=1)
"""How long a canary lies in the store: the shortest that every store takes."""
PROVEN_FOR_S: Final = 24 * 3600.0
ASKED_AGAIN_AFTER_S: Final = 600.0
AWAY_FOR_S: Final = 5.0
_SOONER = timedelta(hours=1)

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Finding:
    """What one attack came to. `held`: the object is as it was, and locked as it was."""

    attack: str
    held: bool


@dataclass(frozen=True, slots=True)
class _Victim:
    client: Any
    vault: S3Vault
    key: str
    version: str
    data: bytes
    until: datetime

    @property
    def place(self) -> dict[str, str]:
        return {"Bucket": self.vault.bucket.name, "Key": self.key, "VersionId": self.version}

    @property
    def name(self) -> dict[str, str]:
        return {"Bucket": self.vault.bucket.name, "Key": self.key}

    def unharmed(self) -> bool:
        """Whether the version is there, byte for byte, and locked for no shorter."""
        try:
            found = self.client.head_object(**self.place)
            data = self.client.get_object(**self.place)["Body"].read()
            versions = self.client.list_object_versions(Bucket=self.vault.bucket.name, Prefix=self.key)
        except ClientError:
            return False
        held = found.get("ObjectLockRetainUntilDate")
        return (
            data == self.data
            and found.get("ObjectLockMode") == MODE
            and held is not None
            and held >= self.until
            and (versions.get("Versions") or [{}])[-1].get("VersionId") == self.version
        )


def canary(vault: S3Vault) -> list[Finding]:
    """Tries each attack of `ATTACKS`, and of `BUCKET_ATTACKS` while nothing is in the bucket that could be harmed.

    Takes away canaries of former days first. Raises OutOfReach when the store does not answer, and Unavailable
    `vault-unlocked` when it takes no lock at all.
    """
    empty = next(vault.list(), None) is None
    findings: list[Finding] = []
    try:
        _sweep(vault)
        victim = _new_victim(vault)
        for name, attack in {**ATTACKS, **(BUCKET_ATTACKS if empty else {})}.items():
            held = _held(attack, victim)
            findings.append(Finding(name, held))
            if not held and not victim.unharmed():
                victim = _new_victim(vault)
    except ClientError as error:
        # A bucket that was dropped takes no victim any more: what is known of it by then is said.
        if all(finding.held for finding in findings):
            said = f"the object server answered {status_of(error)} to the canary"
            raise OutOfReach(said, code="vault-out-of-reach") from None
    except (BotoCoreError, HTTPError) as error:
        said = f"the object server does not answer: {type(error).__name__}"
        raise OutOfReach(said, code="vault-out-of-reach") from None
    return findings


def require_write_once(vault: S3Vault) -> None:
    """Raises Unavailable `vault-not-write-once`, naming the attacks that came through."""
    through = [finding.attack for finding in canary(vault) if not finding.held]
    if through:
        raise Unavailable(f"the store can be changed: {', '.join(through)}", code="vault-not-write-once")


class ProvenVault(S3Vault):
    """A bucket that takes nothing before it has withstood the canary, and nothing more from the day that it does not.

    Asked at the first put and then once a day; a bucket that was refused is asked again after ten minutes. What is
    there can be read all the while. `put` raises Unavailable `vault-not-write-once` beside what a vault's own raises.
    """

    def __init__(self, bucket: Bucket, kept: timedelta, *, limit: int | None = None) -> None:
        super().__init__(bucket, kept, limit=limit)
        self._asking = threading.Lock()
        self._asked_s = self._away_until_s = -math.inf
        self._refused: Unavailable | None = None

    def put(self, name: str, data: bytes) -> StoredObject:
        if time.monotonic() < self._away_until_s:
            raise OutOfReach("the object server did not answer a moment ago", code="vault-out-of-reach")
        try:
            return self._put(name, data)
        except OutOfReach:
            # Whoever asks next is told at once, instead of waiting out the same silence: a start must not.
            self._away_until_s = time.monotonic() + AWAY_FOR_S
            raise

    def _put(self, name: str, data: bytes) -> StoredObject:
        with self._asking:
            every_s = PROVEN_FOR_S if self._refused is None else ASKED_AGAIN_AFTER_S
            if time.monotonic() - self._asked_s > every_s:
                self._prove()
            if self._refused is not None:
                raise Unavailable(str(self._refused), code=self._refused.code)
        return super().put(name, data)

    def _prove(self) -> None:
        """Raises OutOfReach, and is then asked anew by the next put."""
        try:
            require_write_once(self)
        except OutOfReach:
            raise
        except Unavailable as refused:
            self._refused = refused
            log.error("vault_refused", code=refused.code, reason=str(refused))
        else:
            self._refused = None
        self._asked_s = time.monotonic()


def _new_victim(vault: S3Vault) -> _Victim:
    key, data = f"{CANARIES}{secrets.token_hex(12)}", secrets.token_bytes(64)
    until = (datetime.now(UTC) + LOCKED).replace(microsecond=0)
    made = vault.client.put_object(
        Bucket=vault.bucket.name,
        Key=key,
        Body=data,
        ChecksumAlgorithm="SHA256",
        ChecksumSHA256=_checksum(data),
        IfNoneMatch="*",
        ObjectLockMode=MODE,
        ObjectLockRetainUntilDate=until,
    )
    victim = _Victim(vault.client, vault, key, str(made.get("VersionId")), data, until)
    if not victim.unharmed():
        raise Unavailable("the object server did not lock what it took", code="vault-unlocked")
    return victim


def _held(attack: Callable[[_Victim], None], victim: _Victim) -> bool:
    try:
        attack(victim)
    except ClientError as error:
        # A refusal is what is hoped for, and proves nothing; a server in trouble has not decided.
        if status_of(error) >= 500 or status_of(error) == 429:
            raise
    except _Accepted:
        return False
    return victim.unharmed()


def _sweep(vault: S3Vault) -> None:
    """Takes away canaries whose lock has ended."""
    before = datetime.now(UTC) - LOCKED
    for page in vault.client.get_paginator("list_object_versions").paginate(Bucket=vault.bucket.name, Prefix=CANARIES):
        for version in (*page.get("Versions", ()), *page.get("DeleteMarkers", ())):
            if version["LastModified"] < before:
                with contextlib.suppress(ClientError):
                    vault.client.delete_object(
                        Bucket=vault.bucket.name, Key=version["Key"], VersionId=version["VersionId"]
                    )


def _checksum(data: bytes) -> str:
    return base64.b64encode(hashlib.sha256(data).digest()).decode()


class _Accepted(Exception):  # noqa: N818 - says what happened
    """The store said yes to what it has to refuse, though no object was harmed by it."""


def _delete(victim: _Victim) -> None:
    victim.client.delete_object(**victim.place)


def _delete_with_bypass(victim: _Victim) -> None:
    victim.client.delete_object(**victim.place, BypassGovernanceRetention=True)


def _delete_many(victim: _Victim) -> None:
    these = {"Objects": [{"Key": victim.key, "VersionId": victim.version}]}
    victim.client.delete_objects(Bucket=victim.vault.bucket.name, Delete=these, BypassGovernanceRetention=True)


def _shorten(victim: _Victim) -> None:
    lock = {"Mode": MODE, "RetainUntilDate": victim.until - _SOONER}
    victim.client.put_object_retention(**victim.place, Retention=lock, BypassGovernanceRetention=True)


def _downgrade(victim: _Victim) -> None:
    lock = {"Mode": "GOVERNANCE", "RetainUntilDate": victim.until}
    victim.client.put_object_retention(**victim.place, Retention=lock, BypassGovernanceRetention=True)


def _unlock(victim: _Victim) -> None:
    victim.client.put_object_retention(**victim.place, Retention={}, BypassGovernanceRetention=True)


def _lay_over(victim: _Victim) -> None:
    victim.client.put_object(**victim.name, Body=b"other bytes")


def _copy_over(victim: _Victim) -> None:
    source = {"Bucket": victim.vault.bucket.name, "Key": victim.key, "VersionId": victim.version}
    victim.client.copy_object(**victim.name, CopySource=source, MetadataDirective="REPLACE", Metadata={"a": "b"})


def _hide(victim: _Victim) -> None:
    victim.client.delete_object(**victim.name)


def _forget_versions(victim: _Victim) -> None:
    bucket = victim.vault.bucket.name
    victim.client.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Suspended"})
    try:
        kept = victim.client.get_bucket_versioning(Bucket=bucket).get("Status") == "Enabled"
    finally:
        victim.client.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
    if not kept:
        raise _Accepted


def _drop_the_bucket(victim: _Victim) -> None:
    victim.client.delete_bucket(Bucket=victim.vault.bucket.name)


def _write_twice(victim: _Victim) -> None:
    victim.client.put_object(**victim.name, Body=b"other bytes", IfNoneMatch="*")
    raise _Accepted


def _wrong_checksum(victim: _Victim) -> None:
    victim.client.put_object(
        Bucket=victim.vault.bucket.name,
        Key=f"{victim.key}-b",
        Body=b"these bytes",
        ChecksumAlgorithm="SHA256",
        ChecksumSHA256=_checksum(b"others"),
    )
    raise _Accepted


def _as_nobody(victim: _Victim) -> None:
    bucket = victim.vault.bucket
    nobody = bucket.client(Config(signature_version=UNSIGNED))
    with contextlib.closing(nobody):
        nobody.get_object(**victim.place)
    raise _Accepted


def _with_a_wrong_secret(victim: _Victim) -> None:
    guessed = replace(victim.vault.bucket, secret_key=secrets.token_hex(20)).client()
    with contextlib.closing(guessed):
        guessed.get_object(**victim.place)
    raise _Accepted


ATTACKS: Final[dict[str, Callable[[_Victim], None]]] = {
    "write-twice": _write_twice,
    "wrong-checksum": _wrong_checksum,
    "as-nobody": _as_nobody,
    "with-a-wrong-secret": _with_a_wrong_secret,
    "delete": _delete,
    "delete-with-bypass": _delete_with_bypass,
    "delete-many": _delete_many,
    "shorten-the-lock": _shorten,
    "downgrade-the-lock": _downgrade,
    "unlock": _unlock,
    "lay-over": _lay_over,
    "copy-over": _copy_over,
    "hide": _hide,
}
"""By the name under which a finding is told: what the vault relies on in each call, then the object and its lock, and
last what hides it, since all are tried on one object while it is unharmed."""
BUCKET_ATTACKS: Final[dict[str, Callable[[_Victim], None]]] = {
    "forget-versions": _forget_versions,
    "drop-the-bucket": _drop_the_bucket,
}
"""On what holds all objects: these could harm evidence where they come through, so a bucket with objects is spared."""
