"""The S3 vault against a real server with Object Lock."""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from evidence_store.errors import ChainBroken, Conflict, NotFound, OutOfReach, Unavailable
from evidence_store.vault.s3 import Bucket, S3Vault
from evidence_store.vault.vault import Vault
from tests.contracts.vault_contract import SMALL_LIMIT, VaultContract
from tests.seaweed import Server, seaweed

KEPT = timedelta(days=30)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with seaweed(tmp_path_factory.mktemp("seaweed") / "s3") as running:
        yield running


@pytest.fixture
def bucket(server: Server) -> Bucket:
    return server.make_bucket(secrets.token_hex(8))


class TestS3Vault(VaultContract):
    @pytest.fixture
    def vault(self, bucket: Bucket) -> Vault:
        return S3Vault(bucket, KEPT)

    @pytest.fixture
    def small(self, bucket: Bucket) -> Vault:
        return S3Vault(bucket, KEPT, limit=SMALL_LIMIT)


def test_what_is_laid_over_an_object_or_hides_it_is_not_read(bucket: Bucket) -> None:
    S3Vault(bucket, KEPT).put("a", b"one")
    client = bucket.client()
    client.put_object(Bucket=bucket.name, Key="a", Body=b"another")
    client.delete_object(Bucket=bucket.name, Key="a")
    client.delete_object(Bucket=bucket.name, Key="b")
    vault = S3Vault(bucket, KEPT)
    assert vault.get("a") == b"one"
    assert vault.exists("a")
    assert [(each.name, each.size) for each in vault.list()] == [("a", 3)]
    with pytest.raises(Conflict):
        vault.put("a", b"another")
    vault.put("a", b"one")
    assert not vault.exists("b")


def test_what_came_to_be_other_bytes_is_mended_by_laying_the_right_ones_over(bucket: Bucket) -> None:
    """As a server whose disk rotted would answer: the first version is not what was acknowledged."""
    bucket.client().put_object(Bucket=bucket.name, Key="a", Body=b"eno")
    vault, right = S3Vault(bucket, KEPT), hashlib.sha256(b"one").digest()
    with pytest.raises(ChainBroken):
        vault.get("a", right)
    with pytest.raises(Conflict):
        vault.put("a", b"one")
    vault.mend("a", b"one")
    vault.mend("a", b"one")
    again = S3Vault(bucket, KEPT)
    assert again.get("a", right) == b"one"
    assert again.get("a") == b"eno", "what was there first stays, and is what is read by whoever knows no hash"
    versions = bucket.client().list_object_versions(Bucket=bucket.name, Prefix="a")["Versions"]
    assert len(versions) == 2
    assert lock_of(bucket, "a")[0] == "COMPLIANCE"


def lock_of(bucket: Bucket, name: str) -> tuple[str | None, datetime | None]:
    found = bucket.client().head_object(Bucket=bucket.name, Key=name)
    return found.get("ObjectLockMode"), found.get("ObjectLockRetainUntilDate")


def test_what_lay_there_unlocked_is_locked_by_putting_it_again(bucket: Bucket) -> None:
    """As from a server that took it without its lock, and was set right since."""
    day = datetime(2030, 1, 1, tzinfo=UTC)
    bucket.client().put_object(Bucket=bucket.name, Key="a", Body=b"one")
    S3Vault(bucket, KEPT, now=lambda: day).put("a", b"one")
    assert lock_of(bucket, "a") == ("COMPLIANCE", day + KEPT)


def test_a_lock_grows_with_each_put_and_never_shrinks(bucket: Bucket) -> None:
    day = datetime(2030, 1, 1, tzinfo=UTC)
    S3Vault(bucket, KEPT, now=lambda: day).put("a", b"one")
    S3Vault(bucket, KEPT, now=lambda: day + timedelta(days=5)).put("a", b"one")
    assert lock_of(bucket, "a") == ("COMPLIANCE", day + timedelta(days=5) + KEPT)
    S3Vault(bucket, KEPT, now=lambda: day).put("a", b"one")
    assert lock_of(bucket, "a") == ("COMPLIANCE", day + timedelta(days=5) + KEPT)


def test_more_objects_than_one_page_of_the_servers_listing(bucket: Bucket) -> None:
    vault, client = S3Vault(bucket, KEPT), bucket.client()
    names = [f"takes/{n:04}" for n in range(1_100)]
    for name in names:
        client.put_object(Bucket=bucket.name, Key=name, Body=b"x")
    assert [each.name for each in vault.list("takes/")] == names
    assert vault.exists("takes/1099")
    assert not vault.exists("takes/110")


def test_reading_as_a_file(bucket: Bucket) -> None:
    vault, data = S3Vault(bucket, KEPT), bytes(range(256)) * 20_000
    vault.put("a", data)
    with vault.open("a") as file:
        assert file.read() == data
        assert file.seek(-3, 2) == len(data) - 3
        assert file.read(10) == data[-3:]
        assert file.seek(len(data) + 5) == len(data) + 5
        assert file.read() == b""
        file.seek(1_000_000)
        assert file.read(5) == data[1_000_000:1_000_005]


def test_a_bucket_without_lock_takes_nothing(server: Server) -> None:
    unlocked = server.make_bucket(secrets.token_hex(8), locked=False)
    with pytest.raises((Unavailable, OutOfReach)) as refused:
        S3Vault(unlocked, KEPT).put("a", b"one")
    assert refused.value.code in ("vault-unlocked", "vault-out-of-reach")


def test_a_stranger_and_a_server_that_is_away(server: Server, bucket: Bucket) -> None:
    stranger = replace(bucket, secret_key="guessed")
    away = replace(bucket, endpoint="https://127.0.0.1:9")
    for wrong in (stranger, away):
        for act in (
            lambda v: v.put("a", b"one"),
            lambda v: v.get("a"),
            lambda v: v.exists("a"),
            lambda v: list(v.list()),
        ):
            with pytest.raises(OutOfReach) as refused:
                act(S3Vault(wrong, KEPT))
            assert refused.value.code == "vault-out-of-reach"
        assert bucket.name not in str(refused.value)


def test_an_object_that_is_gone_is_not_there(server: Server, bucket: Bucket) -> None:
    """After its lock has ended somebody may take it away; a vault that knew it notices."""
    vault, client = S3Vault(bucket, KEPT), bucket.client()
    made = client.put_object(Bucket=bucket.name, Key="a", Body=b"one")
    assert vault.get("a") == b"one"
    client.delete_object(Bucket=bucket.name, Key="a", VersionId=made["VersionId"])
    with pytest.raises(NotFound):
        vault.get("a")
    assert not vault.exists("a")


def test_an_object_that_is_gone_is_put_anew_by_the_second_try(bucket: Bucket) -> None:
    vault, client = S3Vault(bucket, KEPT, limit=3), bucket.client()
    made = client.put_object(Bucket=bucket.name, Key="a", Body=b"one")
    assert vault.exists("a")
    client.delete_object(Bucket=bucket.name, Key="a", VersionId=made["VersionId"])
    with pytest.raises(OutOfReach):
        vault.put("a", b"one")
    vault.put("a", b"one")
    assert vault.get("a") == b"one"


def test_nothing_that_is_said_of_a_bucket_has_its_keys(bucket: Bucket) -> None:
    assert bucket.secret_key not in repr(bucket)
    assert bucket.access_key not in repr(bucket)
