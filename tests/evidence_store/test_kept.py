"""Two vaults as one, in front of vaults that are away, refuse, forget, spoil and lie."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest

from evidence_store.database.session import Database
from evidence_store.errors import ChainBroken, Conflict, NotFound, OutOfReach, SignatureInvalid, Unavailable
from evidence_store.holdings import Holdings
from evidence_store.kept import KeptVault
from evidence_store.vault import reach
from evidence_store.vault.absent import folder_or_absent
from evidence_store.vault.disk import DiskVault
from evidence_store.vault.vault import StoredObject, Vault
from tests.contracts.vault_contract import SMALL_LIMIT, VaultContract
from tests.lying_vault import LyingVault


@pytest.fixture
def holdings(database: Database) -> Holdings:
    return Holdings(database, lambda: 1)


@pytest.fixture
def first() -> LyingVault:
    return LyingVault()


@pytest.fixture
def second() -> LyingVault:
    return LyingVault()


@pytest.fixture
def both(holdings: Holdings, first: LyingVault, second: LyingVault) -> KeptVault:
    return KeptVault(holdings, [first, second])


class TestLyingVaultWhenHonest(VaultContract):
    @pytest.fixture
    def vault(self) -> Vault:
        return LyingVault()

    @pytest.fixture
    def small(self) -> Vault:
        return LyingVault(limit=SMALL_LIMIT)


class TestTwoVaults(VaultContract):
    @pytest.fixture
    def vault(self, holdings: Holdings, tmp_path: Path) -> Vault:
        return KeptVault(holdings, [DiskVault(tmp_path / "one"), DiskVault(tmp_path / "two")])

    @pytest.fixture
    def small(self, holdings: Holdings) -> Vault:
        return KeptVault(holdings, [LyingVault(limit=SMALL_LIMIT), LyingVault(limit=SMALL_LIMIT)])


def lacking(vault: KeptVault) -> list[tuple[str, str, str]]:
    return [(lack.vault, lack.stored.name, lack.why) for lack in vault.holdings.lacks(100)]


def test_each_object_is_in_both(both: KeptVault, first: LyingVault, second: LyingVault) -> None:
    both.put("takes/a", b"one")
    assert first.objects == second.objects == {"takes/a": b"one"}
    assert both.complete(["takes/"])
    assert lacking(both) == []


@pytest.mark.parametrize("which", [0, 1])
@pytest.mark.parametrize(("fault", "why"), [("away", "vault-out-of-reach"), ("refuses", "vault-not-write-once")])
def test_what_one_cannot_take_the_other_does_and_it_is_noted(
    both: KeptVault, first: LyingVault, second: LyingVault, which: int, fault: str, why: str
) -> None:
    poor, good = ((first, second), (second, first))[which]
    setattr(poor, fault, True)
    both.put("takes/a", b"one")
    assert good.objects == {"takes/a": b"one"}
    assert lacking(both) == [(poor.identity, "takes/a", why)]
    assert not both.complete(["takes/"])
    assert both.complete(["interviews/"])
    setattr(poor, fault, False)
    assert both.get("takes/a") == b"one"
    both.put("takes/a", b"one")
    assert both.complete(["takes/"])


def test_a_disk_that_answers_with_errors_is_one_that_is_away(
    holdings: Holdings, tmp_path: Path, second: LyingVault, monkeypatch: pytest.MonkeyPatch
) -> None:
    both = KeptVault(holdings, [DiskVault(tmp_path / "one"), second])

    def broken(*_: object) -> bool:
        raise OSError(errno.EIO, "stand-in for a broken disk")

    monkeypatch.setattr(DiskVault, "_create", broken)
    both.put("a", b"one")
    assert [why for *_, why in lacking(both)] == ["vault-out-of-reach"]
    assert both.get("a") == b"one"


def test_one_that_hangs_is_waited_for_once_and_then_left_alone(
    both: KeptVault, first: LyingVault, second: LyingVault, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reach, "PATIENCE_S", 0.05)
    monkeypatch.setattr(reach, "RESTS_FOR_S", 3600.0)
    first.hangs = True
    for name in ("a", "b", "c"):
        both.put(name, b"one")
        assert both.get(name) == b"one"
    assert both.exists("a")
    assert [why for *_, why in lacking(both)] == ["vault-slow"] * 3
    second.away = True
    with pytest.raises(OutOfReach):
        both.put("d", b"one")
    first.released.set()


def test_one_that_hung_is_asked_again(both: KeptVault, first: LyingVault, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reach, "PATIENCE_S", 0.05)
    monkeypatch.setattr(reach, "RESTS_FOR_S", 0.0)
    first.hangs = True
    both.put("a", b"one")
    first.hangs = False
    first.released.set()
    monkeypatch.setattr(reach, "PATIENCE_S", 10.0)
    both.put("b", b"two")
    assert first.objects["b"] == b"two"


def test_what_neither_takes_is_not_stored(both: KeptVault, first: LyingVault, second: LyingVault) -> None:
    first.away = second.refuses = True
    with pytest.raises(Unavailable):
        both.put("a", b"one")
    assert both.holdings.of("a") is None
    assert lacking(both) == []


def test_bytes_that_nobody_acknowledged_hold_up_nothing(both: KeptVault, first: LyingVault, second: LyingVault) -> None:
    """Whoever may write to one vault can take a name before its time: the evidence goes to the other."""
    first.objects["a"] = b"squatted"
    stored = both.put("a", b"one")
    assert both.get("a") == b"one"
    assert lacking(both) == [(first.identity, "a", "object-exists")]
    with pytest.raises(Conflict):
        both.put("a", b"squatted")
    assert both.holdings.of("a") == stored


def test_other_bytes_than_were_acknowledged_reach_no_vault(
    both: KeptVault, first: LyingVault, second: LyingVault
) -> None:
    second.away = True
    both.put("a", b"one")
    second.away = False
    with pytest.raises(Conflict):
        both.put("a", b"two")
    assert second.objects == {}


def test_of_two_that_were_first_in_one_vault_each_one_is_the_object(
    both: KeptVault, holdings: Holdings, first: LyingVault, second: LyingVault
) -> None:
    holdings.note(StoredObject("a", 3, b"1" * 32), {}, [first.identity])
    with pytest.raises(Conflict):
        holdings.note(StoredObject("a", 3, b"2" * 32), {}, [second.identity])


@pytest.mark.parametrize("which", [0, 1])
def test_either_may_be_lost_or_lie_and_every_byte_is_there(
    both: KeptVault, first: LyingVault, second: LyingVault, which: int
) -> None:
    liar, true = ((first, second), (second, first))[which]
    for at in range(5):
        both.put(f"takes/{at}", b"segment %d" % at)
    liar.objects["takes/0"] = b"segment 9"
    del liar.objects["takes/1"]
    for at in range(5):
        assert both.get(f"takes/{at}") == b"segment %d" % at
    assert [listed.name for listed in both.list("takes/")] == [f"takes/{at}" for at in range(5)]
    liar.away = True
    assert [both.get(f"takes/{at}") for at in range(5)] == [b"segment %d" % at for at in range(5)]
    assert both.exists("takes/1")
    liar.away, true.away = False, True
    with pytest.raises(ChainBroken):
        both.get("takes/0")
    with pytest.raises(OutOfReach):
        both.get("takes/1")  # not "not there": the one that may have it does not answer
    assert both.exists("takes/1")


def test_what_a_reader_finds_wrong_is_remembered_until_somebody_looks(both: KeptVault, first: LyingVault) -> None:
    both.put("a", b"one")
    first.objects["a"] = b"eno"
    assert both.get("a") == b"one"
    assert both.noticed() == {(first.identity, "a"): "object-altered"}
    assert both.noticed() == {}
    with pytest.raises(NotFound):
        both.get("never/there")
    assert both.noticed() == {}


def test_a_reader_that_checks_by_itself_gets_a_copy_that_it_accepts(
    both: KeptVault, first: LyingVault, second: LyingVault
) -> None:
    def accept(data: bytes) -> bytes:
        if data != b"one":
            raise SignatureInvalid("not what was signed")
        return data

    stored = both.put("a", b"one")
    assert both.read("a", stored.sha256, accept) == b"one"
    assert not both.has_noticed
    first.objects["a"] = b"two"
    assert both.read("a", stored.sha256, accept) == b"one"
    assert both.noticed() == {(first.identity, "a"): "object-altered"}
    second.objects["a"] = b"two"
    with pytest.raises(ChainBroken):
        both.read("a", stored.sha256, accept)
    first.away = second.away = True
    with pytest.raises(OutOfReach):
        both.read("a", stored.sha256, accept)


def test_bytes_that_the_hash_names_and_the_reader_refuses_are_refused(both: KeptVault) -> None:
    def refuse(data: bytes) -> bytes:
        raise SignatureInvalid("not what was signed")

    stored = both.put("a", b"one")
    with pytest.raises(SignatureInvalid):
        both.read("a", stored.sha256, refuse)


def test_a_vault_that_was_never_here_lacks_everything(both: KeptVault, holdings: Holdings, first: LyingVault) -> None:
    both.put("a", b"one")
    both.put("b", b"two")
    new = LyingVault()
    anew = KeptVault(holdings, [first, new])
    assert lacking(anew) == [(new.identity, "a", "vault-new"), (new.identity, "b", "vault-new")]
    KeptVault(holdings, [first, new])
    assert len(lacking(anew)) == 2


def test_a_moved_folder_is_the_same_vault_and_an_emptied_one_another(tmp_path: Path) -> None:
    was = DiskVault(tmp_path / "one").identity
    (tmp_path / "one").rename(tmp_path / "two")
    assert DiskVault(tmp_path / "two").identity == was
    assert DiskVault(tmp_path / "one").identity != was


def test_a_disk_that_is_not_mounted_is_no_new_vault(tmp_path: Path) -> None:
    remembered, disk = tmp_path / "second-vault", tmp_path / "disk"
    first = folder_or_absent(disk, remembered, None)
    first.put("a", b"one")
    disk.rename(tmp_path / "unmounted")
    disk.mkdir()
    absent = folder_or_absent(disk, remembered, None)
    assert absent.identity == first.identity
    with pytest.raises(OutOfReach):
        absent.put("b", b"two")
    assert list(disk.iterdir()) == []
    disk.rmdir()
    (tmp_path / "unmounted").rename(disk)
    assert folder_or_absent(disk, remembered, None).get("a") == b"one"
    remembered.unlink()
    assert folder_or_absent(tmp_path / "another", remembered, None).identity != first.identity
