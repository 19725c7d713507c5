"""Attacks on vaults, by an officer with rights there, and by stores that do not do what they say."""

from __future__ import annotations

from datetime import timedelta

import pytest
from botocore.exceptions import ClientError
from moto import mock_aws

from evidence_store.errors import NotFound
from evidence_store.kept import KeptVault
from evidence_store.people import Role
from evidence_store.vault.canary import require_write_once
from evidence_store.vault.s3 import Bucket, S3Vault
from tests.attacks.defence import refused
from tests.attacks.people import browsing
from tests.attacks.place import Place, expect
from tests.evidence_store.test_vault_canary import Lying
from tests.house import record

KEPT = timedelta(days=30)
NAME = "takes/0011/segments/000001"


def given(vault: S3Vault) -> bytes | None:
    try:
        return vault.get(NAME)
    except NotFound:
        return None


async def test_12_officer_deletes_by_api_by_s3_version_by_delete_marker(place: Place) -> None:
    bucket = place.bucket()
    vault, officer = S3Vault(bucket, KEPT), place.bucket("admin", bucket.name).client()
    vault.put(NAME, b"what was recorded")
    officer.delete_object(Bucket=bucket.name, Key=NAME)
    listed = officer.list_object_versions(Bucket=bucket.name, Prefix=NAME)
    expect(len(listed["DeleteMarkers"]) == 1, "the marker is there")
    assert given(vault) == b"what was recorded", "what hides it is not read"
    where = {"Bucket": bucket.name, "Key": NAME, "VersionId": listed["Versions"][0]["VersionId"]}
    with pytest.raises(ClientError):
        officer.delete_object(**where, BypassGovernanceRetention=True)
    assert given(vault) == b"what was recorded"
    async with browsing(Role.OPERATOR) as (browser, world, interview):
        reply = await browser.post(f"/sager/{interview}/sletning", reason="Sagen er endeligt afsluttet")
        assert reply.status_code == 403
        assert world.custody.denials, "the attempt is in custody"


def test_13_retention_shortened_downgraded_bypassed_versioning_suspended(place: Place) -> None:
    with mock_aws():
        bucket = Bucket("https://s3.us-east-1.amazonaws.com", "imitation", "key", "secret")
        bucket.client().create_bucket(Bucket="imitation", ObjectLockEnabledForBucket=True)
        said = str(refused(lambda: require_write_once(S3Vault(bucket, KEPT)), "vault-not-write-once"))
    for attack in ("shorten-the-lock", "downgrade-the-lock", "unlock", "forget-versions"):
        assert attack in said
    require_write_once(S3Vault(place.bucket(), KEPT))


def test_14_store_silently_without_lock(place: Place) -> None:
    """It takes everything, and forgets that it was to lock it. The recording notices nothing."""
    vault = S3Vault(place.bucket(), KEPT)
    vault.client = Lying(vault.client, "ObjectLockMode", "ObjectLockRetainUntilDate")
    refused(lambda: require_write_once(vault), "vault-unlocked")
    refused(lambda: vault.put(NAME, b"what was recorded"), "vault-unlocked")
    house = place.house
    book, order = house.store.book, house.interview()
    kept = KeptVault(book.vault.holdings, [*book.vault.vaults, vault])
    book.vault = house.store.intake._book.vault = kept
    assert house.deliver(record(house, house.spool(), order, ticks=2))[-1] == "close"
    assert not kept.complete(["takes/"]), "what only the first one has is known"


def test_15_same_key_written_again(place: Place) -> None:
    take = place.takes[0]
    other = bytearray(take.segment(1).read_bytes())
    other[-1] ^= 1
    refused(lambda: place.house.deliver_one(take, "segments/1", bytes(other)), "object-exists")
    assert "delivery-refused" in place.alarms()
    vault = S3Vault(place.bucket(), KEPT)
    vault.put(NAME, b"what was recorded")
    refused(lambda: vault.put(NAME, b"what was desired!"), "object-exists")
    assert given(vault) == b"what was recorded"
