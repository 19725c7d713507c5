from __future__ import annotations

import os
import stat
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from evidence_store.errors import ChainBroken, Conflict, NoSpace
from evidence_store.vault.disk import DiskVault
from evidence_store.vault.vault import Vault
from tests.contracts.vault_contract import SMALL_LIMIT, VaultContract

WRITER = """
import sys
from pathlib import Path
from evidence_store.vault.disk import DiskVault
vault = DiskVault(Path(sys.argv[1]))
for k in range(1_000_000):
    vault.put(f"a/{k}", str(k).encode() * 5_000)
    print(k, flush=True)
"""


class TestDiskVault(VaultContract):
    @pytest.fixture
    def vault(self, tmp_path: Path) -> Vault:
        return DiskVault(tmp_path / "vault")

    @pytest.fixture
    def small(self, tmp_path: Path) -> Vault:
        return DiskVault(tmp_path / "small", SMALL_LIMIT)


def test_objects_are_read_only_and_nothing_stays_in_incoming(tmp_path: Path) -> None:
    vault = DiskVault(tmp_path)
    vault.put("a/b", b"1")
    with pytest.raises(Conflict):
        vault.put("a/b", b"2")
    info = (tmp_path / "objects/a/b").stat()
    assert stat.S_IMODE(info.st_mode) == 0o444
    assert info.st_nlink == 1
    assert list((tmp_path / "incoming").iterdir()) == []


def test_opening_again_finds_everything_and_counts_it(tmp_path: Path) -> None:
    DiskVault(tmp_path, 100).put("a", bytes(60))
    again = DiskVault(tmp_path, 100)
    assert again.get("a") == bytes(60)
    with pytest.raises(NoSpace):
        again.put("b", bytes(41))
    again.put("b", bytes(40))


def test_what_a_crash_left_is_swept(tmp_path: Path) -> None:
    vault = DiskVault(tmp_path)
    vault.put("a", b"1")
    (tmp_path / "incoming/half").write_bytes(b"half an obj")
    # Crashed between link and unlink: the object has its name already, and keeps it.
    os.link(tmp_path / "objects/a", tmp_path / "incoming/linked")
    again = DiskVault(tmp_path)
    assert list((tmp_path / "incoming").iterdir()) == []
    assert again.get("a") == b"1"
    assert [listed.name for listed in again.list()] == ["a"]


def test_what_is_being_written_is_not_swept(tmp_path: Path) -> None:
    vault = DiskVault(tmp_path)
    path, fd = vault._open_temporary()
    assert DiskVault(tmp_path).sweep() == 0
    assert path.exists()
    os.close(fd)
    assert vault.sweep() == 1


def test_a_name_that_is_both_object_and_folder_is_refused(tmp_path: Path) -> None:
    vault = DiskVault(tmp_path, 100)
    vault.put("a", b"1")
    with pytest.raises(Conflict):
        vault.put("a/b", b"2")
    vault.put("c/d", b"3")
    with pytest.raises(Conflict):
        vault.put("c", b"4")
    assert [listed.name for listed in vault.list()] == ["a", "c/d"]
    vault.put("e", bytes(98))  # the refused ones do not count


def test_a_byte_changed_on_the_disk_is_found(tmp_path: Path) -> None:
    vault = DiskVault(tmp_path)
    stored = vault.put("a", b"0123456789")
    path = tmp_path / "objects/a"
    path.chmod(0o644)
    path.write_bytes(b"012345678X")
    with pytest.raises(ChainBroken) as found:
        vault.get("a", stored.sha256)
    assert found.value.code == "object-altered"
    with pytest.raises(Conflict):
        vault.put("a", b"0123456789")


def test_what_was_damaged_is_mended_and_kept_aside(tmp_path: Path) -> None:
    vault = DiskVault(tmp_path)
    stored = vault.put("a/b", b"0123456789")
    path = tmp_path / "objects/a/b"
    path.chmod(0o644)
    path.write_bytes(b"012345678X")
    assert vault.mend("a/b", b"0123456789") == stored
    assert vault.get("a/b", stored.sha256) == b"0123456789"
    assert stat.S_IMODE(path.stat().st_mode) == 0o444
    assert [each.read_bytes() for each in (tmp_path / "damaged").iterdir()] == [b"012345678X"]
    assert [listed.name for listed in vault.list()] == ["a/b"]
    path.unlink()
    vault.mend("a/b", b"0123456789")
    assert DiskVault(tmp_path).get("a/b", stored.sha256) == b"0123456789"


def test_a_full_disk_leaves_nothing_partial(tmp_path: Path) -> None:
    class FullDisk(DiskVault):
        full = True

        def _make_folders(self, path: Path) -> None:
            if self.full:
                raise OSError(28, os.strerror(28))
            super()._make_folders(path)

    vault = FullDisk(tmp_path, 100)
    with pytest.raises(NoSpace) as refused:
        vault.put("a", bytes(80))
    assert refused.value.code == "vault-full"
    assert list(vault.list()) == []
    assert list((tmp_path / "incoming").iterdir()) == []
    vault.full = False
    vault.put("a", bytes(80))


def test_killed_writer_leaves_only_whole_objects(tmp_path: Path) -> None:
    writer = subprocess.Popen([sys.executable, "-c", WRITER, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    assert writer.stdout is not None
    with writer.stdout:
        assert writer.stdout.readline() == "0\n"
        time.sleep(0.3)
        writer.kill()
        told = int(("0\n" + writer.stdout.read()).rpartition("\n")[0].rpartition("\n")[2])
    writer.wait()
    vault = DiskVault(tmp_path)
    assert list((tmp_path / "incoming").iterdir()) == []
    for k in range(told + 1):
        assert vault.get(f"a/{k}") == str(k).encode() * 5_000
    assert len(list(vault.list())) - (told + 1) in (0, 1)


def test_a_disk_that_is_taken_away_while_an_object_is_written_leaves_no_folder_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Found by `tests/kills`: what was made in its place kept the disk from being put back there."""
    vault, away = DiskVault(tmp_path / "vault"), tmp_path / "away"
    opened = DiskVault._open_temporary

    def then_taken_away(self: DiskVault) -> tuple[Path, int]:
        found = opened(self)
        (tmp_path / "vault").rename(away)
        return found

    monkeypatch.setattr(DiskVault, "_open_temporary", then_taken_away)
    with pytest.raises(OSError, match="No such file"):
        vault.put("takes/1/start.json", b"start")
    assert not (tmp_path / "vault").exists()
    away.rename(tmp_path / "vault")
    monkeypatch.undo()
    assert vault.put("takes/1/start.json", b"start").size == 5


def test_listing_opens_no_folder_that_holds_nothing_of_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    vault = DiskVault(tmp_path / "vault")
    for name in ("a/1/x", "a/2/x", "a-b/1", "a.b", "b/c/d", "b/e"):
        vault.put(name, b"")
    opened: list[str] = []
    really = os.scandir

    def scandir(path: Path) -> Any:
        opened.append(path.relative_to(tmp_path / "vault" / "objects").as_posix())
        return really(path)

    monkeypatch.setattr(os, "scandir", scandir)
    assert [each.name for each in vault.list("a/", "a/1/x")] == ["a/2/x"]
    assert opened == [".", "a", "a/1", "a/2"]
    opened.clear()
    assert [each.name for each in vault.list(after="b/a")] == ["b/c/d", "b/e"]
    assert opened == [".", "b", "b/c"]
