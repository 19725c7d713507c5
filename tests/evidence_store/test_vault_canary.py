"""The canary against a server that holds, one that does not, and one that takes what it is told and forgets it."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
from botocore.exceptions import ClientError
from moto import mock_aws

from evidence_store.errors import NotFound, OutOfReach, Unavailable
from evidence_store.vault.canary import ATTACKS, BUCKET_ATTACKS, ProvenVault, canary, require_write_once
from evidence_store.vault.s3 import Bucket, S3Vault
from tests.seaweed import Server, seaweed

KEPT = timedelta(days=30)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with seaweed(tmp_path_factory.mktemp("canary") / "s3") as running:
        yield running


def through(vault: S3Vault) -> set[str]:
    findings = canary(vault)
    assert [finding.attack for finding in findings] == [*ATTACKS, *BUCKET_ATTACKS]
    return {finding.attack for finding in findings if not finding.held}


@pytest.mark.parametrize("who", ["writer", "admin"])
def test_seaweedfs_holds_against_everything_even_from_its_administrator(server: Server, who: str) -> None:
    name = server.make_bucket(secrets.token_hex(8)).name
    assert through(S3Vault(server.bucket(name, who), KEPT)) == set()


def test_moto_is_refused() -> None:
    """An imitation for tests that says yes to most things: what the canary is for."""
    with mock_aws():
        bucket = Bucket("https://s3.us-east-1.amazonaws.com", "imitation", "key", "secret")
        bucket.client().create_bucket(Bucket="imitation", ObjectLockEnabledForBucket=True)
        assert through(S3Vault(bucket, KEPT)) == {
            "shorten-the-lock", "downgrade-the-lock", "unlock", "forget-versions", "wrong-checksum",
            "with-a-wrong-secret",
        }  # fmt: skip
        with pytest.raises(Unavailable) as refused:
            require_write_once(S3Vault(bucket, KEPT))
    assert refused.value.code == "vault-not-write-once"


class Lying:
    """A client of a store that takes what it is told and forgets some of it (stand-in: SeaweedFS forgets nothing).

    `forgets`: arguments of put_object. `pretends`: it answers as if it had kept the lock.
    """

    def __init__(self, client: Any, *forgets: str, pretends: bool = False) -> None:
        self._client, self._forgets, self._pretends = client, forgets, pretends
        self._told: dict[tuple[str, str], dict[str, Any]] = {}

    def __getattr__(self, name: str) -> Any:
        return getattr(self._client, name)

    def put_object(self, **told: Any) -> Any:
        made = self._client.put_object(**{name: value for name, value in told.items() if name not in self._forgets})
        self._told[told["Key"], made["VersionId"]] = {name: told.get(name) for name in LOCK}
        return made

    def head_object(self, **asked: Any) -> Any:
        found = self._client.head_object(**asked)
        return found | (self._told[asked["Key"], asked["VersionId"]] if self._pretends else {})


LOCK = ("ObjectLockMode", "ObjectLockRetainUntilDate")


@pytest.mark.parametrize(
    ("forgets", "pretends", "expected"),
    [
        (("IfNoneMatch",), False, {"write-twice"}),
        (("ChecksumSHA256",), False, {"wrong-checksum"}),
        (LOCK, True, {"delete", "delete-with-bypass", "delete-many"}),
    ],
)
def test_a_store_that_forgets(server: Server, forgets: tuple[str, ...], pretends: bool, expected: set[str]) -> None:
    vault = S3Vault(server.make_bucket(secrets.token_hex(8)), KEPT)
    vault.client = Lying(vault.client, *forgets, pretends=pretends)
    assert through(vault) == expected
    with pytest.raises(Unavailable) as refused:
        require_write_once(vault)
    assert refused.value.code == "vault-not-write-once"
    assert all(attack in str(refused.value) for attack in expected)


def test_a_store_that_takes_no_lock(server: Server) -> None:
    vault = S3Vault(server.make_bucket(secrets.token_hex(8)), KEPT)
    vault.client = Lying(vault.client, *LOCK)
    for act in (canary, lambda v: v.put("a", b"one")):
        with pytest.raises(Unavailable) as refused:
            act(vault)
        assert refused.value.code == "vault-unlocked"


def test_a_store_that_keeps_something_else(server: Server) -> None:
    vault = S3Vault(server.make_bucket(secrets.token_hex(8)), KEPT)
    vault.client = Altering(vault.client)
    with pytest.raises(Unavailable) as refused:
        vault.put("a", b"one")
    assert refused.value.code == "vault-unlocked"


class Altering(Lying):
    """A store that keeps other bytes than it was given, and no checksum of them."""

    def put_object(self, **told: Any) -> Any:
        told["Body"] = bytes(octet ^ 1 for octet in told["Body"])
        del told["ChecksumSHA256"]
        return self._client.put_object(**told)

    def head_object(self, **asked: Any) -> Any:
        found = self._client.head_object(**asked)
        return {name: value for name, value in found.items() if name != "ChecksumSHA256"}


def test_a_canary_lies_there_for_a_day_and_is_no_object(server: Server) -> None:
    vault = S3Vault(server.make_bucket(secrets.token_hex(8)), KEPT)
    require_write_once(vault)
    assert list(vault.list()) == []
    assert vault.client.list_object_versions(Bucket=vault.bucket.name, Prefix=".canary/")["Versions"]


def test_a_server_that_is_away(server: Server) -> None:
    away = Bucket("https://127.0.0.1:9", "vault", "key", "secret")
    with pytest.raises(OutOfReach) as refused:
        require_write_once(S3Vault(away, KEPT))
    assert refused.value.code == "vault-out-of-reach"


@pytest.mark.parametrize("guarded", [True, False])
def test_the_lock_lies_in_the_gateway_and_holds_where_the_way_past_it_is_shut(tmp_path: Path, guarded: bool) -> None:
    """SeaweedFS's own store behind the gateway: without tokens between its parts it takes an order from anybody."""
    with seaweed(tmp_path / "s3", guarded=guarded) as running:
        vault = S3Vault(running.make_bucket("vault"), KEPT)
        vault.put("a", b"one")
        past = httpx.delete(f"http://127.0.0.1:{running.ports['filer']}/buckets/vault/?recursive=true", trust_env=False)
        if guarded:
            assert past.status_code == 401
            assert vault.get("a") == b"one"
        else:
            assert past.status_code == 204
            with pytest.raises((NotFound, OutOfReach)):
                S3Vault(vault.bucket, KEPT).get("a")


def test_the_server_runs_in_a_folder_that_is_named_from_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As the demo names its own: `data/demo`."""
    monkeypatch.chdir(tmp_path)
    with seaweed(Path("s3")) as running:
        vault = S3Vault(running.make_bucket("vault"), KEPT)
        vault.put("a", b"one")
        assert vault.get("a") == b"one"


def test_a_bucket_is_proven_at_the_first_put_and_not_at_the_second(server: Server) -> None:
    vault = ProvenVault(server.make_bucket(secrets.token_hex(8)), KEPT)
    vault.put("a", b"one")
    seen = tried(vault)
    assert seen
    vault.put("b", b"two")
    assert tried(vault) == seen
    assert [each.name for each in vault.list()] == ["a", "b"]


def tried(vault: S3Vault) -> list[str]:
    found = vault.client.list_object_versions(Bucket=vault.bucket.name, Prefix=".canary/")
    return [version["Key"] for version in found.get("Versions", ())]


def test_a_refused_bucket_takes_nothing_is_read_all_the_same_and_asked_again(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    bucket = server.make_bucket(secrets.token_hex(8))
    S3Vault(bucket, KEPT).put("a", b"one")
    vault = ProvenVault(bucket, KEPT)
    honest, vault.client = vault.client, Lying(vault.client, "IfNoneMatch")
    for _ in range(2):
        with pytest.raises(Unavailable) as refused:
            vault.put("b", b"two")
        assert refused.value.code == "vault-not-write-once"
        assert "write-twice" in str(refused.value)
    assert vault.get("a") == b"one"
    assert not vault.exists("b")
    vault.client = honest
    with pytest.raises(Unavailable):
        vault.put("b", b"two")
    monkeypatch.setattr("evidence_store.vault.canary.ASKED_AGAIN_AFTER_S", 0.0)
    vault.put("b", b"two")
    assert vault.get("b") == b"two"


def test_a_server_that_is_away_is_left_alone_for_a_moment_and_asked_again(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of a server that is silent, only the first to ask has to wait for it."""
    bucket = server.make_bucket(secrets.token_hex(8))
    vault = ProvenVault(bucket, KEPT)
    there, vault.client = vault.client, Bucket("https://127.0.0.1:9", bucket.name, "key", "secret").client()
    with pytest.raises(OutOfReach):
        vault.put("a", b"one")
    vault.client = there
    with pytest.raises(OutOfReach, match="a moment ago"):
        vault.put("a", b"one")
    monkeypatch.setattr(vault, "_away_until_s", 0.0)
    vault.put("a", b"one")
    assert vault.get("a") == b"one"


def test_a_bucket_that_holds_evidence_is_not_attacked_as_a_whole(server: Server) -> None:
    """A bucket that can be dropped, or forget its versions, is found out before anything is in it."""
    vault = S3Vault(server.make_bucket(secrets.token_hex(8)), KEPT)
    vault.put("a", b"one")
    called = Counting(vault.client)
    vault.client = called
    assert [finding.attack for finding in canary(vault)] == list(ATTACKS)
    assert "put_object_retention" in called.names
    assert not {"delete_bucket", "put_bucket_versioning"} & called.names


class Counting(Lying):
    """Remembers what was asked of it."""

    def __init__(self, client: Any) -> None:
        super().__init__(client)
        self.names: set[str] = set()

    def __getattr__(self, name: str) -> Any:
        self.names.add(name)
        return super().__getattr__(name)


def test_a_server_in_trouble_has_proven_nothing(server: Server) -> None:
    vault = S3Vault(server.make_bucket(secrets.token_hex(8)), KEPT)
    vault.client = Troubled(vault.client)
    with pytest.raises(OutOfReach, match="503"):
        canary(vault)


class Troubled(Lying):
    """A server that takes and gives objects, and is too busy for anything else."""

    def put_object_retention(self, **_: Any) -> Any:
        raise ClientError({"ResponseMetadata": {"HTTPStatusCode": 503}}, "PutObjectRetention")
