"""What every vault promises (evidence_store.vault.vault.Vault). Subclass, and give the fixtures `vault` and `small`.

`vault`: an empty vault. `small`: an empty one that is full at `SMALL_LIMIT` bytes.
"""

from __future__ import annotations

import hashlib
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from evidence_store.errors import ChainBroken, Conflict, InvalidInput, NoSpace, NotFound
from evidence_store.vault.vault import ListedObject, StoredObject, Vault

SMALL_LIMIT = 1_000
BAD_NAMES = [
    "",
    "/a",
    "a/",
    "a//b",
    "..",
    ".",
    "a/../b",
    "a/..",
    "./a",
    ".hidden",
    "a/.hidden",
    "A",
    "a b",
    "a_b",
    "æ",
    "a\n",
    "a\x00",
    "a\\b",
    "a:b",
    "x" * 201,
]


class VaultContract:
    def test_what_is_put_is_there(self, vault: Vault) -> None:
        data = bytes(range(256)) * 40
        assert vault.put("takes/ab/1/0.seg", data) == StoredObject(
            "takes/ab/1/0.seg", len(data), hashlib.sha256(data).digest()
        )
        assert vault.get("takes/ab/1/0.seg") == data
        assert vault.exists("takes/ab/1/0.seg")
        with vault.open("takes/ab/1/0.seg") as file:
            assert file.read(4) == data[:4]
            assert not file.writable()

    def test_empty_objects_are_objects(self, vault: Vault) -> None:
        vault.put("empty", b"")
        assert vault.get("empty") == b""
        assert vault.read_range("empty", 0, 0) == b""
        assert [listed.size for listed in vault.list()] == [0]

    def test_the_same_bytes_again_are_welcome(self, vault: Vault) -> None:
        assert vault.put("a", b"one") == vault.put("a", b"one")
        assert len(list(vault.list())) == 1

    @pytest.mark.parametrize("other", [b"two", b"", b"one more", b"on"])
    def test_other_bytes_are_refused_and_change_nothing(self, vault: Vault, other: bytes) -> None:
        vault.put("a", b"one")
        with pytest.raises(Conflict) as refused:
            vault.put("a", other)
        assert refused.value.code == "object-exists"
        assert vault.get("a") == b"one"

    def test_what_is_not_there(self, vault: Vault) -> None:
        vault.put("folder/a", b"1")
        for name in ("b", "folder", "folder/a/b"):
            assert not vault.exists(name)
            for read in (vault.get, vault.open, lambda n: vault.read_range(n, 0, 1)):
                with pytest.raises(NotFound) as refused:
                    read(name)
                assert refused.value.code == "object"

    def test_ranges(self, vault: Vault) -> None:
        vault.put("a", b"0123456789")
        assert vault.read_range("a", 0, 10) == b"0123456789"
        assert vault.read_range("a", 3, 4) == b"3456"
        assert vault.read_range("a", 10, 0) == b""
        for start, length in ((-1, 1), (0, 11), (10, 1), (11, 0), (3, -1)):
            with pytest.raises(InvalidInput) as refused:
                vault.read_range("a", start, length)
            assert refused.value.code == "object-range"

    def test_get_checks_the_hash_it_is_given(self, vault: Vault) -> None:
        stored = vault.put("a", b"one")
        assert vault.get("a", stored.sha256) == b"one"
        with pytest.raises(ChainBroken) as found:
            vault.get("a", hashlib.sha256(b"two").digest())
        assert found.value.code == "object-altered"

    def test_mending_what_is_whole_changes_nothing(self, vault: Vault) -> None:
        stored = vault.put("a", b"one")
        assert vault.mend("a", b"one") == stored
        assert vault.mend("b", b"two") == vault.put("b", b"two")
        assert [vault.get(name) for name in ("a", "b")] == [b"one", b"two"]

    def test_which_vault_it_is_and_whose(self, vault: Vault) -> None:
        assert vault.identity == vault.identity
        assert 0 < len(vault.identity) <= 255
        assert vault.administrator

    def test_listing_is_by_name(self, vault: Vault) -> None:
        names = ["a-b/1", "a/1", "a/10", "a/2", "a.b", "b/c/d", "b/c/e", "checkpoints/7"]
        for name in reversed(names):
            vault.put(name, name.encode())
        assert list(vault.list()) == [ListedObject(name, len(name)) for name in sorted(names)]
        assert [listed.name for listed in vault.list("a/")] == ["a/1", "a/10", "a/2"]
        assert [listed.name for listed in vault.list("a/1")] == ["a/1", "a/10"]
        assert [listed.name for listed in vault.list("a")] == ["a-b/1", "a.b", "a/1", "a/10", "a/2"]
        assert [listed.name for listed in vault.list("b/c/")] == ["b/c/d", "b/c/e"]
        assert list(vault.list("nothing/here")) == []
        assert [listed.name for listed in vault.list("a/", "a/1")] == ["a/10", "a/2"]
        assert [listed.name for listed in vault.list("a/", "a/11")] == ["a/2"]
        assert [listed.name for listed in vault.list("b/c/", "a/1")] == ["b/c/d", "b/c/e"]
        assert list(vault.list("a/", "a/2")) == []

    @pytest.mark.parametrize("name", BAD_NAMES)
    def test_bad_names(self, vault: Vault, name: str) -> None:
        for act in (lambda: vault.put(name, b""), lambda: vault.get(name), lambda: vault.exists(name)):
            with pytest.raises(InvalidInput) as refused:
                act()
            assert refused.value.code == "object-name"
        assert list(vault.list()) == []

    @pytest.mark.parametrize("prefix", ["/", "..", "a/../b", "a//", "A"])
    def test_bad_prefixes(self, vault: Vault, prefix: str) -> None:
        with pytest.raises(InvalidInput):
            list(vault.list(prefix))

    def test_longest_name(self, vault: Vault) -> None:
        vault.put("x" * 200, b"1")
        assert vault.exists("x" * 200)

    def test_full_vault_takes_nothing_and_keeps_everything(self, small: Vault) -> None:
        small.put("a", bytes(600))
        for _ in range(3):
            with pytest.raises(NoSpace) as refused:
                small.put("b", bytes(401))
            assert refused.value.code == "vault-full"
        assert not small.exists("b")
        small.put("a", bytes(600))
        small.put("b", bytes(400))
        assert sum(listed.size for listed in small.list()) == SMALL_LIMIT

    def test_refused_objects_do_not_use_up_space(self, small: Vault) -> None:
        small.put("a", bytes(10))
        for _ in range(300):
            with pytest.raises(Conflict):
                small.put("a", bytes(9))
        small.put("b", bytes(SMALL_LIMIT - 10))

    def test_of_many_writers_of_one_name_one_wins(self, vault: Vault) -> None:
        gate = threading.Barrier(8)

        def put(worker: int) -> list[bytes]:
            gate.wait()
            won = []
            for k in range(20):
                data = b"%d" % (worker % 4) * 100
                try:
                    vault.put(f"folder-{k}/a", data)
                except Conflict:
                    continue
                won.append(b"%d:" % k + data)
            return won

        with ThreadPoolExecutor(8) as pool:
            won = {data for made in pool.map(put, range(8)) for data in made}
        assert won == {b"%d:" % k + vault.get(f"folder-{k}/a") for k in range(20)}
